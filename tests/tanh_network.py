"""A small network, its loss, and the same loss where reverse mode does not exist."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

KEY = jax.random.key(0)
SIZES = (3, 5, 2)
DATA = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)


def network():
    generator = np.random.default_rng(0)
    return [
        {
            "kernel": jnp.asarray(generator.normal(size=(inputs, outputs)), float),
            "bias": jnp.full(outputs, 0.1, float),
        }
        for inputs, outputs in itertools.pairwise(SIZES)
    ]


def loss(params, key):
    """Mean squared error."""
    first, second = params
    inputs, targets = DATA[:, :3].astype(first["bias"].dtype), DATA[:, 3:]
    hidden = jnp.tanh(inputs @ first["kernel"] + first["bias"])
    return jnp.mean((hidden @ second["kernel"] + second["bias"] - targets) ** 2)


def looped_loss(params, key):
    """The same through a loop of unknown length."""
    count = jax.random.randint(key, (), 2, 3)  # 2, but nobody knows when compiling

    def body(carry):
        return carry[0] + 1, carry[1] + loss(params, key) / 2

    begin = (0, jnp.zeros((), params[0]["bias"].dtype))
    return jax.lax.while_loop(lambda carry: carry[0] < count, body, begin)[1]


def dense_hessian(objective, params):
    flat, unravel = ravel_pytree(params)
    return jax.jit(jax.hessian(lambda point: objective(unravel(point), KEY)))(flat)
