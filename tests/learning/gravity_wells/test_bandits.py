"""Exact gradients of softmax and escort policies against automatic ones, and their guards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.gravity_wells.bandits import (
    bandit_gradient,
    bandit_update,
    bandit_value,
    policy_probabilities,
)

KEY = jax.random.key(0)
ESCORT = [("escort", 1.5), ("escort", 2.0), ("escort", 3.0), ("escort", 8.0)]


@pytest.mark.parametrize(("rule", "power"), [("softmax", 2.0), *ESCORT])
def test_the_exact_gradient_is_that_of_automatic_differentiation(x64, rule, power):
    """G10: to 1e-10 in float64, with a coordinate at zero and one that is negative."""
    params = jax.random.normal(KEY, (5, 6)).at[0, 2].set(0.0)
    rewards = jax.random.uniform(jax.random.fold_in(KEY, 1), (5, 6))
    settings = {"rule": rule, "power": power}
    exact = jax.jit(functools.partial(bandit_gradient, **settings))(params, rewards)
    value = functools.partial(bandit_value, **settings)
    automatic = jax.vmap(jax.grad(value))(params, rewards)
    assert (params < 0).any()
    np.testing.assert_allclose(exact, automatic, rtol=0, atol=1e-10)
    one = bandit_gradient(params[1], rewards[1], **settings)  # eager, one sample
    np.testing.assert_allclose(exact[1], one, rtol=1e-12)
    if rule == "escort":
        assert exact[0, 2] == 0  # absorbing
        np.testing.assert_allclose((params * exact).sum(axis=1), 0, atol=1e-12)


def test_the_natural_gradient_inverts_the_fisher_matrix(x64):
    params = jax.random.normal(KEY, (6,))
    rewards = jax.random.uniform(jax.random.fold_in(KEY, 1), (6,))
    share = policy_probabilities(params)
    fisher = np.diag(share) - np.outer(share, share)
    expected = np.linalg.pinv(fisher) @ bandit_gradient(params, rewards)
    found = bandit_gradient(params, rewards, rule="natural")
    np.testing.assert_allclose(found - found.mean(), expected, atol=1e-10)


@pytest.mark.parametrize("power", [2.0, 8.0])
def test_the_escort_map_neither_overflows_nor_depends_on_scale(power):
    params = jnp.asarray([0.3, -2.0, 1.0, 0.0])
    rewards = jnp.asarray([1.0, 0.5, 0.2, 0.0])
    near = policy_probabilities(params, rule="escort", power=power)
    settings = {"rule": "escort", "power": power, "scale_free": True}
    step = bandit_update(params, rewards, 0.1, **settings)
    for scale in (1e-30, 1e30):
        far = policy_probabilities(scale * params, rule="escort", power=power)
        np.testing.assert_allclose(far, near, rtol=1e-5)
        scaled = bandit_update(scale * params, rewards, 0.1, **settings)
        np.testing.assert_allclose(scaled, step, rtol=1e-5)
        np.testing.assert_allclose(jnp.sum(jnp.abs(scaled) ** power), 1, rtol=1e-5)
    # The plain update with the step c ‖θ‖² is the same one.
    length = jnp.sum(jnp.abs(params) ** power) ** (1 / power)
    plain = bandit_update(params, rewards, 0.1 * length**2, rule="escort", power=power)
    ratio = plain / step
    np.testing.assert_allclose(ratio[:3], ratio[0], rtol=1e-5)
    assert np.isnan(policy_probabilities(jnp.zeros(3), rule="escort")).all()


def test_an_advantage_below_the_rounding_of_the_rewards_survives():
    """float32: V - b = 1e-9, where b = .4 has a rounding unit of 3e-8."""
    params = jnp.log(jnp.asarray([1e-8, 0.5, 0.5]))
    slope = bandit_gradient(params, jnp.asarray([0.5, 0.4, 0.4]))
    np.testing.assert_allclose(slope, [1e-9, -5e-10, -5e-10], rtol=1e-5)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="power"):
        policy_probabilities(jnp.zeros(3), rule="escort", power=1.0)
    with pytest.raises(ValueError, match="scale_free"):
        bandit_update(jnp.zeros(3), jnp.zeros(3), 1.0, scale_free=True)
