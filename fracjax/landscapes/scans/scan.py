"""Evaluate an objective over a grid."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from fracjax import processes
from fracjax._types import Key, Objective, PyTree
from fracjax.evaluation import cache_chunk_size, check_memory, map_combinations
from fracjax.landscapes.scans.evaluators import Evaluator, EvaluatorName, choose_evaluator
from fracjax.landscapes.scans.layout import DONE, output_dimensions
from fracjax.landscapes.scans.manifests import describe
from fracjax.landscapes.scans.outputs import named_outputs, output_shapes
from fracjax.landscapes.scans.store import (
    ScanStore,
    dataset_attributes,
    existing_manifest,
    open_scan,
    open_store,
    tile_shape,
)
from fracjax.landscapes.slices.grids import Grid, axis_names, padded_directions

__all__ = ["scan"]

# A block is what a killed scan may lose, and a file for every output.
_CHUNKS_PER_BLOCK = 32
_POINTS_PER_BLOCK = 8192


def scan(
    objective: Objective,
    params: PyTree,
    grid: Grid,
    key: Key,
    *,
    chunk_size: int | None = None,
    evaluator: EvaluatorName = "auto",
    memory: int | None = None,
    num_replicates: int = 1,
    common_random_numbers: bool = True,
    num_directions: int | None = None,
    on_progress: Callable[[int], None] | None = None,
    store: Path | str | None = None,
    config: Mapping[str, Any] | None = None,
) -> xarray.Dataset:
    """Evaluate `objective(params + a u + b v + …, key)` at every point of a grid.

    NaN and infinity are kept as they come: nothing is imputed.

    With a store every block of points is written as soon as it is evaluated. Run the same
    call again after an interruption of any kind, and it goes on: blocks that are there and
    pass their checksum are kept, the others evaluated, and the values are the bytes of an
    uninterrupted run. A store of another scan is refused, with what differs. Several
    processes (`jax.distributed`) make the same call with the same store, on a file system
    that all see, and each evaluates its own blocks.

    All local devices are used. How many points one of them evaluates together, and in which
    way, is part of the result for a chaotic objective; the number of devices and processes is
    not: it changes no bit.

    Args:
        objective: Pure function of parameters and key, returning a scalar, an array, an
            `Estimate`, or a dict of these.
        params: Centre of the grid.
        grid: A line, a plane, or more.
        key: The objective's key.
        chunk_size: Points that one device evaluates together; chosen from the size of
            `params` and the evaluator if not given.
        evaluator: `"plain"` forms the parameters of every point, `"affine"` multiplies with
            matrices that all points share (see `fracjax.affine`); they agree to rounding.
            `"auto"` measures which is faster where that pays, and a store remembers which.
        memory: Bound in bytes on the memory that evaluating takes, of all devices together on
            a CPU and of each one elsewhere, beside JAX itself. With a store the result is not
            held in memory either. The chunk is chosen to keep it; a store that goes on keeps its
            chunk, and is refused where that needs more.
        num_replicates: Evaluations of every point with independent keys; with two or more the
            values are means, and a variable `stderr` holds their standard errors.
        common_random_numbers: Whether all points see one key, which makes the noise of
            neighbours cancel; otherwise a point's key is `fold_in(key, place in the grid)`.
        num_directions: Pad the directions to so many, to share the compiled program of an
            estimator that used as many; only in memory, and for an objective that returns an
            array.
        on_progress: Called with the number of points finished so far; with a store first
            with the number found there. With several processes, points of this one.
        store: Folder to keep the values in, new, empty, or of the same scan.
        config: What the objective is, as JSON values (environment, discount, data): the store
            cannot tell from the function, and compares this instead.

    Returns:
        Dataset over dimensions `a` (and `b`, `c`, …) with variable `value`, or one for each
        output of a dict or `Estimate`; further dimensions where an output is an array;
        attributes name the directions, the evaluator, the chunk size and the dtype. With a
        store it is read from disk where it is used (`.load()` reads all).

    Raises:
        ValueError: If the store is of another scan or no store, a setting is out of range, or
            evaluating needs more than `memory`, or an output is called as an axis of the grid.
        OSError: If the store cannot be written; it can be resumed.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import landscapes
        >>> def objective(params, key):
        ...     return (params["w"] ** 2).sum()
        >>> params = {"w": jnp.zeros(4)}
        >>> grid = landscapes.line(
        ...     params, jax.random.key(0), span=1.0, num_points=5, kind="orthonormal"
        ... )
        >>> data = landscapes.scan(objective, params, grid, jax.random.key(1), store="scan")
        >>> print(data["value"].values.round(2))  # 4 a²: directions have unit root mean square
        [4. 1. 0. 1. 4.]
        >>> again = landscapes.scan(objective, params, grid, jax.random.key(1), store="scan")
        >>> bool(again["done"].all())  # nothing was evaluated: the folder has it
        True
    """
    if num_replicates < 1:
        msg = f"Argument `num_replicates` must be positive, but is {num_replicates}."
        raise ValueError(msg)
    params = jax.tree.map(jnp.asarray, params)
    if num_directions is not None:
        return _sharing_a_program(
            objective, params, grid, key, chunk_size, num_directions, on_progress
        )
    job = _Job(
        named_outputs(objective, num_replicates),
        params,
        grid,
        key,
        {
            "name": evaluator,
            "chunk_size": chunk_size,
            "memory": memory,
            "common_random_numbers": common_random_numbers,
        },
        {"replicates": num_replicates, "config": dict(config or {})},
    )
    if store is None:
        return job.in_memory(on_progress)
    job.on_disk(Path(store), on_progress)
    return open_scan(store)


class _Job:
    """One scan: what is evaluated, and where the values go."""

    def __init__(
        self,
        objective: Callable,
        params: PyTree,
        grid: Grid,
        key: Key,
        settings: dict[str, Any],
        described: dict[str, Any],
    ):
        self._objective = objective
        self._params = params
        self._grid = grid
        self._key = key
        self._settings = settings
        self._described = described
        self._axes = dict(zip(axis_names(len(grid.axes)), grid.axes, strict=True))
        self._outputs = output_shapes(objective, params, key)
        further = output_dimensions({name: o.shape for name, o in self._outputs.items()})
        _refuse_taken(self._outputs, {*self._axes, *itertools.chain(*further.values())})

    def in_memory(self, on_progress: Callable[[int], None] | None) -> xarray.Dataset:
        """Evaluate all points and return them."""
        evaluator, notes = self._choose()
        where = tuple(slice(0, size) for size in self._grid.shape)
        values = self._evaluate(evaluator, where, on_progress)
        names = tuple(self._axes)
        further = output_dimensions({name: o.shape for name, o in self._outputs.items()})
        variables = {name: ((*names, *further[name]), values[name]) for name in self._outputs}
        manifest = self._manifest(evaluator, notes)
        attrs = dataset_attributes(manifest)
        return xarray.Dataset(variables, coords=self._axes, attrs=attrs)

    def on_disk(self, folder: Path, on_progress: Callable[[int], None] | None) -> None:
        """Evaluate what is not there yet, and this process's to do."""
        _refuse_taken(self._outputs, {DONE})
        number, this = processes.count(), processes.index()
        if this > 0:
            processes.wait_until(lambda: existing_manifest(folder) is not None)
        # What a killed process left half written is removed only where no other one writes.
        kept, evaluator = self._open(folder, clean=number == 1)
        mine = range(this, kept.num_blocks, number)
        missing = [block for block in mine if not kept.is_done(block)]
        done = sum(map(kept.size, set(mine) - set(missing)))
        if on_progress is not None:
            on_progress(done)
        if missing:
            self._keep_to_memory(evaluator)
        for block in missing:
            report = None if on_progress is None else _shifted(on_progress, done)
            kept.write(block, self._evaluate(evaluator, kept.bounds(block), report))
            done += kept.size(block)
        if this == 0:  # it reads what all have written
            others = sorted(set(range(kept.num_blocks)) - set(mine))
            processes.wait_until(lambda: all(map(kept.is_there, others)))
            processes.wait_until(lambda: all(map(kept.is_done, others)), seconds_between=1.0)

    def _open(self, folder: Path, *, clean: bool = False) -> tuple[ScanStore, Evaluator]:
        """Open the store or make it; one that is there says how to evaluate."""
        found = existing_manifest(folder)
        if found is None:
            evaluator, notes = self._choose()
        else:
            evaluator, notes = self._as_before(found), {}
        points = min(_CHUNKS_PER_BLOCK * evaluator.chunk_size, _POINTS_PER_BLOCK)
        points = max(points, 8 * evaluator.chunk_size)
        # Enough blocks to share, and to lose little of a small grid.
        points = max(min(points, self._grid.size // 16), evaluator.chunk_size)
        kept = open_store(
            folder,
            self._manifest(evaluator, notes),
            axes=self._axes,
            outputs=self._outputs,
            block_shape=tile_shape(self._grid.shape, points),
            clean=clean,
        )
        return kept, evaluator

    def _choose(self) -> tuple[Evaluator, dict[str, Any]]:
        corner = tuple(slice(0, min(size, 32)) for size in self._grid.shape)
        return choose_evaluator(
            self._objective,
            self._params,
            self._grid.directions,
            self._points(corner),
            self._key,
            num_points=self._grid.size,
            **self._settings,
        )

    def _as_before(self, manifest: Mapping[str, Any]) -> Evaluator:
        """Evaluate as the store was begun, unless asked for something else."""
        asked, chunk = self._settings["name"], self._settings["chunk_size"]
        name = manifest.get("evaluator") if asked == "auto" else asked
        size = chunk or manifest.get("chunk size")
        if name not in ("plain", "affine") or not isinstance(size, int) or size < 1:
            msg = "The store does not say how it was evaluated; choose another folder."
            raise ValueError(msg)
        return Evaluator(name, size, self._settings["common_random_numbers"])

    def _keep_to_memory(self, evaluator: Evaluator) -> None:
        """Refuse what needs too much: the chunk of a store that goes on is part of its values."""
        memory = self._settings["memory"]
        if memory is None:
            return
        needed = evaluator.bytes_needed(
            self._objective, self._params, self._grid.directions, self._key
        )
        check_memory(memory, needed, chunk_size=evaluator.chunk_size)

    def _points(self, where: tuple[slice, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (points, axes) and places in the grid of a tile's points."""
        index = np.meshgrid(*(np.arange(part.start, part.stop) for part in where), indexing="ij")
        flat = [part.ravel() for part in index]
        numbers = np.ravel_multi_index(flat, self._grid.shape)
        axes = [axis[part] for axis, part in zip(self._grid.axes, flat, strict=True)]
        return np.stack(axes, axis=-1), numbers

    def _evaluate(
        self,
        evaluator: Evaluator,
        where: tuple[slice, ...],
        on_progress: Callable[[int], None] | None,
    ) -> dict[str, np.ndarray]:
        """Evaluate a tile of the grid."""
        values = evaluator(
            self._objective,
            self._params,
            self._grid.directions,
            self._points(where),
            self._key,
            on_progress=on_progress,
        )
        shape = tuple(part.stop - part.start for part in where)
        return {name: leaf.reshape(shape + leaf.shape[1:]) for name, leaf in values.items()}

    def _manifest(self, evaluator: Evaluator, notes: dict[str, Any]) -> dict[str, Any]:
        """What the values depend on, and notes on how it was chosen."""
        return describe(
            self._params,
            self._grid,
            self._key,
            evaluator=evaluator.name,
            chunk_size=evaluator.chunk_size,
            **{"common random numbers": evaluator.common_random_numbers},
            **self._described,
            notes=notes,
        )


def _refuse_taken(outputs: Iterable[str], taken: set[str]) -> None:
    """Refuse outputs that have names of the grid, before anything is evaluated.

    Raises:
        ValueError: If one has.
    """
    both = sorted(taken & set(outputs))
    if both:
        msg = (
            "Argument `objective` must give outputs with names of their own, but gives"
            f" {', '.join(map(repr, both))}: the dataset calls its axes, or what is done, so."
            " Rename it in the dict that the objective returns."
        )
        raise ValueError(msg)


def _shifted(on_progress: Callable[[int], None], done: int) -> Callable[[int], None]:
    return lambda count: on_progress(done + count)


def _sharing_a_program(
    objective: Objective,
    params: PyTree,
    grid: Grid,
    key: Key,
    chunk_size: int | None,
    num_directions: int,
    on_progress: Callable[[int], None] | None,
) -> xarray.Dataset:
    """Evaluate a line or plane with the program of `evaluation.map_combinations`."""
    chunk_size = chunk_size or cache_chunk_size(params)
    index = np.unravel_index(np.arange(grid.size), grid.shape)
    flat = [axis[position] for axis, position in zip(grid.axes, index, strict=True)]
    if len(flat) > 2:
        msg = "Argument `num_directions` needs a line or a plane."
        raise ValueError(msg)
    nothing = np.zeros(grid.size)
    second = flat[1] if len(flat) > 1 else nothing
    which = np.full(grid.size, len(flat) - 1)
    values = map_combinations(
        objective,
        params,
        padded_directions(grid, num_directions),
        (nothing.astype(int), flat[0], which, second),
        key,
        chunk_size=chunk_size,
        on_progress=on_progress,
    )
    names = axis_names(len(grid.axes))
    dims = (*names, *output_dimensions({"value": values.shape[1:]})["value"])
    return xarray.Dataset(
        {"value": (dims, values.reshape(grid.shape + values.shape[1:]))},
        coords=dict(zip(names, grid.axes, strict=True)),
        attrs={
            "directions": grid.kind,
            "chunk_size": chunk_size,
            "dtype": str(jnp.result_type(*jax.tree.leaves(params))),
            "evaluator": "plain",
        },
    )
