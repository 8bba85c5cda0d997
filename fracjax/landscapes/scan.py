"""Evaluate an objective over a grid."""

import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from fracjax._types import Key, Objective, PyTree
from fracjax.evaluation import cache_chunk_size, map_combinations
from fracjax.landscapes.grids import Grid, padded_directions
from fracjax.landscapes.store import ScanStore, fingerprint, open_store

__all__ = ["scan"]

_AXIS_NAMES = ("a", "b")
_CHUNKS_PER_BLOCK = 32  # a block is what a killed scan may lose; each is a file


def scan(
    objective: Objective,
    params: PyTree,
    grid: Grid,
    key: Key,
    *,
    chunk_size: int | None = None,
    num_directions: int | None = None,
    on_progress: Callable[[int], None] | None = None,
    store: Path | str | None = None,
    config: Mapping[str, Any] | None = None,
) -> xarray.Dataset:
    """Evaluate `objective(params + a u + b v, key)` at every point of a grid.

    All points see the same key (common random numbers). NaN and infinity are kept as
    they come: nothing is imputed.

    With a store every block of points is written as soon as it is evaluated. Run the same
    call again after an interruption of any kind, and it goes on: blocks that are there and
    pass their checksum are read, the others evaluated, and the values are the bytes of an
    uninterrupted run. A store of another scan is refused, with what differs.

    Args:
        objective: Pure function of parameters and key returning a scalar or a vector.
        params: Centre of the grid.
        grid: A line or a plane.
        key: The objective's key.
        chunk_size: Points that one device evaluates together; it is part of the result
            for a chaotic objective. Chosen from the size of `params` if not given.
        num_directions: Pad the directions to so many, to share the compiled program of an
            estimator that used as many.
        on_progress: Called with the number of points finished so far; with a store first
            with the number found there.
        store: Folder to keep the values in, new, empty, or of the same scan.
        config: What the objective is, as JSON values (environment, discount, data): the store
            cannot tell from the function, and compares this instead.

    Returns:
        Dataset with variable `value` over dimensions `a` (and `b`), and `output` where
        the objective returns a vector; attributes name the directions, the chunk size
        and the dtype.

    Raises:
        ValueError: If the store is of another scan or no store.
        OSError: If the store cannot be written; it can be resumed.
    """
    params = jax.tree.map(jnp.asarray, params)
    chunk_size = chunk_size or cache_chunk_size(params)
    table = padded_directions(grid, num_directions or len(grid.axes))
    dtype = str(jnp.result_type(*jax.tree.leaves(params)))

    def evaluate(start: int, stop: int, report: Callable[[int], None] | None = None) -> np.ndarray:
        return map_combinations(
            objective,
            params,
            table,
            _rows(grid, start, stop),
            key,
            chunk_size=chunk_size,
            on_progress=report,
        )

    if store is None:
        values = evaluate(0, grid.size, on_progress)
    else:
        shape = jax.eval_shape(objective, params, key)
        manifest = {
            "params": fingerprint(params),
            "directions": fingerprint(table),
            "axes": fingerprint(grid.axes),
            "key": fingerprint(jax.random.key_data(key)),
            "kind": grid.kind,
            "shape": grid.shape,
            "parameter dtype": dtype,
            "chunk size": chunk_size,
            "backend": jax.default_backend(),
            "versions": {name: importlib.metadata.version(name) for name in ("fracjax", "jax")},
            "config": dict(config or {}),
        }
        kept = open_store(
            store,
            manifest,
            num_points=grid.size,
            block_size=chunk_size * _CHUNKS_PER_BLOCK,
            outputs=shape.shape,
            dtype=shape.dtype,
        )
        values = _fill(kept, evaluate, on_progress)
    names = _AXIS_NAMES[: len(grid.axes)]
    dims = names if values.ndim == 1 else (*names, "output")
    return xarray.Dataset(
        {"value": (dims, values.reshape(grid.shape + values.shape[1:]))},
        coords=dict(zip(names, grid.axes, strict=True)),
        attrs={"directions": grid.kind, "chunk_size": chunk_size, "dtype": dtype},
    )


def _rows(
    grid: Grid, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Directions and coordinates of the points from `start` to `stop`, row by row."""
    index = np.unravel_index(np.arange(start, stop), grid.shape)
    flat = [axis[position] for axis, position in zip(grid.axes, index, strict=True)]
    nothing = np.zeros(stop - start)
    second = flat[1] if len(flat) > 1 else nothing
    which = np.full(stop - start, min(1, len(flat) - 1))
    return nothing.astype(int), flat[0], which, second


def _fill(
    store: ScanStore,
    evaluate: Callable[[int, int], np.ndarray],
    on_progress: Callable[[int], None] | None,
) -> np.ndarray:
    """Read the blocks that are there, evaluate and write the others."""
    blocks = [store.read(block) for block in range(store.num_blocks)]
    done = sum(len(values) for values in blocks if values is not None)
    if on_progress is not None:
        on_progress(done)
    for block, found in enumerate(blocks):
        if found is not None:
            continue
        start, stop = store.bounds(block)
        values = blocks[block] = evaluate(start, stop)
        store.write(block, values)
        done += stop - start
        if on_progress is not None:
            on_progress(done)
    return np.concatenate([values for values in blocks if values is not None])
