"""Scaling of typical displacements, which exist where the mean square does not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import stdtrit

from fracjax._types import Estimate
from fracjax.estimators.block_errors import block_variance, degrees_of_freedom
from fracjax.estimators.diffusion.displacements import checked_path
from fracjax.estimators.diffusion.exponents import window_lags
from fracjax.estimators.estimates import status_of, symmetric_estimate

__all__ = ["typical_displacement_exponent"]

_BLOCKS = 44
_MIN_POINTS = 450


def typical_displacement_exponent(
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    *,
    moment: float = 0.25,
    window: tuple[int, int] | None = None,
) -> Estimate:
    """Estimate how typical displacements grow: twice the slope of ln (mean |Δ_τ|^q)^{1/q} on ln τ.

    On the scale of `diffusion_exponent`: 1 for a random walk, 2H for fractional Brownian motion, 2
    for a straight line, and 2/α for a Lévy flight of stability α, where moments q < α exist and
    the mean square does not (for an accurate error q < α/2). Where it exceeds the exponent of
    the mean square, steps have heavy tails.

    All lags of the window count alike. The error comes from means over 44 blocks of
    time (a block bootstrap in closed form), with a Student interval.

    Measured (400 paths of 1001 points, one coordinate, default window): fractional Brownian
    motion, standard deviation .04, .06 and .09 at H = .2, .5 and .8, bias below .005, coverage 94
    to 97 %; Lévy flights, .18, .11, .09 and .07 at stability .8, 1.2, 1.5 and 1.8, bias at most
    .01, 95 to 97 %.

    Args:
        path: (n, m) or (n,), at least 450 points; Euclidean distances.
        moment: q, positive.
        window: Smallest and largest lag; 1 and n/60 by default, at most n/44.

    Returns:
        The exponent with a 95 % interval. `details`: `lags`, `sizes` ((mean |Δ|^q)^{1/q}).
        Status DIVERGED for a path that is not finite, AT_NOISE_FLOOR for one that stays.

    Raises:
        ValueError: If the path is too short or a setting out of range.
    """
    path = checked_path(path, _MIN_POINTS)
    if not moment > 0:
        msg = f"Argument `moment` must be positive, but is {moment}."
        raise ValueError(msg)
    lags = window_lags(len(path), window, share=60, bound=len(path) // _BLOCKS)
    return _typical_displacement_exponent(path, lags, moment)


# Compiled as a whole: op by op the first call takes several times as long to compile.
@functools.partial(jax.jit, static_argnums=(1, 2))
def _typical_displacement_exponent(
    path: Float[Array, "n m"], lags: tuple[int, ...], moment: float
) -> Estimate:
    num_points = len(path)
    finite = jnp.isfinite(path).all()
    clean = jnp.where(jnp.isfinite(path), path, 0)
    width = (num_points - lags[-1]) // _BLOCKS
    starts = clean[: _BLOCKS * width]

    def at(lag: Array) -> Array:
        later = jax.lax.dynamic_slice_in_dim(clean, lag, len(starts), axis=0)
        length = jnp.sqrt(jnp.sum((later - starts) ** 2, axis=1))
        return (length**moment).reshape(_BLOCKS, width).mean(axis=1)

    blocks = jax.lax.map(at, jnp.asarray(lags)).T
    means = blocks.mean(axis=0)
    tiny = jnp.finfo(path.dtype).tiny
    moves = (means > tiny).all()
    safe = jnp.maximum(means, tiny)
    centred = np.log(lags) - np.log(lags).mean()
    weights = jnp.asarray(2 * centred / (centred @ centred) / moment, path.dtype)
    exponent = weights @ jnp.log(safe)
    influence = (blocks / safe) @ weights
    stderr = jnp.sqrt(block_variance(influence))
    quantile = float(stdtrit(degrees_of_freedom(_BLOCKS), 0.975))
    status, blank = status_of(finite, moves, True, path.dtype)
    details = {"lags": jnp.asarray(lags), "sizes": safe ** (1 / moment) + blank}
    return symmetric_estimate(exponent, stderr, quantile, status, details, blank=blank)
