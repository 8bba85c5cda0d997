"""The stability index of a stable law from its empirical characteristic function."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate
from fracjax.estimators.estimates import status_of, symmetric_estimate
from fracjax.estimators.heavy_tails.draws import checked_draws

__all__ = ["characteristic_stability"]

_MIN_SAMPLES = 100
_POINTS = np.geomspace(0.1, 1.0, 8)
_QUANTILE = 1.96


def characteristic_stability(samples: Float[Array | np.ndarray, " n"]) -> Estimate:
    """Estimate the stability index α of a stable law from its characteristic function.

    |φ(u)|² = exp(-2 |c u|^α) for every stable law, skewed and shifted ones included: α is the
    slope of ln(-ln|φ|²) on ln u, by least squares over 8 values of u from .1 to 1 over the
    median absolute deviation from the median. The error follows from the spread of cos(u x)
    and sin(u x) (linear in the means), so that it holds whatever the law of independent draws.

    For laws that are not stable the slope is that of their characteristic function near the
    scale of the bulk, and tells little of tails: Student's t with 3 degrees of freedom reads
    1.69. Heavy tails with a finite variance are for `hill_tail_index`.

    Measured (400 samples each): 10 000 draws, standard deviation .013 at α = .8, .017 at 1.2 to
    1.8 and .004 at 2, bias below .001, coverage 93 to 96 %; 1000 draws, .04 to .06 and .011 at 2,
    bias at most .003, 89 to 95 %.

    Args:
        samples: (n,), at least 100 independent draws of one scale; not coordinates of different
            scale strung together.

    Returns:
        α with a 95 % interval; up to about 2 plus error, not cut off. `details`: `points` (u in
        units of the draws), `log_modulus` (-ln|φ|² at them), `scale` (c of exp(-|c u|^α)).
        Status DIVERGED for draws that are not finite, AT_NOISE_FLOOR where more than half of
        them are equal.

    Raises:
        ValueError: If there are too few draws.

    References:
        Koutrouvelis (1980), https://doi.org/10.1080/01621459.1980.10477573.
    """
    return _fit(checked_draws(samples, _MIN_SAMPLES))


# Compiled as a whole: op by op the first call takes several times as long to compile.
@jax.jit
def _fit(samples: Float[Array, " n"]) -> Estimate:
    dtype = samples.dtype
    finite = jnp.isfinite(samples).all()
    clean = jnp.where(jnp.isfinite(samples), samples, 0)
    centred = clean - jnp.median(clean)
    deviation = jnp.median(jnp.abs(centred))
    moves = deviation > 0
    scaled = centred / jnp.where(moves, deviation, 1)
    points = jnp.asarray(_POINTS, dtype)
    angles = scaled[:, None] * points
    cosines, sines = jnp.cos(angles), jnp.sin(angles)
    real, imaginary = cosines.mean(axis=0), sines.mean(axis=0)
    count = len(samples)
    # |mean|² holds the variance of the mean, a share (1 - |φ|²)/n.
    modulus = ((real**2 + imaginary**2) * count - 1) / (count - 1)
    modulus = jnp.clip(modulus, jnp.finfo(dtype).tiny, 1 - jnp.finfo(dtype).eps)
    decay = -jnp.log(modulus)
    log_points = np.log(_POINTS)
    offset = log_points - log_points.mean()
    weights = jnp.asarray(offset / (offset @ offset), dtype)
    exponent = weights @ jnp.log(decay)
    level = jnp.mean(jnp.log(decay)) - exponent * float(log_points.mean())
    change = 2 * (real * (cosines - real) + imaginary * (sines - imaginary)) / modulus
    influence = (-change / decay) @ weights
    stderr = influence.std(ddof=1) / count**0.5
    status, blank = status_of(finite, moves, True, dtype)
    details = {
        "points": points / deviation,
        "log_modulus": decay + blank,
        "scale": deviation * jnp.exp((level - float(np.log(2))) / exponent) + blank,
    }
    return symmetric_estimate(exponent, stderr, _QUANTILE, status, details, blank=blank)
