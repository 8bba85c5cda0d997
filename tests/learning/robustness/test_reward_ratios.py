"""Reward exponents by ratios: exact cases, saturation, the authors' way to count steps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_loops import Feedback, linear

from fracjax import Status
from fracjax.learning import closed_loop_exponents, reward_ratio_exponent
from fracjax.rl import rollouts

KEY = jax.random.key(0)
RATE = math.log(0.9)


def of_reward(reward, method, **settings):
    """Exponents of x' = .9 x (as .5 x + .4 x by feedback) under some reward."""
    environment = linear(jnp.array([[0.5]]), jnp.array([[1.0]]), reward)
    states = rollouts.initial_states(environment, KEY, 4)
    find = closed_loop_exponents(environment, Feedback(), method=method, num_steps=100, **settings)
    return jax.jit(find)(jnp.array([[0.4]]), states, KEY)


@pytest.mark.parametrize("method", ["tangents", "perturbations"])
def test_a_stationary_reward_decays_twice_as_fast(x64, method):
    """Exact: of r = x² at x = 0, dr = 2 x dx decays as e^{2λt}, and the state as e^{λt}.

    A finite difference adds dx², a part in 1e4 x / 1e-4.
    """
    found = of_reward(lambda x, a: x[0] ** 2, method, size=1e-9)
    np.testing.assert_allclose(found.largest.value, RATE, atol=1e-9)
    np.testing.assert_allclose(found.reward.value, 2 * RATE, atol=1e-4)


def test_a_saturated_reward_has_no_exponent_and_a_clipped_one_has_where_it_moves(x64):
    constant = of_reward(lambda x, a: jnp.clip(x[0], -9, 0) + 1, "perturbations")
    assert constant.reward.status == Status.TOO_FEW_POINTS
    assert np.isnan(constant.reward.value)
    assert constant.reward.details["share_of_periods"] == 0
    # Clipped above .1, which .9^t reaches after 15 to 26 steps: 7 or 8 of 10 periods are left.
    clipped = of_reward(lambda x, a: jnp.minimum(x[0], 0.1), "perturbations")
    np.testing.assert_allclose(clipped.reward.value, RATE, atol=1e-6)
    assert 0.6 < clipped.reward.details["share_of_periods"] < 0.9


def test_the_authors_divide_nine_steps_by_ten(x64):
    found = of_reward(lambda x, a: x[0], "perturbations", elapsed="period")
    np.testing.assert_allclose(found.reward.value, 0.9 * RATE, atol=1e-6)


def test_masks_errors_and_units(x64):
    """Known gaps: two states with rates .2 and .4, periods of a failed part left out."""
    steps = jnp.arange(5)
    gaps = jnp.exp(jnp.array([0.2, 0.4])[:, None, None] * steps) * jnp.ones((2, 3, 5))
    gaps = gaps.at[0, 2].set(jnp.nan)
    alive = jnp.array([[True, True, True], [True, True, False]])
    found = reward_ratio_exponent(gaps, dt=0.5, alive=alive)
    np.testing.assert_allclose(found.details["per_state"], [0.4, 0.8], rtol=1e-9)
    np.testing.assert_allclose([found.value, found.stderr], [0.6, 0.2], rtol=1e-9)
    np.testing.assert_allclose(found.high - found.value, 12.706 * 0.2, rtol=1e-3)
    np.testing.assert_allclose(found.details["share_of_periods"], 0.8)
    with pytest.raises(ValueError, match="`gaps` must have at least two steps"):
        reward_ratio_exponent(gaps[..., :1])
