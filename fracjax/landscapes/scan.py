"""Evaluate an objective over a grid."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from fracjax._types import Key, Objective, PyTree
from fracjax.evaluation import cache_chunk_size, map_combinations
from fracjax.landscapes.grids import Grid, padded_directions

__all__ = ["scan"]

_AXIS_NAMES = ("a", "b")


def scan(
    objective: Objective,
    params: PyTree,
    grid: Grid,
    key: Key,
    *,
    chunk_size: int | None = None,
    num_directions: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> xarray.Dataset:
    """Evaluate `objective(params + a u + b v, key)` at every point of a grid.

    All points see the same key (common random numbers). NaN and infinity are kept as
    they come: nothing is imputed.

    Args:
        objective: Pure function of parameters and key returning a scalar or a vector.
        params: Centre of the grid.
        grid: A line or a plane.
        key: The objective's key.
        chunk_size: Points that one device evaluates together; it is part of the result
            for a chaotic objective. Chosen from the size of `params` if not given.
        num_directions: Pad the directions to so many, to share the compiled program of an
            estimator that used as many.
        on_progress: Called with the number of points finished so far.

    Returns:
        Dataset with variable `value` over dimensions `a` (and `b`), and `output` where
        the objective returns a vector; attributes name the directions, the chunk size
        and the dtype.
    """
    params = jax.tree.map(jnp.asarray, params)
    chunk_size = chunk_size or cache_chunk_size(params)
    mesh = np.meshgrid(*grid.axes, indexing="ij")
    flat = [axis.ravel() for axis in mesh]
    nothing = np.zeros(grid.size)
    second = flat[1] if len(flat) > 1 else nothing
    which = np.full(grid.size, min(1, len(flat) - 1))
    values = map_combinations(
        objective,
        params,
        padded_directions(grid, num_directions or len(grid.axes)),
        (nothing.astype(int), flat[0], which, second),
        key,
        chunk_size=chunk_size,
        on_progress=on_progress,
    )
    names = _AXIS_NAMES[: len(grid.axes)]
    dims = names if values.ndim == 1 else (*names, "output")
    return xarray.Dataset(
        {"value": (dims, values.reshape(grid.shape + values.shape[1:]))},
        coords=dict(zip(names, grid.axes, strict=True)),
        attrs={
            "directions": grid.kind,
            "chunk_size": chunk_size,
            "dtype": str(jnp.result_type(*jax.tree.leaves(params))),
        },
    )
