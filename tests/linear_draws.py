"""The exact law of random draws that are linear in their normal variables."""

import math

import jax
import jax.numpy as jnp


def exact_covariance(draw, monkeypatch):
    """Covariance of a draw that is linear in its normal variables: no statistics involved."""
    sizes = []

    def count(key, shape, dtype):
        sizes.append(math.prod(shape))
        return jnp.zeros(shape, dtype)

    monkeypatch.setattr(jax.random, "normal", count)
    draw()

    def linear(normals):
        rest = [normals]

        def take(key, shape, dtype):
            size = math.prod(shape)
            taken, rest[0] = rest[0][:size], rest[0][size:]
            return taken.reshape(shape).astype(dtype)

        monkeypatch.setattr(jax.random, "normal", take)
        return draw().ravel()

    matrix = jax.jacrev(linear)(jnp.zeros(sum(sizes)))
    monkeypatch.undo()
    return matrix @ matrix.T
