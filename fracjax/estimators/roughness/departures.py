"""Departures of a log-log curve from a power law: lack of fit, nugget, outer scale."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax.estimators.roughness.averaging import LevelNumbers, WindowAverage
from fracjax.estimators.roughness.windows import Candidates, chi_square_tail

__all__ = [
    "excess_over_law",
    "goodness_of_fit",
    "is_straight",
    "outer_scale",
    "smallest_share",
]

_SLOPE_TOLERANCE = 0.1
_SAMPLING_TOLERANCE = 0.2
_LARGEST_EXCESS = 30.0


def goodness_of_fit(
    fit: WindowAverage, options: Candidates, count: Float[Array, ""]
) -> dict[str, Array]:
    """Tail probabilities of χ²: of the best candidate, and of one power law over everything.

    Args:
        fit: The fitted candidates.
        options: What they are.
        count: Lines behind the variances, which χ² is corrected for.
    """
    dtype = fit.squared.dtype
    plain = jnp.argmax(fit.allowed & (options.terms == 0))
    first = (np.arange(len(options.terms)) == plain).astype(dtype)
    freedom = jnp.asarray(options.freedom, dtype)
    shrink = jnp.maximum(count - 3, 1) / jnp.maximum(count - 1, 1)
    tail = chi_square_tail(fit.squared * shrink, freedom)
    signs = jnp.asarray(options.terms == np.array([[-1], [1]]), dtype)
    best, everything = jnp.stack([fit.best, first]) @ tail
    return {
        "fit_p_value": best,
        "power_law_p_value": everything,
        "correction_weights": signs @ fit.weights[:, 0],
    }


def is_straight(
    fit: WindowAverage, curve: LevelNumbers, local_stderr: Float[Array, " m"]
) -> Bool[Array, ""]:
    """Whether no slope between neighbouring levels leaves the best candidate's fit by far.

    The tolerance is 0.1 plus three standard errors of the slope, at most 0.2.
    """
    deviation = jnp.abs(jnp.diff(fit.residual[0, :, 0]) / jnp.diff(curve.position) / 2)
    tolerance = _SLOPE_TOLERANCE + jnp.minimum(3 * local_stderr, _SAMPLING_TOLERANCE)
    return ~(fit.window[1:] & fit.window[:-1] & (deviation > tolerance)).any()


def excess_over_law(
    fit: WindowAverage,
    curve: LevelNumbers,
    log_variogram: Float[Array, "r k l"],
    log_lags: Float[Array, " l"],
) -> Float[Array, "r k l"]:
    """Observed ln V less the best candidate's power law, in every row.

    Args:
        fit: The fitted candidates.
        curve: What they were fitted to.
        log_variogram: ln V as observed, noise included.
        log_lags: ln lag, less the centre that belongs to `curve.position`.
    """
    place = curve.position[:, None] + log_lags
    return log_variogram - fit.law[:, :1, None] - fit.law[:, 1:, None] * place


def smallest_share(excess: Float[Array, "r k l"], curve: LevelNumbers) -> Float[Array, " r"]:
    """Share of the smallest increments beyond the power law, in every row."""
    # Lags of a line through one point do not follow the exponent: only their mean does.
    single = curve.precision[1] > 0
    smallest = jnp.where(single, excess[:, -1, 0], excess[:, -1].mean(axis=1))
    return 1 - jnp.exp(-jnp.maximum(smallest, -_LARGEST_EXCESS))


def outer_scale(excess: Float[Array, "k l"], log_scales: Float[Array, "k l"]) -> Float[Array, ""]:
    """Smallest scale at which V falls to half of the power law, infinite if none is seen."""
    height = excess.mean(axis=1) + np.log(2.0)
    crossing = (height[:-1] < 0) & (height[1:] >= 0)
    above = len(crossing) - 1 - jnp.argmax(crossing[::-1])
    fraction = height[above + 1] / (height[above + 1] - height[above])
    level = log_scales.mean(axis=1)
    outer = level[above + 1] + fraction * (level[above] - level[above + 1])
    return jnp.where(crossing.any(), jnp.exp(outer), jnp.inf)
