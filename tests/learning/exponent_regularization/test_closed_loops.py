"""Penalties of closed loops: the spectral radius of a linear one and its derivative."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from closed_loops import Feedback, linear

from fracjax.learning.exponent_regularization.closed_loops import (
    closed_loop_penalty,
    regularized_loss,
)
from fracjax.rl import rollouts

KEY = jax.random.key(0)
# x' = (A + B K) x is triangular: eigenvalues .7 + k_1 and .5.
OPEN = np.array([[0.7, 0.0], [0.2, 0.5]])
COLUMN = np.array([[1.0], [0.0]])


def test_the_gradient_is_that_of_the_spectral_radius(x64):
    """λ_1 = ln(.7 + k): penalty ln(1.1)² at k = .4, of slope 2 ln(1.1)/1.1, and 0 in k_2."""
    environment = linear(jnp.asarray(OPEN), jnp.asarray(COLUMN))
    penalty = closed_loop_penalty(environment, Feedback(), num_steps=20, num_transient=100)
    states = rollouts.initial_states(environment, KEY, 3)

    def loss(params, key):
        return jnp.sum(params**2)

    regularized = regularized_loss(loss, lambda params, key: penalty(params, states, key), 5.0)
    gains = jnp.array([[0.4, 0.0]])
    run = jax.jit(jax.value_and_grad(regularized, has_aux=True))
    (value, parts), gradient = run(gains, KEY)
    rate = math.log(1.1)
    np.testing.assert_allclose(parts["exponents"], [rate], rtol=1e-9)
    np.testing.assert_allclose(value, 0.16 + 5 * rate**2, rtol=1e-9)
    np.testing.assert_allclose(gradient[0, 0], 0.8 + 10 * rate / 1.1, rtol=1e-8)

    def counted(alive):
        return penalty(gains, states, KEY, jnp.asarray(alive))

    none, one = (jax.jit(lambda a=a: counted(a))() for a in ([False] * 3, [True, False, False]))
    assert none.value == 0
    assert none.steps == 0
    np.testing.assert_allclose(one.value, rate**2, rtol=1e-9)
    assert one.steps == 20
    total, parts = regularized_loss(loss, lambda params, key: params.sum(), 2.0)(gains, KEY)
    np.testing.assert_allclose(total, 0.16 + 2 * 0.4, rtol=1e-12)
    assert set(parts) == {"loss", "penalty"}
