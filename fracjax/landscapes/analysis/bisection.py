"""Walk up to changes between neighbouring points: jumps keep their height, slopes do not."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key, Objective, PyTree
from fracjax.evaluation import cache_chunk_size, map_points
from fracjax.landscapes.slices.grids import Grid

__all__ = ["Bisection", "Evaluator", "bisect_changes", "point_evaluator"]

Evaluator = Callable[[np.ndarray], np.ndarray]
_PERSISTENT = 0.5


@dataclasses.dataclass(frozen=True)
class Bisection:
    """Changes after their intervals were halved many times.

    Attributes:
        height: Change that is left over the last interval, signed.
        width: Shortest interval that still held half of the first change.
        persistent: Whether half of the first change is left at the end.
        finite: Whether all values met on the way were finite.
    """

    height: np.ndarray
    width: np.ndarray
    persistent: np.ndarray
    finite: np.ndarray


def bisect_changes(
    left: np.ndarray,
    right: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    evaluate: Evaluator,
    *,
    num_halvings: int = 12,
) -> Bisection:
    """Halve intervals, always keeping the half with the larger change.

    Across a jump the change stays. In a function of Hölder exponent H the change over an
    interval of length s is of the order of s^H, so that it falls by 2^{-H n} over n halvings,
    up to the luck of the larger half (a factor of about 1.5 in fractional Brownian motion).

    Args:
        left: Coordinates of one end of every interval, (intervals, axes).
        right: Of the other end.
        low: Values at `left`.
        high: Values at `right`.
        evaluate: Takes coordinates (points, axes) and returns values (points,).
        num_halvings: How often. The last interval must be wider than the rounding of the
            parameters, where everything is a step.

    Returns:
        One entry per interval.
    """
    change, width = np.abs(high - low), np.linalg.norm(right - left, axis=1)
    narrow = width.copy()
    finite = np.isfinite(change)
    for _ in range(num_halvings):
        middle = (left + right) / 2
        value = np.asarray(evaluate(middle), np.float64)
        finite &= np.isfinite(value)
        with np.errstate(invalid="ignore"):
            go_left = np.abs(value - low) >= np.abs(high - value)
        right = np.where(go_left[:, None], middle, right)
        left = np.where(go_left[:, None], left, middle)
        low, high = np.where(go_left, low, value), np.where(go_left, value, high)
        width = width / 2
        with np.errstate(invalid="ignore"):
            narrow = np.where(np.abs(high - low) >= _PERSISTENT * change, width, narrow)
    height = np.where(finite, high - low, np.nan)
    with np.errstate(invalid="ignore"):
        persistent = np.abs(height) >= _PERSISTENT * change
    return Bisection(height, narrow, persistent & finite, finite)


def point_evaluator(
    objective: Objective,
    params: PyTree,
    grid: Grid,
    key: Key,
    *,
    chunk_size: int | None = None,
) -> Evaluator:
    """Evaluate an objective between the points of a grid, for `cliffs` and `bisect_changes`.

    Args:
        objective: Pure function of parameters and key returning a scalar.
        params: Centre of the grid.
        grid: What was scanned.
        key: The objective's key, as in the scan.
        chunk_size: Points evaluated together on one device, as in the scan: a chaotic
            objective depends on it.

    Returns:
        Function from coordinates (points, axes) to values (points,).
    """
    params = jax.tree.map(jnp.asarray, params)
    size = chunk_size or cache_chunk_size(params)
    dtype = np.dtype(jnp.result_type(*jax.tree.leaves(params)))
    run = _at_coordinates(objective)

    def evaluate(points: np.ndarray) -> np.ndarray:
        rows = np.asarray(points, dtype)
        return map_points(run, rows, params, grid.directions, key, chunk_size=size)

    return evaluate


@functools.lru_cache(maxsize=16)
def _at_coordinates(objective: Objective) -> Callable:
    """Evaluate at params + Σ c_k u_k; one function object per objective."""

    def evaluate(row: Array, params: PyTree, directions: PyTree, key: Key) -> Array:
        def move(leaf: Array, direction: Array) -> Array:
            return leaf + jnp.tensordot(row.astype(leaf.dtype), direction.astype(leaf.dtype), 1)

        return objective(jax.tree.map(move, params, directions), key)

    return evaluate
