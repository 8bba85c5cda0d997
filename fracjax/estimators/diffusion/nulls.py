"""What simpler processes with the same steps would show: drift plus noise, and relaxation.

A superdiffusive exponent is what any descent has, and a subdiffusive one what any bowl has.
Surrogates of one path keep what such an explanation keeps and lose everything else.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, Status
from fracjax.estimators.diffusion.displacements import checked_path
from fracjax.estimators.diffusion.exponents import Weights, diffusion_exponent
from fracjax.estimators.settings import check_at_least

__all__ = ["Surrogate", "drift_noise_surrogate", "null_exponents", "relaxation_surrogate"]

Surrogate: TypeAlias = Callable[[Key, Array], Array]
_MIN_POINTS = 20


def drift_noise_surrogate(key: Key, path: Float[Array | np.ndarray, "n m"]) -> Float[Array, "n m"]:
    """Put the steps of a path into random order: drift plus independent noise.

    Start, end, and the distribution of the steps with all correlations between coordinates stay
    as they are; every correlation in time is gone. The surrogate's mean squared displacement is
    |v|² τ² + σ² τ, with exponents between 1 and 2, and less at long lags as the end is fixed.
    Give it to `null_exponents`, or to `null_two_exponents` of `fracjax.learning`. It is no null for
    a path that falls and then rests: it mixes the steps of both.

    Args:
        key: Randomness.
        path: (n, m), evenly spaced in time, at least 20 points.

    Returns:
        A path of the same shape and unit; NaN if the path is not finite.

    Raises:
        ValueError: If the path is no matrix or too short.
    """
    path = checked_path(path, _MIN_POINTS)
    steps = jax.random.permutation(key, jnp.diff(path, axis=0))
    return jnp.concatenate([path[:1], path[0] + jnp.cumsum(steps, axis=0)])


def relaxation_surrogate(key: Key, path: Float[Array | np.ndarray, "n m"]) -> Float[Array, "n m"]:
    """Simulate independent relaxation of every coordinate: Ornstein-Uhlenbeck, one rate each.

    x' = x + c + b x + e is fitted to every coordinate by least squares, b limited to [-2, 0], and
    run from the same start with the residuals of whole steps in random order. It is stochastic
    descent on a quadratic bowl along the given axes: ballistic at first where it starts far from
    the bottom, then diffusive, then at rest. Many rates together mimic power laws below 1.

    The rate of a coordinate that does not relax comes out negative: about -5/n for a random walk,
    so that the surrogate bends at lags of about n/5. Fits over lags up to n/10 with generalised
    weights see little of it: a mean exponent of .996 for random walks of 1000 points.
    It is no null for bowls whose axes are not the coordinates, and none for a bowl that moves.

    Args:
        key: Randomness.
        path: (n, m), evenly spaced in time, at least 20 points.

    Returns:
        A path of the same shape and unit; NaN if the path is not finite.

    Raises:
        ValueError: If the path is no matrix or too short.
    """
    path = checked_path(path, _MIN_POINTS)
    steps = jnp.diff(path, axis=0)
    centre = path[:-1].mean(axis=0)
    place = path[:-1] - centre
    tiny = jnp.finfo(path.dtype).tiny
    rate = jnp.sum(place * steps, axis=0) / jnp.maximum(jnp.sum(place**2, axis=0), tiny)
    rate = jnp.clip(rate, -2, 0)
    drift = steps.mean(axis=0)
    noise = jax.random.permutation(key, steps - drift - rate * place)

    def move(here: Array, kick: Array) -> tuple[Array, Array]:
        here = here + drift + rate * (here - centre) + kick
        return here, here

    return jnp.concatenate([path[:1], jax.lax.scan(move, path[0], noise)[1]])


def null_exponents(
    key: Key,
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    surrogate: Surrogate = drift_noise_surrogate,
    *,
    num_surrogates: int = 39,
    window: tuple[int, int] | None = None,
    weights: Weights = "generalised",
) -> Estimate:
    """Estimate what diffusion exponent a simpler process with the same steps would show.

    Args:
        key: Randomness of the surrogates.
        path: (n, m) or (n,).
        surrogate: `drift_noise_surrogate`, `relaxation_surrogate`, or any function of a key and a
            path.
        num_surrogates: How many, at least 9.
        window: See `diffusion_exponent`.
        weights: See `diffusion_exponent`.

    Returns:
        Mean exponent of the surrogates; the standard error is their standard deviation, that is,
        the error with which one path would show it, and the interval holds the middle 95 % (with
        39 surrogates, all of them). `details`: `exponents`, `percentile` (share of surrogates
        below the path's own exponent, in steps of 1/(surrogates + 1)), `difference` (path minus
        mean) and `z` (over the standard deviation). The path differs from the null at the level
        of 5 % where its exponent lies outside the interval. Status: that of the path where it has
        no exponent, DIVERGED where a surrogate has none, else OK, also for curves that bend.

    Raises:
        ValueError: If there are too few surrogates.
    """
    check_at_least(num_surrogates=(num_surrogates, 9))
    path = checked_path(path, _MIN_POINTS)
    clean = jnp.where(jnp.isfinite(path), path, 0)
    own = diffusion_exponent(path, window=window, weights=weights)

    def one(number: Array) -> Array:
        drawn = surrogate(jax.random.fold_in(key, number), clean)
        return jnp.asarray(diffusion_exponent(drawn, window=window, weights=weights).value)

    found = jax.lax.map(one, jnp.arange(num_surrogates))
    mean, spread = found.mean(), found.std(ddof=1)
    low, high = jnp.quantile(found, jnp.asarray([0.025, 0.975], found.dtype))
    status = jnp.where(jnp.isfinite(mean), int(Status.OK), int(Status.DIVERGED))
    status = jnp.where(jnp.isfinite(own.value), status, own.status)
    blank = jnp.where(status == Status.OK, 0, jnp.nan).astype(found.dtype)
    difference = own.value - mean
    below = jnp.sum(found < own.value) / (num_surrogates + 1)
    return Estimate(
        value=mean + blank,
        stderr=spread + blank,
        low=low + blank,
        high=high + blank,
        status=status,
        details={
            "exponents": found,
            "percentile": below.astype(found.dtype) + blank,
            "difference": difference,
            "z": difference / spread,
        },
    )
