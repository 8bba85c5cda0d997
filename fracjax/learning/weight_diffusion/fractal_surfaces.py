"""Surfaces to walk on: diamond-square as published, its controls, and linear interpolation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key
from fracjax.estimators.settings import check_at_least

__all__ = ["bowl", "diamond_square", "force_field", "interpolate", "shuffled_surface"]


def diamond_square(
    key: Key, levels: int, *, hurst: float = 1.0, amplitude: float = 3.0
) -> Float[Array, "side side"]:
    """Draw a surface by the diamond-square algorithm on a grid of 2^levels + 1 points a side.

    Corners are 0. At every level the centres of squares get the mean of four corners, then the
    middles of edges the mean of their four neighbours (three at the border), each plus
    (u - ½) r with u uniform; r starts at `amplitude` and is multiplied by 2^-hurst after a level.

    The defaults are those of the model of Chen, Qu and Gong (r = 3, halved every level, 10
    levels), where hurst is 1 in name: such a surface is rough by a logarithm only, and its
    variogram reads an exponent of .8 to .9. Increments are not stationary and the surface shows
    creases along the grid; `fractional_brownian_field` is exact.

    Args:
        key: Randomness.
        levels: Doublings of the grid, at least 1.
        hurst: Exponent H that the amplitudes follow, in (0, 1].
        amplitude: r of the first level.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Fournier, Fussell and Carpenter (1982), https://doi.org/10.1145/358523.358553.
        Miller (1986), https://doi.org/10.1145/15886.15899, on the creases.
        Chen, Qu and Gong (2022), https://arxiv.org/abs/2009.10588.
    """
    check_at_least(levels=(levels, 1))
    if not 0 < hurst <= 1:
        msg = f"Argument `hurst` must lie in (0, 1], but is {hurst}."
        raise ValueError(msg)
    side = 2**levels + 1
    dtype = jnp.result_type(float)
    # One draw for every point, at the level where the point is set.
    noise = jax.random.uniform(key, (side, side), dtype, -0.5, 0.5)
    surface = jnp.zeros((2, 2), dtype)
    for level in range(levels):
        gap = 2 ** (levels - level - 1)
        own = noise[::gap, ::gap] * (amplitude * 2.0 ** (-hurst * level))
        centre = surface[1:, 1:] + surface[1:, :-1] + surface[:-1, 1:] + surface[:-1, :-1]
        centre = centre / 4 + own[1::2, 1::2]
        size = len(own)
        finer = jnp.zeros((size, size), dtype).at[::2, ::2].set(surface)
        finer = finer.at[1::2, 1::2].set(centre)
        around = jnp.pad(finer, 1)
        total = around[2:, 1:-1] + around[:-2, 1:-1] + around[1:-1, 2:] + around[1:-1, :-2]
        odd = (np.add.outer(np.arange(size), np.arange(size)) % 2).astype(bool)
        inner = np.full(size, 2.0)
        inner[[0, -1]] = 1.0
        neighbours = np.add.outer(inner, inner)
        surface = jnp.where(odd, total / jnp.asarray(neighbours, dtype) + own, finer)
    return surface


def bowl(side: int, *, depth: float = 3.0, width: float = 0.5) -> Float[Array, "side side"]:
    """Make a smooth well, -depth exp(-|x|²/(2 width²)) on [-1, 1]²: the convex control."""
    axis = np.linspace(-1, 1, side)
    square = axis[:, None] ** 2 + axis**2
    return jnp.asarray(-depth * np.exp(-square / (2 * width**2)), jnp.result_type(float))


def shuffled_surface(
    key: Key, surface: Float[Array, "side side"], *, blur: float = 8.0
) -> Float[Array, "side side"]:
    """Put the heights of a surface into random order and blur them: no structure above the blur.

    The published control blurs by 8 grid points. Heights are scaled back to the standard deviation
    of the surface (the published code raises them to a power, which does not keep it).

    Args:
        key: Randomness.
        surface: Heights.
        blur: Standard deviation of the Gaussian, in grid points; the border is periodic.
    """
    mixed = jax.random.permutation(key, surface.ravel()).reshape(surface.shape)
    waves = [jnp.fft.fftfreq(size).astype(surface.dtype) for size in surface.shape]
    square = waves[0][:, None] ** 2 + waves[1] ** 2
    kernel = jnp.exp(-2 * (math.pi * blur) ** 2 * square)
    smooth = jnp.fft.ifft2(jnp.fft.fft2(mixed - mixed.mean()) * kernel).real
    return smooth / smooth.std() * surface.std() + surface.mean()


def force_field(surface: Float[Array, "side side"]) -> Float[Array, "two side side"]:
    """Downhill force on [-1, 1]² by central differences on the grid (one-sided at the border)."""
    spacing = 2.0 / (len(surface) - 1)
    slopes = [jnp.asarray(jnp.gradient(surface, spacing, axis=axis)) for axis in (0, 1)]
    return -jnp.stack(slopes)


def interpolate(
    fields: Float[Array, "k side side"], place: Float[Array, " two"]
) -> Float[Array, " k"]:
    """Interpolate fields on [-1, 1]² linearly along both axes; places outside count as border."""
    last = fields.shape[1] - 1
    position = jnp.clip((place + 1) * (last / 2), 0, last)
    lower = jnp.clip(position.astype(int), 0, last - 1)
    x, y = position - lower
    i, j = lower
    near = (1 - y) * fields[:, i, j] + y * fields[:, i, j + 1]
    far = (1 - y) * fields[:, i + 1, j] + y * fields[:, i + 1, j + 1]
    return (1 - x) * near + x * far
