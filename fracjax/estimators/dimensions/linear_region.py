"""The straight part of a log-log curve and its slope, with what the search for it costs.

Points of a log-log curve share their data, so they are correlated, and they bend away from a
power law at both ends. This module takes the curve together with the covariance of its
points, looks at every window of neighbouring scales, and gives the slope in the longest
window that shows no bend, with an interval that counts sampling, the misfit of the power law
and the choice of the window.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import stats

from fracjax._types import Estimate, Status
from fracjax.estimators.dimensions.window_fits import (
    MIN_LEVELS,
    NUM_PARAMETERS,
    all_windows,
    fit_windows,
    rounding_ridge,
    whiten,
)
from fracjax.estimators.estimates import symmetric_estimate

__all__ = ["linear_region"]

_MISFITS = (0.001, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1, 0.2)
_LARGEST_MISFIT = 0.15
_STRAIGHT = 2.0  # standard errors that the correction may lie away from none
_REPLICATES = 200


@functools.lru_cache(maxsize=8)
def _normal_draws(num_levels: int) -> np.ndarray:
    """Fixed standard normal draws, antithetic: the search is repeated on the same ones."""
    draws = np.random.default_rng(0).standard_normal((_REPLICATES // 2, num_levels))
    return np.concatenate([draws, -draws])


def linear_region(
    log_scale: Float[Array | np.ndarray, " levels"],
    log_measure: Float[Array | np.ndarray, " levels"],
    covariance: Float[Array | np.ndarray, "levels levels"],
    *,
    usable: Bool[Array | np.ndarray, " levels"] | None = None,
    covariance_samples: int | None = None,
    min_decades: float = 1.0,
) -> Estimate:
    """Find where a log-log curve is straight, and its slope there as the scale goes to zero.

    In every window of neighbouring levels the curve is fitted by

        y = a + D ln r + c r / r_max,      covariance + τ² · identity,

    by generalised least squares. The term in c is the leading correction of a power law
    whose object has an edge (a box count A ε^{-2} + P ε^{-1}, pairs near a boundary); τ, the
    misfit, is the smallest on a grid that brings χ² down to its degrees of freedom, and
    stands for local slopes that oscillate with the scale. A window is straight when c is
    within two standard errors of zero and τ at most 0.15. The value is D, with the
    correction still in the fit, in the longest straight window of at least `min_decades`;
    at equal length, the one at smaller scales. A straight line alone would leave the bend
    that two standard errors hide in the value: its intervals covered the truth in 10 to
    70 % of samples where these cover it in 90 to 99 %.

    The search is repeated on 200 Gaussian replicates of the curve (fixed draws, so the
    result is a function of the data); their scatter takes the place of the sampling error of
    a window known in advance. The error of the covariance itself widens the interval
    through `covariance_samples`.

    Pure and fixed in shape; it may be jitted and vmapped. The cost grows with the fourth
    power of the number of levels: 16 take milliseconds, use at most about 24.

    Args:
        log_scale: Natural logarithms of the scales, in falling order, at least 4.
        log_measure: Logarithms of the quantity that should be a power of the scale.
        covariance: Sampling covariance of `log_measure`, from a jackknife over blocks.
        usable: Levels that may be used; all by default.
        covariance_samples: Number of blocks behind `covariance`, if it was estimated; it
            should be several times the number of levels.
        min_decades: Fewest decades of scale that a window must span.

    Returns:
        Slope D. `details`: `window` (levels used), `window_low`, `window_high` (scales),
        `decades`, `plain_slope` and `plain_stderr` (without the correction), `correction` (c,
        which is also how far the slope at the top of the window lies from D), `misfit` (τ),
        `search_stderr` (scatter over replicates of the search), `fit_p_value` (χ² of the
        window without misfit), `local_slopes` (between neighbouring levels).

    Status: NO_SCALING_REGION where no window is straight (the least bent one is reported) or
    none spans `min_decades` (NaN), DIVERGED where a usable level is not finite or, under
    `jit`, scales do not fall.

    Raises:
        ValueError: If there are fewer than 4 levels, scales do not fall, or there are fewer
            `covariance_samples` than levels and 2 more.

    References:
        Paule and Mandel (1982), https://doi.org/10.6028/jres.087.022, for τ; Dodelson and
        Schneider (2013), https://arxiv.org/abs/1304.2593, for estimated covariances.
    """
    log_scale, log_measure = jnp.asarray(log_scale), jnp.asarray(log_measure)
    covariance = jnp.asarray(covariance, log_measure.dtype)
    num_levels = log_scale.shape[0]
    if num_levels < MIN_LEVELS:
        msg = f"Argument `log_scale` must hold at least {MIN_LEVELS} levels, but has {num_levels}."
        raise ValueError(msg)
    if log_measure.shape != (num_levels,) or covariance.shape != (num_levels, num_levels):
        msg = (
            f"Argument `log_measure` must have the {num_levels} levels of `log_scale` and"
            f" `covariance` their square, but the shapes are {log_measure.shape} and"
            f" {covariance.shape}."
        )
        raise ValueError(msg)
    if covariance_samples is not None and covariance_samples < num_levels + 2:
        msg = (
            f"Argument `covariance_samples` must be at least {num_levels + 2}, two more than"
            f" there are levels, but is {covariance_samples}."
        )
        raise ValueError(msg)
    if not isinstance(log_scale, jax.core.Tracer) and not bool((jnp.diff(log_scale) < 0).all()):
        msg = "Argument `log_scale` must fall from level to level, but does not: sort the curve."
        raise ValueError(msg)
    usable = jnp.ones(num_levels, bool) if usable is None else jnp.asarray(usable)
    return _search(
        log_scale.astype(log_measure.dtype),
        log_measure,
        covariance,
        usable,
        covariance_samples=covariance_samples,
        min_decades=min_decades,
    )


@functools.partial(jax.jit, static_argnames=("covariance_samples", "min_decades"))
def _search(
    log_scale: Float[Array, " levels"],
    log_measure: Float[Array, " levels"],
    covariance: Float[Array, "levels levels"],
    usable: Bool[Array, " levels"],
    *,
    covariance_samples: int | None,
    min_decades: float,
) -> Estimate:
    dtype, num_levels = log_measure.dtype, len(log_measure)
    both = usable[:, None] & usable
    covariance = jnp.where(both, covariance, 0.0)
    finite = jnp.isfinite(log_measure) & jnp.isfinite(covariance).all(axis=1)
    diverged = (usable & ~finite).any() | ~(jnp.diff(log_scale) < 0).all()
    usable &= finite
    # The mean goes first: the values matter through differences only, and float32 is short.
    count = jnp.maximum(usable.sum(), 1)
    curve = jnp.where(usable, log_measure, 0.0)
    curve = jnp.where(usable, curve - curve.sum() / count, 0.0)
    covariance = jnp.where(usable[:, None] & usable, covariance, 0.0)

    first, length = all_windows(num_levels)
    levels = np.arange(num_levels)
    windows = jnp.asarray((levels >= first[:, None]) & (levels < (first + length)[:, None]))
    top, bottom = log_scale[first], log_scale[first + length - 1]
    long_enough = top - bottom >= min_decades * np.log(10) * (1 - 1e-5)
    allowed = long_enough & (~windows | usable).all(axis=1)

    fits = fit_windows(log_scale, curve, covariance, jnp.asarray(_MISFITS, dtype))
    widen = jnp.asarray(_widening(length, covariance_samples), dtype)

    diagonal = jnp.where(usable, rounding_ridge(covariance), 1.0)
    root = whiten(covariance + jnp.diag(diagonal), jnp.zeros((num_levels, 0), dtype))[0]
    draws = jnp.asarray(_normal_draws(num_levels), dtype) @ root
    curves = curve + jnp.concatenate([jnp.zeros((1, num_levels), dtype), draws])
    slopes = curves @ fits.slope_map.T
    bends = jnp.abs(curves @ fits.correction_map.T) / (fits.correction_error * widen)
    straight = allowed & (bends <= _STRAIGHT) & (fits.misfit <= _LARGEST_MISFIT)
    least = jnp.argmin(jnp.where(allowed, bends + 100 * fits.misfit, jnp.inf), axis=1)
    choices = jnp.where(straight.any(axis=1), jnp.argmax(straight, axis=1), least)
    found = jnp.take_along_axis(slopes, choices[:, None], axis=1)[:, 0]
    choice, value = choices[0], found[0]

    searched = jnp.sqrt(jnp.mean((found[1:] - found[1:].mean()) ** 2))
    mapped = fits.slope_map[choice]
    sampling = jnp.sqrt(jnp.maximum(mapped @ covariance @ mapped, 0.0))
    unexplained = jnp.maximum(fits.slope_error[choice] ** 2 - sampling**2, 0.0)
    stderr = jnp.sqrt(jnp.maximum(searched, sampling) ** 2 + unexplained) * widen[choice]

    status = jnp.where(straight[0].any(), int(Status.OK), int(Status.NO_SCALING_REGION))
    status = jnp.where(diverged, int(Status.DIVERGED), status)
    known = allowed.any() & ~diverged
    blank = jnp.where(known, 0.0, jnp.nan).astype(dtype)
    quantile = float(stats.norm.ppf(0.975))
    details = {
        "window": windows[choice] & known,
        "window_low": jnp.exp(bottom[choice]) + blank,
        "window_high": jnp.exp(top[choice]) + blank,
        "decades": (top - bottom)[choice] / np.log(10).astype(dtype) + blank,
        "plain_slope": fits.plain[choice, 0] + blank,
        "plain_stderr": fits.plain[choice, 1] + blank,
        "correction": fits.correction_map[choice] @ curve + blank,
        "misfit": fits.misfit[choice] + blank,
        "search_stderr": searched + blank,
        "fit_p_value": _upper_tail(fits.squared, length)[choice] + blank,
        "local_slopes": jnp.diff(log_measure) / jnp.diff(log_scale),
    }
    return symmetric_estimate(value, stderr, quantile, status, details, blank=blank)


def _widening(length: np.ndarray, samples: int | None) -> np.ndarray:
    """Factor of the errors of windows whose covariance was estimated from so many samples."""
    if samples is None:
        return np.ones(len(length))
    return (samples - 1) / (samples - 1 - length + NUM_PARAMETERS)


def _upper_tail(squared: Float[Array, " windows"], length: np.ndarray) -> Float[Array, " windows"]:
    """p-value of χ² after a fit; Wilson and Hilferty: its cube root is all but Gaussian."""
    freedom = jnp.asarray(length - NUM_PARAMETERS, squared.dtype)
    spread = 2 / (9 * freedom)
    return jax.scipy.stats.norm.sf((jnp.cbrt(squared / freedom) - 1 + spread) / jnp.sqrt(spread))
