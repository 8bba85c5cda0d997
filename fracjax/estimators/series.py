"""Hölder exponent of one evenly sampled series."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import stats

from fracjax._types import Estimate, Status
from fracjax.estimators.scaling import log_variogram_covariance, mean_increments

__all__ = ["series_holder_exponent"]

_LAGS = (1, 2, 3, 4, 5, 6, 7, 8)
_GRID = tuple(np.linspace(0.02, 0.98, 49))
_ORDER = 2
_MIN_POINTS = 4 * _ORDER * max(_LAGS) // 2
_PASSES = 4
# χ² with 6 degrees of freedom has the elementary tail e^{-x/2} (1 + x/2 + x²/8).
_FREEDOM = len(_LAGS) - 2


def series_holder_exponent(
    values: Float[Array | np.ndarray, " points"], *, spacing: float = 1.0
) -> Estimate:
    """Estimate the Hölder exponent of an evenly sampled one-dimensional series.

    Second-difference variograms at lags 1 to 8, and a feasible generalised-least-squares
    fit of ln V_ℓ on 2 ln ℓ with the covariance of fractional Brownian motion at the
    current estimate (four passes), after adding ½ Var(ln V_ℓ) for the bias of the
    logarithm. The standard error is the model's, so the interval is calibrated for
    Gaussian series with stationary increments (fractional Brownian motion); it is too
    narrow for series whose local slope oscillates with scale, such as Weierstrass
    functions, which need a fit over many octaves.

    Args:
        values: Samples, at least 32.
        spacing: Distance between samples; it enters the reported scales only.

    Returns:
        Exponent between 0 and 2, with its 95 % interval. `details`: `scales`,
        `variogram`, `fit_p_value` (χ² of the residuals; a small value says that the
        series is no power law over these lags). A nonfinite series gives status
        DIVERGED, a series without increments AT_NOISE_FLOOR.

    Raises:
        ValueError: If the series is not one-dimensional or shorter than 32.

    References:
        Istas and Lang (1997); Gneiting, Ševčíková and Percival (2012).
    """
    values = jnp.asarray(values)
    if values.ndim != 1 or values.shape[0] < _MIN_POINTS:
        msg = (
            f"Argument `values` must be one series of at least {_MIN_POINTS} samples,"
            f" but has shape {values.shape}."
        )
        raise ValueError(msg)
    values = values.astype(jnp.result_type(values.dtype, jnp.float32))
    finite = jnp.isfinite(values).all()
    clean = jnp.where(jnp.isfinite(values), values, 0.0)
    variogram = mean_increments(clean, _LAGS, order=_ORDER, power=2.0)
    heard = (variogram > 0).all()
    log_variogram = jnp.log(jnp.maximum(variogram, jnp.finfo(values.dtype).tiny))

    table = log_variogram_covariance(values.shape[0], _LAGS, _ORDER, _GRID)
    covariances = jnp.asarray(table, values.dtype)
    log_lags = jnp.log(jnp.asarray(_LAGS, values.dtype))
    design = jnp.stack([jnp.ones_like(log_lags), 2 * log_lags], axis=-1)

    def fit(exponent: Array) -> tuple[Array, Array, Array]:
        position = jnp.clip((exponent - _GRID[0]) / (_GRID[1] - _GRID[0]), 0, len(_GRID) - 1.001)
        lower = position.astype(int)
        fraction = position - lower
        covariance = (1 - fraction) * covariances[lower] + fraction * covariances[lower + 1]
        target = log_variogram + 0.5 * jnp.diagonal(covariance)
        weighted = jnp.linalg.solve(covariance, design)
        inverse = jnp.linalg.inv(design.T @ weighted)
        solution = inverse @ (weighted.T @ target)
        residual = target - design @ solution
        squared = residual @ jnp.linalg.solve(covariance, residual)
        return solution[1], jnp.sqrt(inverse[1, 1]), squared

    exponent = (log_variogram[1] - log_variogram[0]) / (2 * jnp.log(2.0))
    for _ in range(_PASSES):
        exponent, stderr, squared = fit(exponent)
    half = squared / 2
    p_value = jnp.exp(-half) * (1 + half + half**2 / 2)

    status = jnp.where(
        finite, jnp.where(heard, int(Status.OK), int(Status.AT_NOISE_FLOOR)), int(Status.DIVERGED)
    )
    blank = jnp.where(status == Status.OK, 0.0, jnp.nan)
    quantile = float(stats.norm.ppf(0.975))
    return Estimate(
        value=exponent + blank,
        stderr=stderr + blank,
        low=exponent - quantile * stderr + blank,
        high=exponent + quantile * stderr + blank,
        status=status,
        details={
            "scales": spacing * jnp.asarray(_LAGS, values.dtype),
            "variogram": variogram,
            "fit_p_value": p_value + blank,
        },
    )
