"""Exact values, occupancies and gradients of tabular processes: G10."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.gravity_wells.bandits import bandit_gradient
from fracjax.learning.gravity_wells.tabular_mdps import (
    TabularMDP,
    contextual_mdp,
    effective_step,
    evaluate,
    mdp_gradient,
    mdp_value,
    occupancy,
    softened_mdp,
)

STATES, ACTIONS, DISCOUNT = 8, 6, 0.9


def process(share):
    draws = np.random.default_rng(0)
    chain, rewards = draws.dirichlet(np.ones(STATES), STATES), draws.uniform(size=(STATES, ACTIONS))
    other = draws.dirichlet(np.ones(STATES), (STATES, ACTIONS))
    chain, rewards, other = (
        jnp.asarray(x, jnp.result_type(float)) for x in (chain, rewards, other)
    )
    context = contextual_mdp(chain, rewards, jnp.ones(STATES) / STATES, DISCOUNT)
    return softened_mdp(context, other, share)


def logits():
    drawn = 2 * np.random.default_rng(1).normal(size=(STATES, ACTIONS))
    return jnp.asarray(drawn, jnp.result_type(float))


def test_the_gradient_is_that_of_automatic_differentiation(x64):
    """G10: to 1e-10 in float64, action-independent and dependent transitions, one program."""
    processes = [process(share) for share in (0.0, 0.5)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *processes)
    params = jnp.stack([logits(), -logits()])
    exact = jax.jit(jax.vmap(mdp_gradient))(params, stacked)
    automatic = jax.jit(jax.vmap(jax.grad(mdp_value)))(params, stacked)
    np.testing.assert_allclose(exact, automatic, rtol=0, atol=1e-10)
    assert np.abs(exact).max() > 0.01
    visits = jax.jit(jax.vmap(occupancy))(params, stacked)
    np.testing.assert_allclose(visits.sum(axis=1), 1, rtol=1e-12)


def test_values_and_occupancies_are_those_of_a_long_sum(x64):
    mdp = process(0.5)
    found = jax.jit(evaluate)(logits(), mdp)
    chain = np.einsum("sa,sat->st", found.probabilities, mdp.transitions)
    paid = np.sum(found.probabilities * mdp.rewards, axis=1)
    here, value, visits = np.array(mdp.initial), 0.0, np.zeros(STATES)
    for step in range(400):  # .9^400 = 5e-19
        value += DISCOUNT**step * here @ paid
        visits += (1 - DISCOUNT) * DISCOUNT**step * here
        here = here @ chain
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    np.testing.assert_allclose(found.occupancy, visits, rtol=1e-12)
    mean = np.sum(found.probabilities * found.advantages, axis=1)
    np.testing.assert_allclose(mean, 0, atol=1e-12)


@pytest.mark.slow
def test_a_contextual_process_is_a_bandit_in_every_state():
    """The gradient is that of the bandit times d(s)/(1 - γ), in float32; of one state, the same."""

    @jax.jit
    def both(params, mdp):
        weight = effective_step(1.0, occupancy(params, mdp), mdp.discount)
        return mdp_gradient(params, mdp), weight[:, None] * bandit_gradient(params, mdp.rewards)

    np.testing.assert_allclose(*both(logits(), process(0.0)), atol=1e-6)
    rewards = jnp.asarray([[1.0, 0.5, 0.0]])
    one = TabularMDP(jnp.ones((1, 3, 1)), rewards, jnp.ones(1), 0.0)
    exact, bandit = both(jnp.zeros((1, 3)), one)
    np.testing.assert_allclose(exact, bandit, atol=1e-7)
    np.testing.assert_allclose(exact[0], [1 / 6, 0, -1 / 6], atol=1e-6)
