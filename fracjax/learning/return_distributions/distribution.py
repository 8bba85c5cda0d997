"""Moments and left tails of a sample of returns, with intervals."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, Leaf, Status
from fracjax.estimators.intervals import student_quantile
from fracjax.estimators.settings import check_at_least
from fracjax.learning.share_intervals import wilson_interval

__all__ = ["ReturnDistribution", "return_distribution"]

_BINS = 100
_LEVELS = (0.025, 0.975)
_DEVIATIONS = 3.0
_DEVIATIONS_PER_MAD = 1.4826  # of a normal sample, by its median absolute deviation
_FEWEST = 8
# Places in what `_numbers` returns.
_MEAN, _DEVIATION, _SKEWNESS, _LEFT_TAIL, _OUTLIERS, _TAIL_MEAN, _MODE, _MAD = range(8)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReturnDistribution:
    """Summary of a sample of returns.

    Attributes:
        mean: Mean.
        deviation: Standard deviation.
        skewness: Third standardised moment; negative for a long left tail.
        left_tail: Left-tail probability of Rahn et al.: share of returns below half the mode.
        outliers: Ours: share of returns more than three robust standard deviations
            (1.4826 times the median absolute deviation) below the median. Does not change
            under shift and scale; .00135 for normal samples.
        tail_mean: CVaR, q + mean(min(x - q, 0))/a with q the a-quantile: the mean of the worst
            share a.
        mode: Centre of the highest of 100 bins between the smallest and the largest return.
    """

    mean: Estimate
    deviation: Estimate
    skewness: Estimate
    left_tail: Estimate
    outliers: Estimate
    tail_mean: Estimate
    mode: Leaf


def return_distribution(
    returns: Float[Array | np.ndarray, " n"],
    key: Key | None = None,
    *,
    tail: float = 0.1,
    floor: float | Float[Array, ""] = 0.0,
    num_resamples: int = 500,
) -> ReturnDistribution:
    """Summarise returns as Rahn et al. do, with 95 % intervals.

    The left-tail probability compares with half the mode, so it has a meaning only where
    returns are positive and zero is the return of a policy that has failed. Where it is not,
    give `floor`, the return of failure: the share below floor + (mode - floor)/2 is taken.
    The published definition is `floor` = 0; its authors' code rounds the mode down to a
    multiple of the bins' centres, which is not done here. The mode depends on the range of the
    sample and jumps between bins; `outliers` has neither weakness.

    Measured coverage of the nominal 95 % of 1000 returns from N(10, 3²) and from 30 - 2 Γ(4), 250
    to 600 seeds, with a prototype of these intervals (the tests ask for lower bounds): mean 93 to
    94 %, deviation 94 to 97 %, skewness 89 to 94 %, left tail and outliers 97 % and more, tail mean
    94 to 97 %; of 100 returns 90 to 95 %, but 79 % for the skewness of the second, which comes out
    a tenth too small. The mode is .25 too low for N(10, 3²).

    Args:
        returns: Independent returns, such as one column of `PostUpdateReturns.returns`.
        key: Draws the resamples; a fixed key by default.
        tail: a, the share whose mean is `tail_mean`.
        floor: Return of failure.
        num_resamples: Draws of the bootstrap.

    Returns:
        Values as defined, and intervals: Student's for the mean; for the deviation Student's of
        its logarithm; for skewness and tail mean Student's around the value less its bootstrap
        bias (of n and n a degrees of freedom); errors of all three are bootstraps. Percentile
        bootstraps for the two shares, joined with Wilson's for the threshold found, so that a
        share of zero has an upper end above zero. `DIVERGED` (NaN) if a return is not finite,
        `TOO_FEW_POINTS` (NaN) below 8 returns. `AT_NOISE_FLOOR` for `deviation` (0) and `skewness`
        (NaN) of equal returns, for `outliers` (NaN) where more than half of the returns are equal,
        and for `left_tail` (NaN) where the mode is not above `floor`.

    Raises:
        ValueError: If `tail` is not inside (0, 1) or `returns` is empty.

    References:
        Rahn et al. (2023), arXiv 2309.14597; Rockafellar and Uryasev (2000),
        https://doi.org/10.21314/JOR.2000.038.
    """
    check_at_least(num_resamples=(num_resamples, 2))
    if not 0 < tail < 1:
        msg = f"Argument `tail` must lie inside (0, 1), but is {tail}."
        raise ValueError(msg)
    returns = jnp.asarray(returns)
    if returns.size == 0:
        msg = "Argument `returns` must hold returns, but is empty."
        raise ValueError(msg)
    if returns.size < _FEWEST:
        return _nothing(returns.dtype)
    key = jax.random.key(0) if key is None else key
    # A weak type would be another program.
    returns = jax.lax.convert_element_type(returns, returns.dtype)
    return _summarise(returns, key, jnp.asarray(floor, returns.dtype), tail, num_resamples)


def _nothing(dtype: jnp.dtype) -> ReturnDistribution:
    """What too few returns say."""
    unknown = jnp.full((), jnp.nan, dtype)
    status = jnp.asarray(int(Status.TOO_FEW_POINTS))
    one = Estimate(unknown, unknown, unknown, unknown, status)
    return ReturnDistribution(one, one, one, one, one, one, unknown)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _summarise(
    returns: Float[Array, " n"], key: Key, floor: Array, tail: float, num_resamples: int
) -> ReturnDistribution:
    count, dtype = returns.size, returns.dtype
    finite = jnp.isfinite(returns).all()
    ordered = jnp.sort(jnp.where(finite, returns, 0))
    # About the median, in units of the spread: third powers of large numbers round away.
    middle, unit = ordered[count // 2], jnp.maximum(jnp.std(ordered), jnp.finfo(dtype).tiny)
    scaled = (ordered - middle) / unit
    bottom = (floor - middle) / unit
    rows = jax.random.randint(key, (num_resamples, count), 0, count)

    def describe(number: Array) -> Float[Array, " numbers"]:
        """The sample itself, and after it the resamples: one program, most of it sorting."""
        drawn = jnp.bincount(rows[number - 1], length=count).astype(dtype)
        return _numbers(scaled, jnp.where(number > 0, drawn, 1), tail, bottom)

    every = jax.lax.map(describe, jnp.arange(num_resamples + 1), batch_size=16)
    value, drawn = every[0, :_MAD], every[1:, :_MAD]
    mostly_equal = every[0, _MAD] == 0
    low, high = jnp.quantile(drawn, jnp.asarray(_LEVELS, dtype), axis=0)
    error = jnp.std(drawn, axis=0, ddof=1)
    # Back to the units of the returns.
    scale = jnp.asarray([unit, unit, 1, 1, 1, unit, unit], dtype)
    shift = jnp.asarray([middle, 0, 0, 0, 0, middle, middle], dtype)
    value, low, high, centre = (
        part * scale + shift for part in (value, low, high, drawn.mean(axis=0))
    )
    error, bias = error * scale, centre - value

    normal = student_quantile(count - 1, count).astype(dtype)
    worst = student_quantile(max(int(count * tail) - 1, 1), count).astype(dtype)
    deviation = value[_DEVIATION]
    growth = jnp.exp(normal * error[_DEVIATION] / jnp.where(deviation > 0, deviation, 1))
    error = error.at[_MEAN].set(deviation / math.sqrt(count))
    low = low.at[_DEVIATION].set(deviation / growth)
    high = high.at[_DEVIATION].set(deviation * growth)
    for number, quantile, excess in (
        (_MEAN, normal, 0),
        (_SKEWNESS, normal, bias[_SKEWNESS]),
        (_TAIL_MEAN, worst, bias[_TAIL_MEAN]),
    ):
        about, margin = value[number] - excess, quantile * error[number]
        low, high = low.at[number].set(about - margin), high.at[number].set(about + margin)
    for number in (_LEFT_TAIL, _OUTLIERS):
        bounds = wilson_interval(value[number], count)
        low = low.at[number].min(bounds[0])
        high = high.at[number].max(bounds[1])
        error = error.at[number].max((bounds[1] - bounds[0]) / 3.92)

    all_equal = ordered[0] == ordered[-1]
    silent = {
        _DEVIATION: all_equal,
        _SKEWNESS: all_equal,
        _LEFT_TAIL: value[_MODE] <= floor,
        _OUTLIERS: mostly_equal,
    }

    def estimate(number: int) -> Estimate:
        is_silent = silent.get(number, jnp.zeros((), bool))
        status = jnp.where(is_silent, int(Status.AT_NOISE_FLOOR), int(Status.OK))
        status = jnp.where(finite, status, int(Status.DIVERGED))
        gone = ~finite | (is_silent & (number != _DEVIATION))
        found, stderr, first, last = (
            jnp.where(gone, jnp.nan, part[number]) for part in (value, error, low, high)
        )
        return Estimate(found, stderr, first, last, status)

    return ReturnDistribution(
        mean=estimate(_MEAN),
        deviation=estimate(_DEVIATION),
        skewness=estimate(_SKEWNESS),
        left_tail=estimate(_LEFT_TAIL),
        outliers=estimate(_OUTLIERS),
        tail_mean=estimate(_TAIL_MEAN),
        mode=jnp.where(finite, value[_MODE], jnp.nan),
    )


def _numbers(
    x: Float[Array, " n"], weights: Float[Array, " n"], tail: float, floor: Array
) -> Float[Array, " numbers"]:
    """Mean, deviation, skewness, left tail, outliers, CVaR, mode, and median absolute deviation.

    Of a sorted sample; `weights` are how often each value occurs.
    """
    total = weights.sum()
    upto = jnp.cumsum(weights)

    def quantile(level: float) -> Array:
        """Linear between the order statistics, NumPy's rule."""
        rank = level * (total - 1)
        below = jnp.floor(rank)
        left = x[_place(upto, below + 1)]
        right = x[_place(upto, jnp.minimum(below + 2, total))]
        return left + (rank - below) * (right - left)

    mean = weights @ x / total
    centred = x - mean
    variance = weights @ centred**2 / total
    deviation = jnp.sqrt(variance * total / jnp.maximum(total - 1, 1))
    skewness = (weights @ centred**3 / total) / jnp.where(variance > 0, variance, 1) ** 1.5
    first, last = x[jnp.argmax(weights > 0)], x[x.size - 1 - jnp.argmax(weights[::-1] > 0)]
    width = jnp.where(last > first, last - first, 1) / _BINS
    bins = jnp.clip(jnp.floor((x - first) / width), 0, _BINS - 1).astype(int)
    mode = first + (jnp.argmax(jnp.zeros(_BINS, x.dtype).at[bins].add(weights)) + 0.5) * width
    mode = jnp.where(last > first, mode, first)
    below_half = weights @ (x < floor + (mode - floor) / 2) / total
    spread = _weighted_mad(x, weights)
    limit = quantile(0.5) - _DEVIATIONS * _DEVIATIONS_PER_MAD * spread
    outliers = weights @ (x < limit) / total
    cut = quantile(tail)
    worst = cut + (weights @ jnp.minimum(x - cut, 0) / total) / tail
    return jnp.stack([mean, deviation, skewness, below_half, outliers, worst, mode, spread])


def _weighted_mad(x: Float[Array, " n"], weights: Float[Array, " n"]) -> Array:
    """Median absolute deviation of a sorted sample."""
    half = weights.sum() / 2
    median = x[_place(jnp.cumsum(weights), half)]
    away, order = jax.lax.sort((jnp.abs(x - median), weights), num_keys=1)
    return away[_place(jnp.cumsum(order), half)]


def _place(upto: Float[Array, " n"], amount: Array) -> Array:
    """First place at which running totals have reached an amount; cheap to compile."""
    return jnp.minimum(jnp.sum(upto < amount), upto.size - 1)
