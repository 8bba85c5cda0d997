"""Power laws from increments: variograms and their covariance under a Gaussian model.

The pieces of the generalised-least-squares Hölder estimators that know nothing of
objectives or parameters. An increment of order 2 is the second difference
f(x + 2ℓ) - 2 f(x + ℓ) + f(x), which kills linear trends and stays asymptotically
Gaussian for every Hölder exponent below 3/2; order 3 kills parabolas too.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = [
    "FILTERS",
    "LevelContrasts",
    "VariogramCovariance",
    "hurst_grid",
    "level_contrasts",
    "log_variogram_covariance",
    "mean_increments",
    "noise_gain",
    "variogram_covariance",
]

FILTERS: dict[int, tuple[int, ...]] = {1: (-1, 1), 2: (1, -2, 1), 3: (-1, 3, -3, 1)}
_STEP = 0.1


def noise_gain(order: int) -> float:
    """Mean squared increment of white noise of variance 1: 2, 6 or 20 for orders 1 to 3."""
    return float(sum(weight**2 for weight in FILTERS[order]))


def hurst_grid(order: int, step: float) -> tuple[float, ...]:
    """Exponents between 0 and `order`, half a step off the integers, where formulas degenerate."""
    return tuple(np.arange(step / 2, order, step))


def mean_increments(
    values: Float[Array, "... points"], lags: tuple[int, ...], *, order: int, power: float
) -> Float[Array, "... lags"]:
    """Average |increment|^power along the last axis, for every lag.

    Args:
        values: Evenly spaced samples.
        lags: Lags in units of the spacing.
        order: 1, 2 or 3 for first, second or third differences.
        power: 2 for the variogram, 1 for the madogram.

    Returns:
        One mean per lag.
    """
    num_points = values.shape[-1]
    reach = [(0, 0)] * (values.ndim - 1) + [(0, order * max(lags))]
    padded = jnp.pad(values, reach)

    def mean(lag: Array) -> Array:
        taps = [
            jax.lax.dynamic_slice_in_dim(padded, index * lag, num_points, axis=-1)
            for index in range(order + 1)
        ]
        # Differences of differences: each is exact in floating point where neighbours are close.
        while len(taps) > 1:
            taps = [after - before for before, after in itertools.pairwise(taps)]
        powers = taps[0] ** 2 if power == 2 else jnp.abs(taps[0]) ** power
        count = num_points - order * lag
        inside = jnp.arange(num_points) < count
        return jnp.sum(jnp.where(inside, powers, 0.0), axis=-1) / count

    return jnp.moveaxis(jax.lax.map(mean, jnp.asarray(lags)), 0, -1)


class VariogramCovariance(NamedTuple):
    """Covariance of variograms V_ℓ at different lags, for C · fBm + white noise of variance σ².

    The mean of V_ℓ is C·signal_ℓ + σ²·noise and the covariance of V_ℓ and V_m is
    C²·signal_signal + C σ²·signal_noise + σ⁴·noise_noise, with C the mean squared first
    increment of the signal at lag 1 (times a sign and a constant for exponents above 1).

    Attributes:
        signal: Array (exponents, lags).
        signal_signal: Array (exponents, lags, lags).
        signal_noise: Array (exponents, lags, lags).
        noise_noise: Array (lags, lags).
    """

    signal: np.ndarray
    signal_signal: np.ndarray
    signal_noise: np.ndarray
    noise_noise: np.ndarray


@functools.lru_cache(maxsize=32)
def variogram_covariance(
    num_points: int, lags: tuple[int, ...], order: int, hurst: tuple[float, ...]
) -> VariogramCovariance:
    """Tabulate the mean and covariance of variograms of fractional Brownian motion plus noise.

    With filter a dilated by ℓ and γ_ℓm(τ) the covariance of two increments at offset τ,
    -½ Σ_pq a_p a_q |τ + ℓp - mq|^{2H} for the signal and Σ_pq a_p a_q [τ + ℓp = mq] for
    noise, Gaussian increments have

        Cov(V_ℓ, V_m) = 2 Σ_τ w(τ) γ_ℓm(τ)² / (n_ℓ n_m),

    where n_ℓ counts the increments at lag ℓ and w(τ) the index pairs at offset τ.

    Args:
        num_points: Points per line.
        lags: Lags in units of the spacing.
        order: Order of the increments.
        hurst: Exponents to tabulate, in (0, order), no integers.

    References:
        Istas and Lang (1997), Quadratic variations and estimation of the local Hölder
        index of a Gaussian process.
    """
    weights = np.asarray(FILTERS[order], float)
    exponents = 2.0 * np.asarray(hurst)[:, None]
    powers = np.arange(num_points + 2 * order * max(lags) + 1, dtype=float)[None] ** exponents

    def pairs(lag: int, other: int) -> dict[int, float]:
        """Coefficient of every shift lag·p - other·q."""
        table: dict[int, float] = {}
        for p, left in enumerate(weights):
            for q, right in enumerate(weights):
                shift = lag * p - other * q
                table[shift] = table.get(shift, 0.0) + left * right
        return table

    def signal_at(lag: int, other: int, tau: np.ndarray) -> np.ndarray:
        total = np.zeros((len(hurst), len(tau)))
        for shift, coefficient in pairs(lag, other).items():
            total += coefficient * powers[:, np.abs(tau + shift)]
        return -0.5 * total

    at_zero = np.stack([signal_at(lag, lag, np.zeros(1, int))[:, 0] for lag in lags], axis=1)
    sign = np.sign(at_zero[:, :1])
    size = len(lags)
    both, mixed = np.empty((2, len(hurst), size, size))
    noise = np.empty((size, size))
    for i in range(size):
        for j in range(i, size):
            n_i, n_j = num_points - order * lags[i], num_points - order * lags[j]
            tau = np.arange(-(n_j - 1), n_i)
            count = np.minimum(n_i - 1, n_j - 1 + tau) - np.maximum(0, tau) + 1
            scale = 2.0 * count / (n_i * n_j)
            signal = sign * signal_at(lags[i], lags[j], tau)
            white = np.zeros(len(tau))
            for shift, coefficient in pairs(lags[i], lags[j]).items():
                white[tau == -shift] += coefficient
            both[:, i, j] = both[:, j, i] = (signal**2) @ scale
            mixed[:, i, j] = mixed[:, j, i] = 2 * signal @ (white * scale)
            noise[i, j] = noise[j, i] = white**2 @ scale
    return VariogramCovariance(sign * at_zero, both, mixed, noise)


@functools.lru_cache(maxsize=32)
def log_variogram_covariance(
    num_points: int, lags: tuple[int, ...], order: int, hurst: tuple[float, ...]
) -> np.ndarray:
    """Covariance of log variograms at different lags, for fractional Brownian motion.

    It depends on H alone, so it is tabulated and used as the weight of a fit, also for
    functions that are not Gaussian: weights cost efficiency when wrong, not bias.

    Returns:
        Array of shape (len(hurst), len(lags), len(lags)); arguments as for
        `variogram_covariance`.
    """
    table = variogram_covariance(num_points, lags, order, hurst)
    return table.signal_signal / (table.signal[:, :, None] * table.signal[:, None, :])


class LevelContrasts(NamedTuple):
    """How the log variograms of one level become its mean and its slope.

    Attributes:
        centre: Mean ln lag, chosen such that mean and slope have independent errors.
        weights: Rows that take ln V to the mean and to the slope on ln lag, (2, lags).
        precision: Inverse error variances of both for one line, (2,).
    """

    centre: Float[Array, ""]
    weights: Float[Array, "two lags"]
    precision: Float[Array, " two"]


@functools.lru_cache(maxsize=16)
def _contrast_table(num_points: int, lags: tuple[int, ...], order: int) -> tuple[np.ndarray, ...]:
    """Generalised-least-squares mean and slope of ln V on ln lag, on a grid of exponents."""
    table = log_variogram_covariance(num_points, lags, order, hurst_grid(order, _STEP))
    inverse, log_lags = np.linalg.inv(table), np.log(lags)
    mean_precision = inverse.sum(axis=(1, 2))
    centre = (inverse @ log_lags).sum(axis=1) / mean_precision
    offset = log_lags - centre[:, None]
    slope = np.einsum("hlm,hm->hl", inverse, offset)
    slope_precision = (slope * offset).sum(axis=1)
    mean = inverse.sum(axis=1) / mean_precision[:, None]
    weights = np.stack([mean, slope / slope_precision[:, None]], axis=1)
    return centre, weights, np.stack([mean_precision, slope_precision], axis=1)


def level_contrasts(
    num_points: int,
    lags: tuple[int, ...],
    order: int,
    hurst: Float[Array, ""],
    *,
    stationary: bool = True,
) -> LevelContrasts:
    """Weights that condense the log variograms of one level into a mean and a slope.

    Args:
        num_points: Points per line.
        lags: Lags in units of the spacing.
        order: Order of the increments.
        hurst: Exponent for whose covariance they are best.
        stationary: Whether lags can be compared with each other; otherwise the mean is the
            plain one and the slope is left out (precision 0).
    """
    if not stationary:
        size = len(lags)
        weights = np.stack([np.full(size, 1 / size), np.zeros(size)])
        parts = (np.mean(np.log(lags)), weights, np.array([1.0, 0.0]))
        return LevelContrasts(*(jnp.asarray(part, hurst.dtype) for part in parts))
    tables = _contrast_table(num_points, lags, order)
    position = jnp.clip(hurst / _STEP - 0.5, 0, len(tables[0]) - 1.001)
    lower = position.astype(int)
    fraction = position - lower
    both = [(t[lower], t[lower + 1]) for t in (jnp.asarray(t, hurst.dtype) for t in tables)]
    return LevelContrasts(*((1 - fraction) * below + fraction * above for below, above in both))
