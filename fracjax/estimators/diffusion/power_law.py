"""Fits of D(τ) = A τ^α that know how mean squared displacements at different lags go together."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["PowerLawFit", "displacement_covariance", "fit_power_law"]

_STEP = 0.025
_LARGEST = 0.975  # of H; at H = 1 all lags are one number
_PASSES = 12
_JITTER = 1e-9


class PowerLawFit(NamedTuple):
    """A power law, and a bent one beside it.

    Attributes:
        exponent: α.
        variance: Its error variance by the model.
        chi_square: Of the residuals, `lags` - 2 degrees of freedom.
        bend: Change of the local exponent from the smallest to the largest lag, by a parabola.
        bend_variance: Its error variance.
        log_size: ln A.
    """

    exponent: Array
    variance: Array
    chi_square: Array
    bend: Array
    bend_variance: Array
    log_size: Array


@functools.lru_cache(maxsize=32)
def displacement_covariance(
    num_points: int, lags: tuple[int, ...], hurst: tuple[float, ...]
) -> np.ndarray:
    """Covariance of ln D at different lags, for one coordinate of fractional Brownian motion.

    With γ(k) = ½(|k - a|^{2H} + |k + b|^{2H} - |k + b - a|^{2H} - |k|^{2H}) the covariance of
    increments over a and over b at offset k,

        Cov(D_a, D_b) = 2 Σ_k w(k) γ(k)² / (n_a n_b),

    n_a = n - a and w(k) the pairs of times at that offset. m independent coordinates of equal
    size divide it by m. At H = 0 this is white noise, whose displacements do not grow.

    Args:
        num_points: Points of the path.
        lags: In steps.
        hurst: Exponents H in [0, 1).

    Returns:
        (exponents, lags, lags).

    References:
        Qian, Sheetz and Elson (1991), https://doi.org/10.1016/S0006-3495(91)82125-7, for the
        random walk.
    """
    reach = np.arange(num_points + 2 * max(lags) + 1, dtype=float)
    # |0|^0 counts as zero: the limit of H -> 0 from above.
    powers = np.stack([np.where(reach > 0, reach ** (2 * h), 0.0) for h in hurst])
    size = len(lags)
    table = np.empty((len(hurst), size, size))
    for i, a in enumerate(lags):
        for j in range(i, size):
            b = lags[j]
            n_a, n_b = num_points - a, num_points - b
            offset = np.arange(-(n_a - 1), n_b)
            pairs = np.minimum(n_a - 1, n_b - 1 - offset) - np.maximum(0, -offset) + 1
            taps = [np.abs(offset + shift) for shift in (-a, b, b - a, 0)]
            near, far, both, none = (powers[:, tap] for tap in taps)
            joint = 0.5 * (near + far - both - none)
            covariance = 2 * (joint**2) @ (pairs / (n_a * n_b))
            table[:, i, j] = table[:, j, i] = covariance / (powers[:, a] * powers[:, b])
    return table


class _Contrasts(NamedTuple):
    """What turns ln D into numbers, on a grid of H; leading axis H."""

    slope: np.ndarray  # (h, lags)
    slope_variance: np.ndarray  # (h,)
    best: np.ndarray  # (h, lags, lags): residuals of the generalised least squares
    level: np.ndarray  # (h, lags): takes ln D to ln A
    bend: np.ndarray  # (h, lags)
    bend_variance: np.ndarray  # (h,)
    inverse: np.ndarray  # (h, lags, lags)
    bias: np.ndarray  # (h, lags): ½ Var ln D


@functools.lru_cache(maxsize=32)
def _contrasts(num_points: int, lags: tuple[int, ...], uniform: bool) -> _Contrasts:
    grid = tuple(np.arange(0, _LARGEST + 1e-9, _STEP))
    table = displacement_covariance(num_points, lags, grid)
    # Neighbouring long lags are nearly one number.
    diagonal = np.einsum("hll->hl", table)
    table = table + _JITTER * diagonal.mean(axis=1)[:, None, None] * np.eye(len(lags))
    inverse = np.linalg.inv(table)
    log_lags = np.log(lags)
    middle = (log_lags[0] + log_lags[-1]) / 2
    design = np.stack([np.ones(len(lags)), log_lags], axis=1)
    curved = np.concatenate([design, (log_lags - middle)[:, None] ** 2], axis=1)
    weights = np.broadcast_to(np.eye(len(lags)), inverse.shape) if uniform else inverse

    def rows(matrix: np.ndarray) -> np.ndarray:
        weighted = np.swapaxes(matrix, 0, 1) @ weights
        return np.linalg.solve(weighted @ matrix, weighted)

    straight = rows(design)
    weighted = design.T @ inverse
    fitted = design @ np.linalg.solve(weighted @ design, weighted)
    bend = np.zeros_like(straight[:, 1])
    if len(lags) > 2:
        # A parabola's slope changes by this much from the first lag to the last.
        bend = 2 * (log_lags[-1] - log_lags[0]) * rows(curved)[:, 2]

    def variance(row: np.ndarray) -> np.ndarray:
        return np.einsum("hl,hlk,hk->h", row, table, row)

    return _Contrasts(
        slope=straight[:, 1],
        slope_variance=variance(straight[:, 1]),
        best=np.eye(len(lags)) - fitted,
        level=straight[:, 0],
        bend=bend,
        bend_variance=variance(bend),
        inverse=inverse,
        bias=diagonal / 2,
    )


def fit_power_law(
    log_displacement: Float[Array, " lags"],
    share: Float[Array, ""],
    *,
    num_points: int,
    lags: tuple[int, ...],
    uniform: bool = False,
) -> PowerLawFit:
    """Fit ln D = ln A + α ln τ with the covariance of fractional Brownian motion of H = α/2.

    The covariance is taken at the current estimate and the fit repeated; ½ Var(ln D) is added
    to every value, as the logarithm of an average lies below the average's logarithm.

    Args:
        log_displacement: ln D at the lags.
        share: Inverse of the number of independent coordinates.
        num_points: Points of the path.
        lags: In steps, at least two.
        uniform: Weigh all lags alike instead of by the inverse covariance. The error is still
            that of correlated lags.
    """
    dtype = log_displacement.dtype
    table = _contrasts(num_points, lags, uniform)
    parts = {name: jnp.asarray(part, dtype) for name, part in table._asdict().items()}
    last = len(table.slope) - 1

    def at(exponent: Array) -> tuple[dict[str, Array], Array]:
        position = jnp.clip(exponent / (2 * _STEP), 0, last)
        lower = jnp.clip(position.astype(int), 0, last - 1)
        fraction = position - lower
        found = {
            name: (1 - fraction) * part[lower] + fraction * part[lower + 1]
            for name, part in parts.items()
        }
        # At H = 1 the bias is the same at all lags: no matter for the slope.
        fade = jnp.clip((1 - exponent / 2) / (1 - _LARGEST), 0, 1)
        return found, log_displacement + fade * share * found["bias"]

    def improve(_: int | Array, exponent: Array) -> Array:
        found, values = at(exponent)
        return jnp.asarray(found["slope"] @ values)

    start = parts["slope"][last // 2] @ log_displacement
    exponent = jax.lax.fori_loop(0, _PASSES, improve, start)
    found, values = at(exponent)
    # Of the best fit also where lags weigh alike: else it would measure the loss of efficiency.
    residual = found["best"] @ values
    return PowerLawFit(
        exponent=exponent,
        variance=share * found["slope_variance"],
        chi_square=residual @ found["inverse"] @ residual / share,
        bend=found["bend"] @ values,
        bend_variance=share * found["bend_variance"],
        log_size=found["level"] @ values,
    )
