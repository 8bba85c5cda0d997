"""A walker that descends a surface with noise: the simple model of diffusion on fractal losses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax._types import Key
from fracjax.learning.weight_diffusion.fractal_surfaces import force_field, interpolate

__all__ = ["Walks", "walk_on_surface"]


class Walks(NamedTuple):
    """Walkers on one surface.

    Attributes:
        paths: Places in [-1, 1]², (walkers, steps + 1, 2).
        heights: Height of the surface at them, (walkers, steps + 1).
        border: Whether a walker ever met the border, (walkers,).
    """

    paths: Float[Array, "walkers points 2"]
    heights: Float[Array, "walkers points"]
    border: Bool[Array, " walkers"]


def walk_on_surface(
    key: Key,
    surface: Float[Array | np.ndarray, "rows columns"],
    *,
    num_walkers: int = 16,
    num_steps: int = 1000,
    learning_rate: float | Float[Array, ""] = 0.02,
    noise: float | Float[Array, ""] = 0.01,
    reach: float = 0.9,
) -> Walks:
    """Let walkers descend a surface on [-1, 1]² with Gaussian noise of fixed size.

        x' = x - η ∇L(x) + σ g,    g ~ N(0, 1) in either direction, every step,

    η = .02 and σ = .01 as in the model of Chen, Qu and Gong. Slopes are central differences on the
    grid, interpolated linearly. Their steps are of the order of η |∇L|, many grid spacings long on
    a rough surface: a walker does not feel the well it is in, it is thrown from slope to
    slope until it meets a place flat enough to stay in.

    Walkers are reflected at the border and marked; the published code draws the noise anew and
    abandons the run where that does not help, which keeps the runs that stay inside. The published
    figure shows one chosen run. Take ensembles, over surfaces too: walkers of one surface share
    its wells.

    Args:
        key: Draws starts and noise.
        surface: Heights of a square grid over [-1, 1]².
        num_walkers: Independent starts and noise.
        num_steps: Steps.
        learning_rate: η.
        noise: σ.
        reach: Starts are uniform on [-reach, reach]²; the published 1.

    Raises:
        ValueError: If the surface is not a square grid of at least 3 × 3 points.

    References:
        Chen, Qu and Gong (2022), https://arxiv.org/abs/2009.10588.
    """
    surface = jnp.asarray(surface)
    if surface.ndim != 2 or surface.shape[0] != surface.shape[1] or len(surface) < 3:
        msg = f"Argument `surface` must be a square grid, but has shape {surface.shape}."
        raise ValueError(msg)
    fields = jnp.concatenate([force_field(surface), surface[None]])
    start_key, noise_key = jax.random.split(key)
    dtype = surface.dtype
    starts = jax.random.uniform(start_key, (num_walkers, 2), dtype, -reach, reach)
    kicks = noise * jax.random.normal(noise_key, (num_steps, num_walkers, 2), dtype)
    look = jax.vmap(lambda place: interpolate(fields, place))

    def move(state: tuple[Array, Array], kick: Array) -> tuple[tuple, tuple]:
        place, met = state
        seen = look(place)
        there = place + learning_rate * seen[:, :2] + kick
        outside = jnp.abs(there) > 1
        # Reflected once; what is thrown farther than the square is wide stays at the border.
        there = jnp.where(outside, jnp.clip(jnp.sign(there) * 2 - there, -1, 1), there)
        return (there.astype(dtype), met | outside.any(axis=1)), (place, seen[:, 2])

    begin = (starts, jnp.zeros(num_walkers, bool))
    (last, border), (places, heights) = jax.lax.scan(move, begin, kicks)
    places = jnp.concatenate([places, last[None]])
    heights = jnp.concatenate([heights, look(last)[None, :, 2]])
    return Walks(jnp.moveaxis(places, 1, 0), heights.T, border)
