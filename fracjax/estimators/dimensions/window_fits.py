"""Generalised-least-squares fits of a power law with one correction to every window of scales."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = [
    "MIN_LEVELS",
    "NUM_PARAMETERS",
    "WindowFits",
    "all_windows",
    "fit_windows",
    "rounding_ridge",
    "whiten",
]

MIN_LEVELS = 4
NUM_PARAMETERS = 3


class WindowFits(NamedTuple):
    """What `fit_windows` found, one entry per window of `all_windows`.

    Attributes:
        slope_map: (windows, levels), maps the curve to its slope.
        correction_map: (windows, levels), maps the curve to the correction.
        slope_error: (windows,), standard error of the slope.
        correction_error: (windows,), standard error of the correction.
        misfit: (windows,), the smallest that suffices.
        squared: (windows,), χ² without misfit.
        plain: (windows, 2), slope and its error without the correction.
    """

    slope_map: Array
    correction_map: Array
    slope_error: Array
    correction_error: Array
    misfit: Array
    squared: Array
    plain: Array


@functools.lru_cache(maxsize=8)
def all_windows(num_levels: int) -> tuple[np.ndarray, np.ndarray]:
    """First level and length of every window: longer first, then the one at smaller scales."""
    lengths = range(num_levels, MIN_LEVELS - 1, -1)
    runs = [(num_levels - last, n) for n in lengths for last in range(n, num_levels + 1)]
    first, length = np.asarray(runs, np.int32).T  # whatever the default: it is cached
    return first, length


def rounding_ridge(covariance: Float[Array, "levels levels"]) -> Array:
    """Ridge that keeps a covariance of many levels and few digits positive."""
    return 16 * jnp.finfo(covariance.dtype).eps * (jnp.trace(covariance) + 1e-6)


def whiten(
    matrix: Float[Array, "n n"], right: Float[Array, "n columns"]
) -> tuple[Float[Array, "n n"], Float[Array, "n columns"]]:
    """Cholesky factor L of a positive matrix, transposed, and L⁻¹ applied to `right`.

    By elimination in plain array operations: thousands of these small systems under `vmap`
    run as one, on any device, where calls into LAPACK would run one by one.
    """
    size = matrix.shape[0]

    def eliminate(rest: Array, pivot: Array) -> tuple[Array, Array]:
        diagonal = jnp.maximum(rest[pivot, pivot], jnp.finfo(rest.dtype).tiny)
        row = rest[pivot] / jnp.sqrt(diagonal)
        return rest - row[:size, None] * row[None, :], row

    joined = jnp.concatenate([matrix, right], axis=1)
    rows = jax.lax.scan(eliminate, joined, jnp.arange(size))[1]
    return jnp.triu(rows[:, :size]), rows[:, size:]


def fit_windows(
    log_scale: Float[Array, " levels"],
    curve: Float[Array, " levels"],
    covariance: Float[Array, "levels levels"],
    misfits: Float[Array, " misfits"],
) -> WindowFits:
    """Fit every window with the smallest misfit that suffices.

    The model is y = a + D x + c e^{x - x_first} with x = `log_scale` and x_first its value at
    the first level of the window. The Cholesky factor of a window is the leading part of
    that of every longer window with the same first level, so there is one elimination for
    each first level and misfit.
    """
    dtype, size = curve.dtype, len(curve)
    first, length = all_windows(size)
    starts = np.arange(size - MIN_LEVELS + 1)
    place = starts[:, None] + np.arange(size)  # of the k-th level of windows from each start
    real = place < size
    index = np.minimum(place, size - 1)
    identity = np.eye(size)
    up_to = jnp.asarray(np.tri(size)[MIN_LEVELS - 1 :], dtype)
    ridge = rounding_ridge(covariance)

    def from_start(index: Array, real: Array, misfit: Array) -> tuple[Array, Array, Array]:
        inside = real.astype(dtype)
        offset = log_scale[index] - log_scale[index[0]]
        columns = [jnp.ones_like(offset), offset, jnp.exp(offset), curve[index]]
        variance = jnp.where(real, misfit**2 + ridge, 1.0)
        joined = covariance[index[:, None], index] * inside[:, None] * inside
        right = jnp.concatenate([inside[:, None] * jnp.stack(columns, axis=1), identity], axis=1)
        white = whiten(joined + jnp.diag(variance), right.astype(dtype))[1]
        design, goal, whitening = white[:, :3], white[:, 3], white[:, 4:]
        normal = jnp.einsum("lk,ki,kj->lij", up_to, design, design)
        mapping = jnp.einsum("lk,ki,kj->lij", up_to, design, whitening)
        return normal, mapping, jnp.concatenate([design, goal[:, None]], axis=1)

    def each(start: Array, real: Array) -> tuple[Array, Array, Array]:
        return jax.vmap(lambda misfit: from_start(start, real, misfit))(misfits)

    normal, mapping, white = jax.vmap(each)(jnp.asarray(index), jnp.asarray(real))
    # From (start, misfit, length) to (window, misfit).
    normal = normal[first, :, length - MIN_LEVELS]
    mapping = mapping[first, :, length - MIN_LEVELS]
    white = white[first]

    flat = jax.vmap(jax.vmap(lambda n: whiten(n, jnp.eye(NUM_PARAMETERS, dtype=dtype))[1]))
    factor = flat(normal)
    inverse = jnp.einsum("wtki,wtkj->wtij", factor, factor)
    mapping = jnp.einsum("wtij,wtjk->wtik", inverse, mapping)
    shift = jnp.asarray((place[first][:, :, None] == np.arange(size)), dtype)
    mapping = jnp.einsum("wtik,wkj->wtij", mapping, shift)
    solution = mapping @ curve
    residual = white[..., 3] - jnp.einsum("wtki,wti->wtk", white[..., :3], solution)
    inside = jnp.asarray(np.arange(size) < length[:, None], dtype)
    squared = jnp.einsum("wtk,wk->wt", residual**2, inside)

    determinant = normal[..., 0, 0] * normal[..., 1, 1] - normal[..., 0, 1] ** 2
    moments = jnp.einsum("wtki,wtk,wk->wti", white[..., :2], white[..., 3], inside)
    slope = normal[..., 0, 0] * moments[..., 1] - normal[..., 0, 1] * moments[..., 0]
    plain = jnp.stack([slope / determinant, jnp.sqrt(normal[..., 0, 0] / determinant)], axis=-1)

    enough = squared <= jnp.asarray(np.maximum(length - NUM_PARAMETERS, 1), dtype)[:, None]
    chosen = jnp.where(enough.any(axis=1), jnp.argmax(enough, axis=1), len(misfits) - 1)
    errors = jnp.sqrt(jnp.diagonal(inverse, axis1=2, axis2=3))

    def pick(values: Array) -> Array:
        return jax.vmap(lambda row, at: row[at])(values, chosen)

    maps, errors = pick(mapping), pick(errors)
    return WindowFits(
        slope_map=maps[:, 1],
        correction_map=maps[:, 2],
        slope_error=errors[:, 1],
        correction_error=errors[:, 2],
        misfit=misfits[chosen],
        squared=squared[:, 0],
        plain=pick(plain),
    )
