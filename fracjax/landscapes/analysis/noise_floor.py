"""What white noise does to the roughness of a surface, and what is left without it."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax.estimators.roughness.scaling import level_contrasts, noise_gain

__all__ = ["NoiseShift", "noise_shift"]

_PASSES = 3
_SMALLEST = 1e-3  # share of a variogram that may be left when noise is taken off


class NoiseShift(NamedTuple):
    """Noise in the variograms of a surface.

    Attributes:
        shift: What the noise took from the exponent of every direction.
        share: Largest share of the noise in a variogram, at the smallest lag.
        spread: Factor by which the error of ln V grows when the noise is taken off.
    """

    shift: Float[Array, " directions"]
    share: Float[Array, ""]
    spread: Float[Array, ""]


def noise_shift(
    variogram: Float[Array, "directions lags"],
    noise_variance: Float[Array, ""],
    *,
    lags: tuple[int, ...],
    num_points: int,
) -> NoiseShift:
    """Difference that white noise makes to the slopes of variograms of second differences.

    White noise of variance σ² adds 6 σ² at every lag. The exponent is the slope of ln V on
    2 ln lag by generalised least squares, with and without that constant; weights follow the
    exponent, as in the estimator that the difference is added to.

    Args:
        variogram: Mean squared second differences, noise included.
        noise_variance: σ² of one value.
        lags: Lags in samples.
        num_points: Samples along a transect.
    """
    noise = noise_gain(2) * noise_variance
    share = noise / jnp.maximum(variogram, jnp.finfo(variogram.dtype).tiny)
    left = jnp.maximum(1 - share, _SMALLEST)
    raw = jnp.log(jnp.maximum(variogram, jnp.finfo(variogram.dtype).tiny))
    log_lags = np.log(lags)
    centred = jnp.asarray(log_lags - log_lags.mean(), variogram.dtype)

    def slope(curve: Float[Array, "d l"]) -> Float[Array, " d"]:
        exponent = curve.mean(axis=0) @ centred / (2 * centred @ centred)
        for _ in range(_PASSES):
            guess = jnp.clip(exponent, 0.05, 1.95)
            weights = level_contrasts(num_points, lags, 2, guess).weights[1] / 2
            exponent = (curve @ weights).mean()
        return curve @ weights

    shift = slope(raw + jnp.log(left)) - slope(raw)
    return NoiseShift(shift, share[:, 0].max(), 1 / left[:, 0].mean())
