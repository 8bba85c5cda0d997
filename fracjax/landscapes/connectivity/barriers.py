"""Barriers: how far the objective rises on the way between two points."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jaxtyping import Array
from scipy import stats

from fracjax._types import Key, Objective, PyTree, Status
from fracjax.evaluation import cache_chunk_size, map_points
from fracjax.landscapes.connectivity.curves import CurveKind, point_on_curve, stack_points

__all__ = ["barrier_along", "check_counts", "check_points", "linear_barrier", "values_on_curve"]


def linear_barrier(
    objective: Objective,
    first: PyTree,
    second: PyTree,
    key: Key,
    *,
    num_points: int = 61,
    num_replicates: int = 1,
    maximize: bool = False,
    chunk_size: int | None = None,
) -> xarray.Dataset:
    """Measure the barrier on the straight line between two points.

    Along θ(t) = (1 - t) first + t second the excess is
    f(θ(t)) - [(1 - t) f(first) + t f(second)], with the sign reversed for a return, and the
    barrier its largest value: 0 or more, because it is 0 at the ends. Two minima are linearly
    connected if it is about 0.

    The largest of `num_points` values is a lower bound of the line's barrier; `coarse_barrier`,
    from every second point, shows how far the number of points matters. The same keys are used
    at all points (common random numbers). Do not compare networks before their hidden units
    are matched: a permutation of units alone makes a barrier.

    Args:
        objective: Pure function of parameters and key returning a scalar.
        first: Parameters at t = 0.
        second: Parameters at t = 1, of the same structure and shapes.
        key: Seeds the replicates' keys, `fold_in(key, i)`; a single replicate uses it as it is.
        num_points: Points on the line, ends included, odd and at least 5.
        num_replicates: Keys to average over, for a stochastic objective.
        maximize: Whether the objective is a return (larger is better).
        chunk_size: Points evaluated together on one device.

    Returns:
        Dataset over `t`: `value` (mean over replicates), `value_stderr` and `excess`. Scalars:
        `barrier`, `stderr`, `low`, `high` (of the excess at the place of the barrier, Student's
        interval over replicates, NaN with one; the maximum of noisy numbers is too
        large by about its error), `barrier_at` (t), `coarse_barrier`, `status` (DIVERGED, and
        barrier NaN, if a value is not finite).

    Raises:
        ValueError: If the points differ in structure or shape, the objective is no scalar, or a
            setting is out of range.

    References:
        Frankle et al. (2020), Linear mode connectivity, arXiv 1912.05671. Entezari et al.
        (2022), The role of permutation invariance, arXiv 2110.06296, for the definition.
    """
    check_points(objective, first, second, key)
    check_counts(num_points, num_replicates)
    ends = stack_points([first, second])
    t = np.linspace(0, 1, num_points)
    values = values_on_curve(
        objective, ends, "polyline", t, key, num_replicates=num_replicates, chunk_size=chunk_size
    )
    return barrier_along(t, values, maximize=maximize)


def values_on_curve(
    objective: Objective,
    bends: PyTree,
    kind: CurveKind,
    t: np.ndarray,
    key: Key,
    *,
    num_replicates: int,
    chunk_size: int | None,
) -> np.ndarray:
    """Values at t for every replicate, (points, replicates)."""
    point = jax.tree.map(lambda leaf: leaf[0], bends)
    dtype = np.dtype(jnp.result_type(*jax.tree.leaves(bends)))
    if num_replicates > 1:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_replicates))
    else:
        keys = jnp.stack([key])
    size = chunk_size or min(cache_chunk_size(point), 64)
    return map_points(_on_curve(objective, kind), t.astype(dtype), bends, keys, chunk_size=size)


@functools.lru_cache(maxsize=16)
def _on_curve(objective: Objective, kind: CurveKind) -> Callable:
    """One function object per objective, so that it is compiled once."""

    def evaluate(t: Array, bends: PyTree, keys: Array) -> Array:
        point = point_on_curve(bends, t, kind=kind)
        return jax.vmap(lambda key: objective(point, key))(keys)

    return evaluate


def barrier_along(t: np.ndarray, values: np.ndarray, *, maximize: bool) -> xarray.Dataset:
    """Excess over the straight interpolation of the ends, and its largest value."""
    values = np.asarray(values, np.float64)
    replicates = values.shape[1]
    ends = (1 - t)[:, None] * values[0] + t[:, None] * values[-1]
    with np.errstate(invalid="ignore"):
        each = (ends - values) if maximize else (values - ends)
    excess = each.mean(axis=1)
    finite = bool(np.isfinite(each).all())
    place = int(np.nan_to_num(excess, nan=-np.inf).argmax())
    barrier = max(float(excess[place]), 0.0) if finite else math.nan
    coarse = max(float(excess[::2].max()), 0.0) if finite else math.nan
    stderr = margin = math.nan
    errors = np.full(len(t), np.nan)
    if replicates > 1:
        errors = values.std(axis=1, ddof=1) / math.sqrt(replicates)
        stderr = float(each[place].std(ddof=1)) / math.sqrt(replicates) if finite else math.nan
        margin = float(stats.t.ppf(0.975, replicates - 1)) * stderr
    return xarray.Dataset(
        {
            "value": ("t", values.mean(axis=1)),
            "value_stderr": ("t", errors),
            "excess": ("t", excess),
            "barrier": barrier,
            "stderr": stderr,
            "low": barrier - margin,
            "high": barrier + margin,
            "barrier_at": float(t[place]) if finite else math.nan,
            "coarse_barrier": coarse,
            "status": int(Status.OK if finite else Status.DIVERGED),
        },
        coords={"t": t},
    )


def check_points(objective: Objective, first: PyTree, second: PyTree, key: Key) -> None:
    """Raise a ValueError that says what to do."""
    shapes = [
        (jax.tree.structure(point), [np.shape(leaf) for leaf in jax.tree.leaves(point)])
        for point in (first, second)
    ]
    if shapes[0] != shapes[1]:
        msg = "Argument `second` must have the structure and shapes of `first`, but has not."
        raise ValueError(msg)
    if not all(jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating) for x in jax.tree.leaves(first)):
        msg = "Argument `first` must hold floating arrays only."
        raise ValueError(msg)
    shape = jax.eval_shape(objective, jax.tree.map(jnp.asarray, first), key)
    if getattr(shape, "shape", None) != ():
        msg = f"Argument `objective` must return a scalar, but returns {shape}."
        raise ValueError(msg)


def check_counts(num_points: int, num_replicates: int) -> None:
    """Raise a ValueError that says what to do."""
    if num_points < 5 or num_points % 2 == 0:
        msg = f"Argument `num_points` must be odd and at least 5, but is {num_points}."
        raise ValueError(msg)
    if num_replicates < 1:
        msg = f"Argument `num_replicates` must be positive, but is {num_replicates}."
        raise ValueError(msg)
