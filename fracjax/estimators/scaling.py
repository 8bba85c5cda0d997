"""Power laws from increments: variograms, their covariance, and log-log slopes.

The pieces of the generalised-least-squares Hölder estimator that know nothing of
objectives or parameters. An increment of order 2 is the second difference
f(x + 2ℓ) - 2 f(x + ℓ) + f(x), which kills linear trends and stays asymptotically
Gaussian for every Hölder exponent below 2.
"""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["FILTERS", "log_variogram_covariance", "mean_increments", "window_table"]

FILTERS: dict[int, tuple[int, ...]] = {1: (-1, 1), 2: (1, -2, 1)}


def mean_increments(
    values: Float[Array, "... points"], lags: tuple[int, ...], *, order: int, power: float
) -> Float[Array, "... lags"]:
    """Average |increment|^power along the last axis, for every lag.

    Args:
        values: Evenly spaced samples.
        lags: Lags in units of the spacing.
        order: 1 for first differences, 2 for second differences.
        power: 2 for the variogram, 1 for the madogram.

    Returns:
        One mean per lag.
    """
    num_points = values.shape[-1]
    means = []
    for lag in lags:
        stop = num_points - order * lag
        increments = sum(
            weight * values[..., index * lag : index * lag + stop]
            for index, weight in enumerate(FILTERS[order])
        )
        means.append(jnp.mean(jnp.abs(increments) ** power, axis=-1))
    return jnp.stack(means, axis=-1)


@functools.lru_cache(maxsize=32)
def log_variogram_covariance(
    num_points: int, lags: tuple[int, ...], order: int, hurst: tuple[float, ...]
) -> np.ndarray:
    """Covariance of log variograms at different lags, for fractional Brownian motion.

    With filter a dilated by ℓ and γ_ℓm(τ) = -½ Σ_pq a_p a_q |τ + ℓp - mq|^{2H},

        Cov(ln V_ℓ, ln V_m) ≈ 2 Σ_τ w(τ) γ_ℓm(τ)² / (n_ℓ n_m γ_ℓℓ(0) γ_mm(0)),

    where n_ℓ counts the increments at lag ℓ and w(τ) the index pairs at offset τ. It
    depends on H alone, so it is tabulated and used as the weight of the fit, also for
    functions that are not Gaussian: weights cost efficiency when wrong, not bias.

    Args:
        num_points: Points per line.
        lags: Lags in units of the spacing.
        order: Order of the increments.
        hurst: Exponents to tabulate, in (0, 1).

    Returns:
        Array of shape (len(hurst), len(lags), len(lags)).

    References:
        Istas and Lang (1997), Quadratic variations and estimation of the local Hölder
        index of a Gaussian process.
    """
    weights = np.asarray(FILTERS[order], float)
    taps = np.arange(order + 1)
    exponents = 2.0 * np.asarray(hurst)[:, None]

    def gamma(lag: int, other: int, tau: np.ndarray) -> np.ndarray:
        total = np.zeros((len(hurst), len(tau)))
        for p, q in itertools.product(taps, taps):
            shift = np.abs(tau + lag * p - other * q)[None, :]
            total += weights[p] * weights[q] * shift**exponents
        return -0.5 * total

    at_zero = [gamma(lag, lag, np.zeros(1))[:, 0] for lag in lags]
    covariance = np.empty((len(hurst), len(lags), len(lags)))
    for i, j in itertools.product(range(len(lags)), range(len(lags))):
        n_i, n_j = num_points - order * lags[i], num_points - order * lags[j]
        tau = np.arange(-(n_j - 1), n_i)
        pairs = np.minimum(n_i - 1, n_j - 1 + tau) - np.maximum(0, tau) + 1
        squares = gamma(lags[i], lags[j], tau.astype(float)) ** 2
        total = 2.0 * (pairs * squares).sum(axis=1)
        covariance[:, i, j] = total / (n_i * n_j * at_zero[i] * at_zero[j])
    return covariance


@functools.lru_cache(maxsize=32)
def window_table(num_levels: int, min_levels: int) -> np.ndarray:
    """List every run of at least `min_levels` neighbouring levels, as boolean rows.

    Ordered by preference: longer first, and among equals the one at smaller scales
    (levels are ordered from large to small scales), because an exponent is a limit.
    """
    rows = [
        [start <= level < start + length for level in range(num_levels)]
        for length in range(num_levels, min_levels - 1, -1)
        for start in range(num_levels - length, -1, -1)
    ]
    return np.asarray(rows, bool)
