"""Policies as networks to decompose: outputs, states, random directions, and returns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fracjax import rl, tree
from fracjax._types import Status
from fracjax.learning.decomposition.divergences import gaussian_kl, squared_error
from fracjax.learning.decomposition_models.null_directions import (
    matched_size,
    output_divergence,
    unit_directions,
)
from fracjax.learning.decomposition_models.policy_outputs import (
    action_distribution,
    mean_action,
    visited_observations,
)
from fracjax.learning.decomposition_models.return_interventions import (
    episode_returns,
    null_ranks,
    return_changes,
    returns_along,
)
from fracjax.rl.environment import Environment, Transition

KEY = jax.random.key(0)
POLICY = rl.shipped("pendulum")
OBSERVATIONS = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)))


def counter(last):
    """Count steps, and terminate at `last`; the observation is the count."""

    def step(state, action):
        after = state + 1
        return Transition(after, 10 * jnp.sum(action), after[0] >= last)

    return Environment(
        name="counter",
        backend="analytic",
        dt=1.0,
        observation_size=3,
        action_size=1,
        state_size=3,
        reset=lambda key: jnp.zeros(3),
        observe=lambda state: state,
        step=step,
        coordinates=lambda state: state,
    )


def test_the_distribution_is_the_one_that_actions_are_drawn_from():
    """Shares of 4000 sampled actions below three places, within 4 standard errors."""
    observation = OBSERVATIONS[0]

    @jax.jit
    def all_of_it(keys):
        actions = jax.vmap(lambda key: POLICY.act(POLICY.params, observation, key))(keys)
        alone = mean_action(POLICY)(POLICY.params, observation)
        return action_distribution(POLICY)(POLICY.params, observation), actions, alone

    (mean, log_std), actions, alone = all_of_it(jax.random.split(KEY, 4000))
    actions = np.asarray(actions, float).ravel()
    std = float(np.exp(log_std[0]))
    # Beyond 1 - 1e-6 float32 knows no inverse: compare the share of actions below some places.
    for place in (-0.9, 0.0, 0.9):
        share = stats.norm.cdf(np.arctanh(place), float(mean[0]), std)
        error = max(share * (1 - share), 1e-3) ** 0.5 / 4000**0.5
        assert abs((actions < place).mean() - share) < 4 * error
    np.testing.assert_allclose(alone, np.tanh(mean), rtol=1e-5)
    network = dataclasses.replace(POLICY.network, head="deterministic")
    with pytest.raises(ValueError, match="`mean_action` and `squared_error`"):
        action_distribution(POLICY.replace(network=network))


def test_states_after_termination_are_not_visited():
    found = visited_observations(
        counter(3), POLICY, KEY, num_samples=100, num_episodes=2, horizon=7
    )
    assert sorted(found[:, 0]) == [0, 0, 1, 1, 2, 2]
    fewer = visited_observations(counter(9), POLICY, KEY, num_samples=5, num_episodes=2, horizon=7)
    assert fewer.shape == (5, 3)


def test_random_directions_are_as_long_and_as_far_as_stated():
    directions = unit_directions(KEY, POLICY.params, 5)
    norms = jax.vmap(tree.norm)(directions)
    np.testing.assert_allclose(norms, 1, rtol=1e-6)
    apply = action_distribution(POLICY)

    @jax.jit
    def match(target):
        def one(direction):
            size = matched_size(
                apply, POLICY.params, OBSERVATIONS, direction, target, divergence=gaussian_kl
            )
            reached = output_divergence(
                apply, POLICY.params, OBSERVATIONS, direction, size, divergence=gaussian_kl
            )
            return size, reached

        return jax.vmap(one)(directions)

    sizes, reached = match(0.3)
    np.testing.assert_allclose(reached, 0.3, rtol=1e-3)
    assert (sizes > 0).all()
    assert np.isnan(match(jnp.inf)[0]).all()


def test_a_divergence_that_is_known_is_matched():
    """Means of actions of a linear policy: |δ v x|² has a closed form."""

    def apply(params, x):
        return params @ x

    params, direction = jnp.eye(2), jnp.array([[0.6, 0.0], [0.0, 0.8]])
    inputs = jnp.eye(2)
    # Mean over the two inputs of mean over the two outputs: (.36 + .64)/4 δ².
    size = matched_size(apply, params, inputs, direction, 1.0, divergence=squared_error)
    assert size == pytest.approx(2.0, rel=1e-4)
    short = matched_size(
        apply, params, inputs, direction, 1.0, divergence=squared_error, largest=1.9
    )
    assert jnp.isnan(short)


def test_no_intervention_is_the_plain_return_bit_by_bit():
    environment, policy = rl.make("pendulum"), rl.shipped("pendulum")
    states = rl.initial_states(environment, KEY, 3)
    objective = episode_returns(environment, policy, states, horizon=20)
    directions = unit_directions(KEY, policy.params, 2)
    sizes = np.array([[0.0, 0.5], [0.0, np.nan]])
    found = returns_along(objective, policy.params, directions, sizes, KEY, chunk_size=4)
    assert found.shape == (2, 2, 3)
    plain = rl.expected_return(environment, policy, states, horizon=20, discount=1.0)
    # The mean of three returns as another program adds it: to rounding.
    assert found[0, 0].mean() == pytest.approx(float(plain(policy.params, KEY)), rel=1e-5)
    np.testing.assert_array_equal(found[0, 0], found[1, 0])
    still = tree.scale(0.0, directions)
    again = returns_along(objective, policy.params, still, np.ones((2, 2)), KEY, chunk_size=4)
    np.testing.assert_array_equal(again, np.broadcast_to(found[0, 0], again.shape))
    assert (found[0, 1] != found[0, 0]).any()
    changes = return_changes(found, found[0, 0])
    np.testing.assert_array_equal(changes.value[:, 0], 0)
    np.testing.assert_array_equal(changes.stderr[:, 0], 0)
    assert changes.status.tolist() == [[Status.OK, Status.OK], [Status.OK, Status.DIVERGED]]


def test_intervals_of_changes_cover():
    """Paired differences N(.5, 1) under a common offset, 6 episodes: 95 % of 2000, within 4 SE."""
    draws = np.random.default_rng(0)
    plain = 10 * draws.normal(size=6)
    gaps = 0.5 + draws.normal(size=(2000, 6))
    found = return_changes(plain + gaps, plain)
    share = np.mean((found.low <= 0.5) & (found.high >= 0.5))
    assert abs(share - 0.95) < 4 * (0.95 * 0.05 / 2000) ** 0.5
    assert return_changes(plain[:1], plain[:1]).status == Status.TOO_FEW_POINTS


def test_ranks_among_random_directions_are_levels():
    """Exchangeable values: P(rank ≤ k/20) = k/20 exactly, at 4 standard errors of 4000 draws."""
    drawn = np.random.default_rng(0).normal(size=(4000, 20))
    ranks = null_ranks(jnp.asarray(drawn[:, 0]), jnp.asarray(drawn[:, 1:]))
    for level in (0.05, 0.5):
        error = (level * (1 - level) / 4000) ** 0.5
        assert abs(np.mean(ranks <= level + 1e-6) - level) < 4 * error
    assert null_ranks(jnp.asarray(3.0), jnp.array([1.0, 3.0, jnp.nan])) == 0.75
    assert jnp.isnan(null_ranks(jnp.asarray(jnp.nan), jnp.zeros(3)))


@pytest.mark.slow
def test_no_intervention_is_the_plain_return_on_brax():
    environment = rl.make("inverted_double_pendulum")
    policy = rl.shipped("inverted_double_pendulum")
    states = rl.initial_states(environment, KEY, 2)
    objective = episode_returns(environment, policy, states, horizon=50)
    directions = unit_directions(KEY, policy.params, 2)
    sizes = np.array([[0.0, 3.0], [0.0, 0.0]])
    found = returns_along(objective, policy.params, directions, sizes, KEY, chunk_size=4)
    np.testing.assert_array_equal(found[1], np.broadcast_to(found[0, 0], (2, 2)))
    # About 9 a step while both rods stand; the moved policy lets them fall.
    assert (found[0, 0] > 300).all()
    assert (found[0, 1] < found[0, 0]).all()
