"""Categorical latents: mixing, drawing with straight-through gradients, divergence.

A latent is `groups` independent categorical variables of `classes` values each, held as one
vector of `groups * classes` numbers.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["LatentChoice", "choose", "divergence", "draw", "probabilities"]

# How a latent is taken from its distribution where nothing is drawn.
LatentChoice = Literal["mode", "mean"]


def probabilities(
    logits: Float[Array, "*batch groups classes"], uniform_mix: float = 0.01
) -> Float[Array, "*batch groups classes"]:
    """Softmax over classes, mixed with a share of the uniform distribution."""
    shares = jax.nn.softmax(logits, axis=-1)
    return (1 - uniform_mix) * shares + uniform_mix / logits.shape[-1]


def draw(
    shares: Float[Array, "*batch groups classes"], uniform: Float[Array, "*batch groups"]
) -> Float[Array, "*batch groups classes"]:
    """Draw one-hot vectors by inversion, one uniform number per group.

    The value is one-hot to rounding and the derivative is that of `shares` (straight-through):
    a derivative of the probabilities, not of the draw, which has none.
    """
    below = jnp.cumsum(shares, axis=-1) < uniform[..., None]
    index = jnp.minimum(jnp.sum(below, axis=-1), shares.shape[-1] - 1)
    one_hot = jax.nn.one_hot(index, shares.shape[-1], dtype=shares.dtype)
    return jax.lax.stop_gradient(one_hot - shares) + shares


def choose(
    shares: Float[Array, "*batch groups classes"], choice: LatentChoice
) -> Float[Array, "*batch groups classes"]:
    """Take the most likely class of every group (`"mode"`), or the probabilities (`"mean"`).

    The mode is piecewise constant: its derivative is zero, here as in truth. The mean is
    differentiable, but a vector that the recurrent network has not met in training unless the
    distribution is nearly certain.
    """
    if choice == "mean":
        return shares
    one_hot = jax.nn.one_hot(jnp.argmax(shares, axis=-1), shares.shape[-1], dtype=shares.dtype)
    return jax.lax.stop_gradient(one_hot)


def divergence(
    first: Float[Array, "*batch groups classes"], second: Float[Array, "*batch groups classes"]
) -> Float[Array, "*batch"]:
    """Kullback-Leibler divergence of two latents in nats, summed over groups."""
    return jnp.sum(first * (jnp.log(first) - jnp.log(second)), axis=(-2, -1))
