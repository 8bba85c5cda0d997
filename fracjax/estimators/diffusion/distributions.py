"""Distribution of displacements over a lag: its density and how far it is from Gaussian."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import stdtrit

from fracjax._types import Estimate
from fracjax.estimators.block_errors import block_variance, degrees_of_freedom
from fracjax.estimators.diffusion.displacements import checked_path
from fracjax.estimators.estimates import status_of, symmetric_estimate

__all__ = ["displacement_density", "non_gaussian_parameter"]

_CELLS = 44
_MIN_POINTS = 100


def _standardised(
    path: Float[Array, "n m"], lag: int
) -> tuple[Float[Array, "k m"], Float[Array, " m"]]:
    """Displacements over a lag in units of every coordinate's own root mean square."""
    change = path[lag:] - path[:-lag]
    size = jnp.sqrt(jnp.mean(change**2, axis=0))
    return change / jnp.where(size > 0, size, 1), size


def displacement_density(
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    edges: Float[Array | np.ndarray, " edges"],
    *,
    lag: int = 1,
) -> Float[Array, " bins"]:
    """Estimate the density of single coordinates' displacements over a lag.

    The self part of the van Hove function along one coordinate, averaged over coordinates, each
    in units of its own root mean square displacement over this lag: 1 for a Gaussian is
    exp(-z²/2)/√(2π), whatever the sizes of the coordinates. Without these units Gaussian
    coordinates of different size make heavy tails together.

    Args:
        path: (n, m) or (n,).
        edges: Growing edges of the bins, in root mean square displacements.
        lag: In steps, at most n/2.

    Returns:
        Densities; what lies outside all bins counts to the whole. Coordinates that stay are left
        out.

    Raises:
        ValueError: If `lag` or the path is out of range.
    """
    path = checked_path(path, 3)
    _check_lag(lag, len(path) // 2)
    scaled, size = _standardised(path, lag)
    edges = jnp.asarray(edges, path.dtype)
    weight = jnp.broadcast_to(size > 0, scaled.shape).astype(path.dtype)
    place = jnp.searchsorted(edges, scaled.ravel(), side="right") - 1
    inside = (scaled.ravel() >= edges[0]) & (scaled.ravel() < edges[-1])
    counts = jnp.zeros(len(edges) - 1, path.dtype)
    counts = counts.at[jnp.clip(place, 0, len(edges) - 2)].add(jnp.where(inside, weight.ravel(), 0))
    blank = jnp.where(jnp.isfinite(path).all(), 0, jnp.nan).astype(path.dtype)
    return counts / jnp.maximum(weight.sum(), 1) / jnp.diff(edges) + blank


def non_gaussian_parameter(
    path: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"], *, lag: int = 1
) -> Estimate:
    """Estimate the non-Gaussian parameter <Δ⁴> / (3 <Δ²>²) - 1 of displacements over a lag.

    0 for Gaussian displacements, positive for heavy tails or steps whose size changes along the
    path, infinite (growing with the sample) where fourth moments do not exist. Each coordinate
    is taken in its own units and the values are averaged.

    The interval comes from the spread over stretches of time (a block bootstrap in closed form).
    Measured (400 Gaussian random walks of 1001 points, 1 and 10 coordinates): bias at most .003;
    coverage 96 to 98 % at lags 1 and 5, 93 to 95 % at lag 20.
    The bias of the quotient, -4 lag/(3 n) for a random walk, is taken out.

    Args:
        path: (n, m) or (n,), at least 100 points.
        lag: In steps, at most n/44 for blocks that are as long as the memory.

    Returns:
        The parameter with a 95 % interval. `details`: `samples`. Status DIVERGED for a path that
        is not finite, AT_NOISE_FLOOR where all coordinates stay.

    Raises:
        ValueError: If the path is too short or the lag too long.
    """
    path = checked_path(path, _MIN_POINTS)
    _check_lag(lag, max(len(path) // _CELLS, 1))
    finite = jnp.isfinite(path).all()
    scaled, size = _standardised(jnp.where(jnp.isfinite(path), path, 0), lag)
    moving = (size > 0).astype(path.dtype)
    count = jnp.maximum(moving.sum(), 1)
    squares = scaled**2
    ratio = jnp.mean(squares**2, axis=0) / 3
    # First-order change of the ratio by every displacement.
    influence = squares**2 / 3 - ratio - 2 * ratio * (squares - 1)
    influence = (influence @ moving) / count
    length = len(influence) // _CELLS

    def cells(sequence: Array) -> Array:
        kept = sequence[: _CELLS * length]
        return kept.reshape(_CELLS, length, *sequence.shape[1:]).mean(axis=1)

    # The square of a mean square exceeds the squared mean by its variance.
    excess = block_variance(cells(squares))
    value = ((ratio * (1 + excess)) @ moving) / count - 1
    stderr = jnp.sqrt(block_variance(cells(influence)))
    quantile = float(stdtrit(degrees_of_freedom(_CELLS), 0.975))
    moves = moving.any()
    status, blank = status_of(finite, moves, True, path.dtype)
    details = {"samples": jnp.asarray(len(scaled))}
    return symmetric_estimate(value, stderr, quantile, status, details, blank=blank)


def _check_lag(lag: int, largest: int) -> None:
    if not 1 <= lag <= largest:
        msg = f"Argument `lag` must lie in [1, {largest}], but is {lag}."
        raise ValueError(msg)
