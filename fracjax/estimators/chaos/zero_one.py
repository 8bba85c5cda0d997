"""The 0-1 test for chaos of Gottwald and Melbourne, for one recorded series."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import bdtrik

from fracjax._types import Estimate, Key, Status
from fracjax.estimators.intervals import student_quantile
from fracjax.estimators.settings import check_at_least

__all__ = ["zero_one_test"]

_FEWEST = 200
_BLOCKS = 8  # of the jackknife over the series
_OVERSAMPLED = 0.9  # autocorrelation of neighbours above which K is too low
_SUGGESTED = 0.7  # autocorrelation that the suggested stride brings about
_LOWEST, _HIGHEST = 0.1, 0.4  # frequencies in turns per sample: c inside (π/5, 4π/5)


def zero_one_test(
    values: Float[Array | np.ndarray, " points"],
    *,
    key: Key | None = None,
    stride: int = 1,
    damping: float = 0.0,
    num_frequencies: int = 100,
    num_lags: int = 100,
) -> Estimate:
    """Tell chaotic from regular dynamics by K, near 1 or near 0, from an observed series.

    The series drives a motion in the plane, p(t) + i q(t) = Σ_{s<=t} (φ(s) - mean φ) e^{ics}:
    bounded when the dynamics are regular, diffusive when chaotic. For each of many random c
    in (π/5, 4π/5), K_c is the correlation of the lag with the mean square displacement, for
    lags up to a tenth of the length, and K the median over c. Subtracting the mean first
    removes the oscillating term of the displacement, (mean φ)² (1 - cos cn)/(1 - cos c).

    K tells neither how chaotic the dynamics are nor chaos from noise: white noise gives 1.
    It approaches its limits with the length: medians over starts are .998 for the logistic
    map at r = 4 with 500 samples and more, and .59, .94 and .988 for its weak chaos in bands
    at r = 3.6 with 500, 2000 and 5000 (measured). A flow sampled so finely that its graph
    looks smooth gives K near 0, chaotic or not: 3000 samples of the Lorenz x at intervals of
    .01, .05 and .1 give .03, .63 and .998. Such a series, with neighbours correlated by more
    than .9, is told to be `NOT_CONVERGED`; take `details["suggested_stride"]`.

    Args:
        values: Evenly sampled series, after any transient.
        key: Draws c; a fixed key by default.
        stride: Use one sample out of so many. At least 200 must be left, better 1000.
        damping: Adds damping · Var φ · sin(√2 n) to the displacement at lag n, so that weak
            diffusion due to measurement noise looks less like chaos; 0 to 3. With period 8
            and noise of .05, .2 and .5 of its spread K is .08, .73 and .98 without it, and
            .03, .47 and .94 with 2.5; weak chaos is damped alike. The variance stands where
            the original has the squared mean, so that an offset does not matter.
        num_frequencies: How many c.
        num_lags: At most so many lags, evenly spaced.

    Returns:
        K with a 95 % interval for its expectation at this length, not for the limit: it
        joins the interval of the median over c with a jackknife over eight parts of the
        series, and is wide (98 to 100 % measured coverage). `NOT_CONVERGED` when
        oversampled, `AT_NOISE_FLOOR` for a constant series, `DIVERGED` when a value is not
        finite. Details: `per_frequency` K_c and `frequencies` c, (num_frequencies,),
        `neighbour_correlation`, `suggested_stride` in samples of the given series (0 if
        there is none).

    Raises:
        ValueError: If a setting is out of range or too few samples are left.

    References:
        Gottwald and Melbourne (2009), https://doi.org/10.1137/080718851, arXiv 0906.1418.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import estimators
        >>> def orbit(rate):
        ...     step = lambda x, _: (rate * x * (1 - x), x)
        ...     return jax.lax.scan(step, 0.3, length=2000)[1]
        >>> for rate in (4.0, 3.5):
        ...     print(f"{estimators.zero_one_test(orbit(rate)).value:.1f}")
        1.0
        -0.0
    """
    check_at_least(
        stride=(stride, 1), num_frequencies=(num_frequencies, 10), num_lags=(num_lags, 10)
    )
    values = jnp.asarray(values)
    if values.ndim != 1 or -(-len(values) // stride) < _FEWEST:
        msg = (
            f"Argument `values` must be one series with at least {_FEWEST} samples left at a"
            f" stride of {stride}, but has shape {values.shape}."
        )
        raise ValueError(msg)
    if damping < 0:
        msg = f"Argument `damping` must not be negative, but is {damping}."
        raise ValueError(msg)
    values = values.astype(jnp.result_type(values.dtype, jnp.float32))
    key = jax.random.key(0) if key is None else key
    return _zero_one(values, key, damping, stride, num_frequencies, num_lags)


# Compiled as a whole: op by op the first call takes three times as long to compile.
@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _zero_one(
    values: Float[Array, " points"],
    key: Key,
    damping: float,
    stride: int,
    num_frequencies: int,
    num_lags: int,
) -> Estimate:
    finite = jnp.all(jnp.isfinite(values))
    values = jnp.where(finite, values, 0)
    series = values[::stride] - values[::stride].mean()
    variance = jnp.mean(series**2)
    heard = variance > (8 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))) ** 2
    series = series / jnp.where(heard, jnp.sqrt(variance), 1)
    turns = _random_turns(key, num_frequencies)
    longest = len(series) // 10
    lags = np.unique(np.linspace(1, longest, min(num_lags, longest)).round().astype(np.int32))
    displacement = _displacements(series, turns, lags)
    oscillation = jnp.asarray(damping * np.sin(math.sqrt(2) * lags), series.dtype)

    whole = displacement.sum(axis=-1, keepdims=True)
    others = jnp.moveaxis(whole - displacement, -1, 0) / (_BLOCKS - 1)
    per_frequency = _correlation(lags, whole[..., 0] / _BLOCKS + oscillation)
    left_out = jnp.median(_correlation(lags, others + oscillation), axis=1)
    scatter = jnp.sqrt((_BLOCKS - 1) * jnp.var(left_out))
    value, low, high, stderr = _interval(per_frequency, scatter)
    neighbours = jnp.mean(series[1:] * series[:-1])
    status = jnp.where(neighbours > _OVERSAMPLED, Status.NOT_CONVERGED, Status.OK)
    status = jnp.where(heard, status, Status.AT_NOISE_FLOOR)
    status = jnp.where(finite, status, Status.DIVERGED)
    blank = jnp.where(heard & finite, 0, jnp.nan).astype(value.dtype)
    return Estimate(
        value=value + blank,
        stderr=stderr + blank,
        low=low + blank,
        high=high + blank,
        status=status,
        details={
            "per_frequency": per_frequency + blank,
            "frequencies": turns.astype(value.dtype) * (2 * math.pi / 2**32),
            "neighbour_correlation": neighbours + blank,
            "suggested_stride": _suggested_stride(values),
        },
    )


def _random_turns(key: Key, count: int) -> Array:
    """Draw frequencies as integers, in units of 2⁻³² turns."""
    low, width = int(_LOWEST * 2**32), int((_HIGHEST - _LOWEST) * 2**32)
    bits = jax.random.bits(key, (count,), jnp.uint32)
    return jnp.uint32(low) + bits % jnp.uint32(width)


def _displacements(
    series: Float[Array, " n"], turns: Array, lags: np.ndarray
) -> Float[Array, "c lags parts"]:
    """Mean square displacement per frequency, lag and part of the series."""
    starts = (len(series) - int(lags[-1])) // _BLOCKS * _BLOCKS

    def at_frequency(turn: Array) -> Float[Array, "lags parts"]:
        # Integers wrap around at whole turns, so that the phase is exact at any length.
        phase = jnp.arange(len(series), dtype=jnp.uint32) * turn
        angle = phase.astype(series.dtype) * (2 * math.pi / 2**32)
        path = jnp.cumsum(series * jnp.stack([jnp.cos(angle), jnp.sin(angle)]), axis=1)

        def at_lag(lag: Array) -> Float[Array, " parts"]:
            moved = jax.lax.dynamic_slice_in_dim(path, lag, starts, axis=1) - path[:, :starts]
            return jnp.sum(moved**2, axis=0).reshape(_BLOCKS, -1).mean(axis=1)

        return jax.lax.map(at_lag, jnp.asarray(lags))

    return jax.lax.map(at_frequency, turns)


def _correlation(lags: np.ndarray, values: Float[Array, "*sets lags"]) -> Float[Array, "*sets"]:
    offset = jnp.asarray(lags - lags.mean(), values.dtype)
    centred = values - values.mean(axis=-1, keepdims=True)
    both = jnp.sqrt(jnp.sum(offset**2) * jnp.sum(centred**2, axis=-1))
    return jnp.sum(offset * centred, axis=-1) / jnp.where(both > 0, both, 1)


def _interval(
    per_frequency: Float[Array, " c"], scatter: Float[Array, ""]
) -> tuple[Array, Array, Array, Array]:
    """Median over frequencies; binomial interval joined with the scatter over the series."""
    count = len(per_frequency)
    lower = max(math.ceil(bdtrik(0.025, count, 0.5)) - 1, 0)
    ordered = jnp.sort(per_frequency)
    value = jnp.median(per_frequency)
    wide = student_quantile(_BLOCKS - 1, _BLOCKS).astype(value.dtype) * scatter
    below = jnp.hypot(value - ordered[lower], wide)
    above = jnp.hypot(ordered[count - 1 - lower] - value, wide)
    stderr = jnp.hypot((ordered[count - 1 - lower] - ordered[lower]) / 3.92, scatter)
    return value, jnp.maximum(value - below, -1), jnp.minimum(value + above, 1), stderr


def _suggested_stride(values: Float[Array, " points"]) -> Array:
    """First lag at which the autocorrelation is below its suggested value."""
    centred = values - values.mean()
    power = jnp.abs(jnp.fft.rfft(centred, 2 * len(values))) ** 2
    correlation = jnp.fft.irfft(power)[: len(values) // 10]
    return jnp.argmax(correlation < _SUGGESTED * correlation[0])
