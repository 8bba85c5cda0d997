"""Hölder exponent of a surface on a grid, from transects in four directions."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import stats

from fracjax._types import Estimate, Status
from fracjax.estimators.estimates import symmetric_estimate
from fracjax.estimators.roughness.scaling import log_variogram_covariance

__all__ = ["DIRECTIONS", "surface_exponent"]

# Transects: along rows, along columns, and along both diagonals.
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
_TILES = (6, 12)  # fewest and most along an axis
# Sum of the squared weights (1, 1, ½) of a tile, its four neighbours and its four diagonal ones.
_EFFECTIVE_TILES = 6.0
_TRANSECTS = 8  # in a block of neighbours
_GRID = tuple(np.linspace(0.02, 0.98, 49))
_PASSES = 4
_FAILED = 0.1
_ANISOTROPIC = 0.05


@functools.lru_cache(maxsize=16)
def _slope_tables(num_points: int, lags: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """For every exponent of the grid: weights of ln V_ℓ in H, and Var(ln V_ℓ) of one transect."""
    covariance = log_variogram_covariance(num_points, lags, 2, _GRID)
    design = np.stack([np.ones(len(lags)), 2 * np.log(lags)], axis=1)
    weighted = np.linalg.solve(covariance, np.broadcast_to(design, (len(_GRID), *design.shape)))
    moments = np.swapaxes(weighted, 1, 2)
    weights = np.linalg.solve(moments @ design, moments)[:, 1]
    return weights, np.diagonal(covariance, axis1=1, axis2=2)


def _interpolate(table: np.ndarray, exponent: Float[Array, "..."]) -> Float[Array, "... lags"]:
    rows = jnp.asarray(table, exponent.dtype)
    place = (exponent - float(_GRID[0])) / float(_GRID[1] - _GRID[0])
    place = jnp.clip(place, 0, len(_GRID) - 1.001)
    lower = place.astype(int)
    share = (place - lower)[..., None]
    return (1 - share) * rows[lower] + share * rows[lower + 1]


def _squares(
    values: Float[Array, "n m"], lags: tuple[int, ...]
) -> tuple[Float[Array, "directions lags n m"], Float[Array, "directions lags n m"]]:
    """Squared second differences centred on every sample, and where they exist."""
    shape = values.shape
    shifts = np.asarray(DIRECTIONS)[:, None] * np.asarray(lags)[None, :, None]
    row, column = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    finite = jnp.isfinite(values)
    clean = jnp.where(finite, values, 0)

    def at(shift: Array) -> tuple[Array, Array]:
        down, right = jnp.abs(shift)
        inside = (row >= down) & (row < shape[0] - down)
        inside &= (column >= right) & (column < shape[1] - right)
        before, after = jnp.roll(clean, shift, (0, 1)), jnp.roll(clean, -shift, (0, 1))
        valid = jnp.roll(finite, shift, (0, 1)) & finite & jnp.roll(finite, -shift, (0, 1))
        squares = ((before - clean) + (after - clean)) ** 2
        kept = (inside & valid).astype(values.dtype)
        return squares * kept, kept

    squares, kept = jax.lax.map(at, jnp.asarray(shifts.reshape(-1, 2)))
    full = (*shifts.shape[:2], *shape)
    return squares.reshape(full), kept.reshape(full)


def _fit(
    log_variogram: Float[Array, "... lags"], num_points: int, lags: tuple[int, ...]
) -> tuple[Float[Array, "..."], Float[Array, "... lags"]]:
    """Exponent of every log variogram, and the weights that made it."""
    weights, _ = _slope_tables(num_points, lags)
    first = log_variogram[..., 1] - log_variogram[..., 0]
    exponent = first / (2 * math.log(lags[1] / lags[0]))
    rows = _interpolate(weights, exponent)
    for _ in range(_PASSES):
        exponent = (rows * log_variogram).sum(axis=-1)
        rows = _interpolate(weights, exponent)
    return (rows * log_variogram).sum(axis=-1), rows


def _tile_covariance(
    deviations: Float[Array, "rows columns k"],
) -> Float[Array, "k k"]:
    """Covariance of a sum over tiles that depend on their neighbours.

    Products of deviations within tiles and, as in a circular block bootstrap, within all
    blocks of two by two tiles. What either misses falls with the length of the block, so
    that twice the second less the first has half of the error; the factor that this makes of
    the traces is applied to the whole matrix, which so stays positive. Where whole rows or
    columns of tiles move together, as in a sum of functions of one coordinate each, their
    variance is the larger one and is taken.
    """
    number = deviations.shape[0] * deviations.shape[1]
    tiny = jnp.finfo(deviations.dtype).tiny
    pairs = deviations + jnp.roll(deviations, 1, axis=0)
    blocks = (pairs + jnp.roll(pairs, 1, axis=1)) / 2
    single = jnp.einsum("abi,abj->ij", deviations, deviations)
    double = jnp.einsum("abi,abj->ij", blocks, blocks) * number / (number - 4)
    ratio = jnp.trace(single) / jnp.maximum(jnp.trace(double), tiny)
    covariance = double * jnp.maximum(2 - ratio * number / (number - 1), 1)
    variance = jnp.diagonal(covariance)
    largest = variance
    for axis in range(2):
        strips = deviations.sum(axis=axis)
        largest = jnp.maximum(largest, (strips**2).sum(axis=0) * len(strips) / (len(strips) - 1))
    scale = jnp.sqrt(largest / jnp.maximum(variance, tiny))
    return covariance * scale[:, None] * scale


@functools.partial(jax.jit, static_argnames=("lags", "aggregate"))
def surface_exponent(
    values: Float[Array, "n m"], *, lags: tuple[int, ...], aggregate: str
) -> Estimate:
    """Estimate the Hölder exponent of a surface; see `fracjax.estimators.graph_dimension`."""
    dtype, shape = values.dtype, values.shape
    tiny = jnp.finfo(dtype).tiny
    squares, kept = _squares(values, lags)
    sides = [int(np.clip(side // (2 * max(lags)), *_TILES)) for side in shape]
    rows, columns = (
        jnp.asarray(np.arange(count)[:, None] == np.arange(side) * count // side, dtype)
        for count, side in zip(sides, shape, strict=True)
    )

    def per_tile(grid: Array) -> Array:
        return jnp.einsum("an,dlnm,bm->abdl", rows, grid, columns, precision="highest")

    sums, counts = per_tile(squares), per_tile(kept)
    total, number = sums.sum(axis=(0, 1)), counts.sum(axis=(0, 1))
    variogram = total / jnp.maximum(number, 1)
    left_out = (total - sums) / jnp.maximum(number - counts, 1)
    replicates = jnp.log(jnp.maximum(left_out, tiny))
    num_tiles = sides[0] * sides[1]
    spread = (replicates - replicates.mean(axis=(0, 1))) * math.sqrt((num_tiles - 1) / num_tiles)
    log_variogram = jnp.log(jnp.maximum(variogram, tiny)) + (spread**2).sum(axis=(0, 1)) / 2

    each, weights = _fit(log_variogram, min(*shape, 256), lags)
    deviations = jnp.einsum("rcdl,dl->rcd", spread, weights)
    covariance = _tile_covariance(deviations)
    each_stderr = jnp.sqrt(jnp.diagonal(covariance))
    freedom = float(min(num_tiles / _EFFECTIVE_TILES, *sides)) - 1
    p_value, between = _differences(each, covariance, freedom)
    anisotropic = p_value < _ANISOTROPIC
    roughest = jnp.argmin(each)
    misfit = _misfit(log_variogram.mean(axis=0), spread.mean(axis=2), weights.mean(axis=0), lags)

    if aggregate == "mean":
        value = jnp.where(anisotropic, each[roughest], each.mean())
        sampling = jnp.where(anisotropic, each_stderr[roughest], jnp.sqrt(covariance.mean()))
    else:
        middles, errors = zip(
            _median_transect(squares[0], kept[0], lags),
            _median_transect(jnp.swapaxes(squares[1], 1, 2), jnp.swapaxes(kept[1], 1, 2), lags),
            strict=True,
        )
        lower = jnp.where(middles[0] < middles[1], 0, 1)
        value = jnp.where(anisotropic, jnp.stack(middles)[lower], sum(middles) / 2)
        sampling = jnp.where(anisotropic, jnp.stack(errors)[lower], sum(errors) / 2)
        freedom = float(min(shape) // _TRANSECTS) - 1
    # Directions that differ without proof may mean a roughest one below the mean.
    unproven = jnp.where(anisotropic, 0, between)
    stderr = jnp.sqrt(sampling**2 + misfit**2 + unproven)

    num_finite = jnp.isfinite(values).sum()
    status = jnp.where((variogram > 0).all(), int(Status.OK), int(Status.AT_NOISE_FLOOR))
    missing = num_finite < (1 - _FAILED) * values.size
    status = jnp.where(missing | (number == 0).any(), int(Status.DIVERGED), status)
    blank = jnp.where(status == Status.OK, 0, jnp.nan).astype(dtype)
    details = {
        "direction_exponents": each + blank,
        "direction_stderr": each_stderr + blank,
        "anisotropy_p_value": p_value + blank,
        "variogram": variogram,
        "misfit": misfit + blank,
        "num_finite": num_finite,
    }
    quantile = float(stats.t.ppf(0.975, freedom))
    return symmetric_estimate(value, stderr, quantile, status, details, blank=blank)


def _misfit(
    curve: Float[Array, " lags"],
    spread: Float[Array, "rows columns lags"],
    weights: Float[Array, " lags"],
    lags: tuple[int, ...],
) -> Float[Array, ""]:
    """Error of the slope from scatter of the curve about its line, beyond sampling."""
    log_lags = 2 * np.log(lags)
    line = jnp.outer(jnp.asarray(log_lags - log_lags.mean(), curve.dtype), weights)
    keep = jnp.eye(len(lags), dtype=curve.dtype) - 1 / len(lags) - line
    freedom = len(lags) - 2
    scatter = ((keep @ (curve - curve.mean())) ** 2).sum() / freedom
    expected = jnp.trace(keep @ _tile_covariance(spread) @ keep.T) / freedom
    excess = jnp.maximum(scatter - expected * (1 + 2 * np.sqrt(2 / freedom)), 0)
    return jnp.sqrt(excess * (weights**2).sum())


def _differences(
    values: Float[Array, " directions"], covariance: Float[Array, "d d"], degrees: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Test that all directions have one exponent.

    Returns:
        p-value of Hotelling's statistic, and the variance between directions beyond sampling.
    """
    size = len(values)
    freedom, rest = size - 1, degrees - size + 2
    contrasts = jnp.asarray(np.linalg.qr(np.eye(size) - 1 / size)[0][:, :freedom].T, values.dtype)
    vector, matrix = contrasts @ values, contrasts @ covariance @ contrasts.T
    expected = jnp.trace(matrix) / freedom
    excess = jnp.maximum((vector**2).mean() - (1 + np.sqrt(2 / freedom)) * expected, 0)
    matrix += jnp.finfo(values.dtype).eps * (expected + 1e-12) * jnp.eye(freedom)
    squared = vector @ jnp.linalg.solve(matrix, vector)
    ratio = squared * rest / (freedom * degrees)
    grid = np.linspace(0, 6, 241)  # of arcsinh: an incomplete beta compiles for long
    table = stats.f.logsf(np.sinh(grid), freedom, rest)
    place, table = (jnp.asarray(axis, values.dtype) for axis in (grid, table))
    return jnp.exp(jnp.interp(jnp.arcsinh(ratio), place, table)), excess


def _median_transect(
    squares: Float[Array, "lags transects points"],
    kept: Float[Array, "lags transects points"],
    lags: tuple[int, ...],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Median over parallel transects of their exponents, and its block-jackknife error."""
    tiny = jnp.finfo(squares.dtype).tiny
    number = kept.sum(axis=2)
    variogram = (squares.sum(axis=2) / jnp.maximum(number, 1)).T
    num_points = squares.shape[2]
    log_variogram = jnp.log(jnp.maximum(variogram, tiny))
    rough, _ = _fit(log_variogram, num_points, lags)
    bias = _interpolate(_slope_tables(num_points, lags)[1], rough) / 2
    exponents, _ = _fit(log_variogram + bias, num_points, lags)
    exponents = jnp.where((variogram > 0).all(axis=1), exponents, jnp.nan)
    count = len(exponents) // _TRANSECTS
    block = jnp.asarray(np.arange(len(exponents)) * count // len(exponents))
    others = jax.vmap(lambda b: jnp.nanmedian(jnp.where(block == b, jnp.nan, exponents)))
    variance = (count - 1) * jnp.var(others(jnp.arange(count)))
    return jnp.nanmedian(exponents), jnp.sqrt(variance)
