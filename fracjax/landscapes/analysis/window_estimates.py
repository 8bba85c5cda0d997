"""Exponents in many windows of one line or plane, at bounded memory."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fracjax._types import Estimate, Status
from fracjax.estimators.roughness.scaling import noise_gain
from fracjax.estimators.roughness.series import series_holder_exponent
from fracjax.estimators.roughness.surface_exponent import surface_exponent
from fracjax.evaluation import map_points
from fracjax.landscapes.analysis.fields import Field
from fracjax.landscapes.analysis.noise_floor import noise_shift

__all__ = ["LAGS", "window_estimates"]

LAGS = (1, 2, 3, 4)
_LARGEST_SHARE = 0.5  # of the noise in the variogram at the smallest lag
_BUDGET = 2**27  # bytes of intermediate results at a time
_COPIES = 48  # of a window, that the estimator of surfaces holds


def window_estimates(
    field: Field,
    starts: np.ndarray,
    *,
    window: tuple[int, ...],
    aggregate: str = "mean",
    lags: tuple[int, ...] = LAGS,
    tolerated_missing: float = 0.0,
) -> dict[str, np.ndarray]:
    """Estimate the exponent of every window of a field.

    Args:
        field: Line or plane.
        starts: First sample of every window along every axis, (windows, axes).
        window: Samples along every axis.
        aggregate: As for `graph_dimension`, planes only.
        lags: As for `graph_dimension`, planes only.
        tolerated_missing: Share of nonfinite values up to which a window is estimated.

    Returns:
        One array over windows for each of `holder_exponent`, `stderr`, `low`, `high`,
        `status`, `amplitude`, `noise_share`, `noise_floor`, `missing`, and for planes
        `anisotropy_p_value`.
    """
    values = np.where(np.isfinite(field.values), field.values.astype(np.float64), np.nan)
    finite = np.isfinite(values)
    centre = float(np.median(values[finite])) if finite.any() else 0.0
    extent = float(np.abs(values[finite] - centre).max()) if finite.any() else 0.0
    unit = 2.0 ** round(math.log2(extent)) if extent > 0 else 1.0  # exact to divide by
    dtype = jnp.zeros(0).dtype  # the widest that is enabled
    rounding = field.rounding() / np.sqrt(3)  # as a standard deviation of a uniform error
    floor = (np.hypot(field.noise, rounding) / unit).astype(dtype)
    # Two numbers for each, so that nothing is lost before a window's own mean is taken off.
    scaled = values / unit
    coarse = scaled.astype(dtype)
    fine = (scaled - coarse).astype(dtype)

    size = math.prod(window)
    fitting = max(1, _BUDGET // (size * np.dtype(dtype).itemsize * _COPIES))
    # Powers of four, so that few programs serve all scans.
    chunk = 2 ** min(int(math.log2(fitting)), 2 * math.ceil(math.log2(len(starts)) / 2))
    limits = np.array([tolerated_missing, np.any(fine)], dtype)
    run = _estimator(tuple(window), aggregate, tuple(lags))
    rows = starts.astype(np.int32)
    found = map_points(run, rows, coarse, fine, floor, limits, chunk_size=chunk)
    for name in ("amplitude", "noise_floor"):
        found[name] = found[name].astype(np.float64) * unit
    return found


@functools.lru_cache(maxsize=16)
def _estimator(
    window: tuple[int, ...],
    aggregate: str,
    lags: tuple[int, ...],
) -> Callable:
    """One function object per setting, so that it is compiled once."""

    def estimate(
        start: Int[Array, " d"], coarse: Array, fine: Array, floor: Array, limits: Array
    ) -> dict[str, Array]:
        tolerated_missing, narrowed = limits
        part, rest, noise = (
            jax.lax.dynamic_slice(array, start, window) for array in (coarse, fine, floor)
        )
        finite = jnp.isfinite(part)
        count = jnp.maximum(finite.sum(), 1)
        # Ends of the range, not the mean: differences of close numbers are exact.
        low = jnp.where(finite, part, jnp.inf).min()
        high = jnp.where(finite, part, -jnp.inf).max()
        values = (part - (low + (high - low) / 2)) + rest
        values = jnp.where(finite, values, jnp.nan)
        extent = jnp.where(finite, jnp.abs(values), 0).max()
        extent = jnp.where(extent > 0, extent, 1)
        values = values / extent
        variance = jnp.where(finite, (noise / extent) ** 2, 0).sum() / count
        # What was in a wider dtype is rounded once more.
        gaps = jnp.nextafter(jnp.abs(values), jnp.inf) - jnp.abs(values)
        variance += narrowed * jnp.where(finite, gaps**2, 0).sum() / count / 12
        if len(window) == 1:
            result = _line(values, variance)
        else:
            result = _plane(values, variance, aggregate, lags)
        missing = 1 - finite.mean()
        result["missing"] = missing
        result["noise_floor"] = jnp.sqrt(variance) * extent
        result["amplitude"] = result["amplitude"] * extent
        lost = (missing > tolerated_missing) | (result["status"] == Status.DIVERGED)
        result["status"] = jnp.where(lost, int(Status.DIVERGED), result["status"])
        bad = lost | (result["status"] == Status.AT_NOISE_FLOOR)
        for name in ("holder_exponent", "stderr", "low", "high"):
            result[name] = jnp.where(bad, jnp.nan, result[name])
        for name in ("amplitude", "noise_share"):
            result[name] = jnp.where(lost, jnp.nan, result[name])
        return result

    return estimate


def _results(estimate: Estimate) -> dict[str, Array]:
    return {
        "holder_exponent": estimate.value,
        "stderr": estimate.stderr,
        "low": estimate.low,
        "high": estimate.high,
        "status": estimate.status,
    }


def _line(values: Float[Array, " n"], variance: Float[Array, ""]) -> dict[str, Array]:
    estimate = series_holder_exponent(values, noise_variance=variance)
    variogram = estimate.details["variogram"]
    noise = noise_gain(2) * variance
    share = noise / jnp.maximum(variogram[0], jnp.finfo(values.dtype).tiny)
    drowned = (estimate.status == Status.NOT_CONVERGED) & (share > _LARGEST_SHARE)
    return _results(estimate) | {
        "status": jnp.where(drowned, int(Status.AT_NOISE_FLOOR), estimate.status),
        "amplitude": jnp.sqrt(jnp.maximum(variogram[0] - noise, 0)),
        "noise_share": share,
    }


def _plane(
    values: Float[Array, "n m"], variance: Float[Array, ""], aggregate: str, lags: tuple[int, ...]
) -> dict[str, Array]:
    """Add to the exponent what the noise took from it."""
    estimate = surface_exponent(values, lags=lags, aggregate=aggregate)
    details = estimate.details
    each, p_value = details["direction_exponents"], details["anisotropy_p_value"]
    variogram = details["variogram"]
    noise = noise_shift(variogram, variance, lags=lags, num_points=min(*values.shape, 256))
    shift = jnp.where(p_value < 0.05, noise.shift[jnp.argmin(each)], noise.shift.mean())
    value = estimate.value + shift
    stderr = estimate.stderr * noise.spread
    half = (estimate.high - estimate.low) / 2 * noise.spread
    at_floor = ~(noise.share <= _LARGEST_SHARE) & (estimate.status == Status.OK)
    return {
        "holder_exponent": value,
        "stderr": stderr,
        "low": value - half,
        "high": value + half,
        "status": jnp.where(at_floor, int(Status.AT_NOISE_FLOOR), estimate.status),
        "amplitude": jnp.sqrt(jnp.maximum(variogram[:2, 0].mean() - noise_gain(2) * variance, 0)),
        "noise_share": noise.share,
        "anisotropy_p_value": p_value,
    }
