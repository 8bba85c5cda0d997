"""Sums over pairs of points in bounded memory, and correlation sums with their covariance."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = [
    "ScalingCurve",
    "correlation_curve",
    "reference_points",
    "sum_over_pairs",
]

_CHUNK = 512
_ALL_PAIRS = 100_000_000
_LARGEST_VARIANCE = 1 / 30


class ScalingCurve(NamedTuple):
    """A log-log curve for `fracjax.estimators.linear_region`, scales falling.

    Attributes:
        log_scale: (levels,).
        log_measure: (levels,), grows by D per unit of `log_scale`.
        covariance: (levels, levels).
        usable: (levels,), where there are enough points.
    """

    log_scale: Array
    log_measure: Array
    covariance: Array
    usable: Array


def reference_points(num_points: int, num_references: int | None, num_blocks: int) -> np.ndarray:
    """Choose references evenly over the sample, a whole number per block.

    Args:
        num_points: Points of the sample.
        num_references: About how many references; by default all points, or so many that
            there are 10^8 pairs.
        num_blocks: Blocks that errors are taken from.

    Raises:
        ValueError: If there are fewer than two references per block.
    """
    wanted = min(num_points, num_references or max(_ALL_PAIRS // num_points, 2 * num_blocks))
    per_block = wanted // num_blocks
    if per_block < 2:
        msg = (
            f"Argument `points` must give at least 2 references to each of {num_blocks} blocks,"
            f" but gives {wanted} in all. Use more points or fewer blocks."
        )
        raise ValueError(msg)
    count = per_block * num_blocks
    return np.arange(count) * num_points // count


def sum_over_pairs(
    points: Float[Array, "points dim"],
    references: np.ndarray,
    kernel: Callable[[Float[Array, "chunk refs"]], Float[Array, "sums refs"]],
    *,
    theiler_window: int = 0,
) -> Float[Array, "refs sums"]:
    """Sum a kernel of squared distance over all partners of each reference point.

    Chunks of 512 by 512 pairs at a time, whatever the sample: memory does not grow with the
    number of pairs.

    Args:
        points: Points, in order of time if they are an orbit.
        references: Indices of the reference points.
        kernel: Maps squared distances, NaN where there is no admissible pair, to sums over
            the leading axis.
        theiler_window: Pairs at most this many steps apart do not count; 0 leaves out the
            point itself only.
    """
    num_points, dim = points.shape
    chunk = min(_CHUNK, num_points)

    def cut(values: Array, index: np.ndarray) -> tuple[Array, Array]:
        padding = -len(index) % chunk
        values = jnp.pad(values, ((0, padding), (0, 0)), constant_values=jnp.nan)
        index = np.pad(index, (0, padding))
        return values.reshape(-1, chunk, dim), jnp.asarray(index).reshape(-1, chunk)

    partners = cut(points, np.arange(num_points))

    def of_chunk(own: tuple[Array, Array]) -> Array:
        here, now = own

        def add(total: Array, other: tuple[Array, Array]) -> tuple[Array, None]:
            there, then = other
            squared = jnp.zeros((chunk, chunk), points.dtype)
            for axis in range(dim):
                squared += (there[:, None, axis] - here[None, :, axis]) ** 2
            apart = jnp.abs(then[:, None] - now[None, :]) > theiler_window
            return total + kernel(jnp.where(apart, squared, jnp.nan)), None

        shape = jax.eval_shape(kernel, jax.ShapeDtypeStruct((chunk, chunk), points.dtype))
        return jax.lax.scan(add, jnp.zeros(shape.shape, points.dtype), partners)[0]

    sums = jax.lax.map(of_chunk, cut(points[references], references))
    return jnp.moveaxis(sums, 1, 2).reshape(-1, sums.shape[1])[: len(references)]


def _num_partners(num_points: int, references: np.ndarray, theiler_window: int) -> np.ndarray:
    """Count the admissible partners of each reference."""
    before = np.maximum(references - theiler_window, 0)
    after = np.maximum(num_points - 1 - references - theiler_window, 0)
    return before + after


def _neighbour_counts(
    points: Float[Array, "points dim"],
    scales: Float[Array, " scales"],
    references: np.ndarray,
    theiler_window: int,
) -> Float[Array, "refs scales"]:
    """Count the partners of each reference within each scale."""

    def count(squared: Array) -> Array:
        return jax.lax.map(lambda s: (squared < s).astype(points.dtype).sum(axis=0), scales**2)

    return sum_over_pairs(points, references, count, theiler_window=theiler_window)


@functools.partial(
    jax.jit, static_argnames=("order", "theiler_window", "num_references", "num_blocks")
)
def correlation_curve(
    points: Float[Array, "points dim"],
    scales: Float[Array, " scales"],
    *,
    order: float = 2.0,
    theiler_window: int = 0,
    num_references: int | None = None,
    num_blocks: int = 100,
) -> ScalingCurve:
    """Logarithm of the generalised correlation sum, with its covariance between scales.

    C_q(r) = [mean over references of p(r)^{q-1}]^{1/(q-1)}, p the share of partners within
    r; powers are falling factorials of the counts, which makes integer q unbiased.

    The covariance is that of block means over the references, in order, raised to the
    variance of the whole sum (every point is a partner too): for q = 2 and all points as
    references, four times as large. Above q = 2 that is a bound: measured for q = 3 on the
    unit square, variances are up to twice too large. What pairs alone scatter is in it twice,
    as in every jackknife of a sum over pairs, and is taken out once.
    """
    num_points = len(points)
    references = reference_points(num_points, num_references, num_blocks)
    counts = _neighbour_counts(points, scales, references, theiler_window)
    partners = jnp.asarray(_num_partners(num_points, references, theiler_window), points.dtype)
    power = order - 1
    shares = counts / partners[:, None]
    if power == 1:
        powers = shares
    else:
        gamma = jax.lax.lgamma
        rest = counts + 1 - power
        falling = jnp.exp(gamma(counts + 1) - gamma(jnp.maximum(rest, 1e-3)))
        powers = jnp.where((rest > 0) & (counts > 0), falling, 0) / partners[:, None] ** power
    mean = powers.mean(axis=0)
    safe = jnp.maximum(mean, jnp.finfo(points.dtype).tiny)

    blocks = powers.reshape(num_blocks, -1, len(scales)).mean(axis=1) / safe
    reused = len(references) / num_points
    covariance = (1 + (order**2 - 1) * reused) * jnp.cov(blocks.T) / num_blocks
    variance = jnp.diagonal(covariance)
    single = jnp.where(shares > 0, shares, 1) ** (2 * power - 1) * (1 - shares) * (shares > 0)
    twice = (order**2 - 2) * power**2 * single.mean(axis=0) / (safe * num_points) ** 2
    keep = jnp.sqrt(jnp.clip(1 - twice / jnp.where(variance > 0, variance, 1), 0.5, 1))
    covariance = covariance * keep[:, None] * keep
    variance = jnp.diagonal(covariance)
    usable = (mean > 0) & (variance < _LARGEST_VARIANCE)
    log_sum = (jnp.log(safe) + jnp.where(usable, variance, 0) / 2) / power
    return ScalingCurve(jnp.log(scales), log_sum, covariance / power**2, usable)
