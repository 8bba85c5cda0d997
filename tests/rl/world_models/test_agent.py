"""The agent's pure functions, and its loop as an environment with memory."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.rl import classic, rollouts
from fracjax.rl.world_models.agent import Agent
from fracjax.rl.world_models.memory import (
    FilteringPolicy,
    memory_size,
    split_memory,
    with_memory,
)
from fracjax.rl.world_models.networks import AgentSettings

KEY = jax.random.key(0)
SIZES = AgentSettings(deterministic=6, hidden=8, groups=3, classes=4, bins=11)
PENDULUM = classic.pendulum()
AGENT = Agent(3, 1, SIZES)
PARAMS = jax.jit(AGENT.init)(KEY)


def test_shapes_and_what_starts_at_zero():
    @jax.jit
    def outputs(params):
        model, belief, action = params["model"], AGENT.blank(5), jnp.zeros((5, 1))
        code = AGENT.encode(model, jnp.ones((5, 3)))
        following, shares = AGENT.filter(model, belief, action, code, jnp.full((5, 3), 0.4))
        features = following.features
        return {
            "shares": shares,
            "following": following,
            "decoded": AGENT.decode(model, features),
            "continue": AGENT.continue_logit(model, features),
            "reward": AGENT.reward(model, features),
            "value": AGENT.value(params["critic"], features),
            "action": AGENT.act(params["actor"], features, 100 * jnp.ones((5, 1))),
        }

    found = outputs(PARAMS)
    assert found["shares"].shape == (5, 3, 4)
    assert found["following"].recurrent.shape == (5, 6)
    assert found["following"].latent.shape == (5, 12)
    assert found["decoded"].shape == (5, 3)
    assert found["continue"].shape == (5,)
    np.testing.assert_array_equal(found["reward"], np.zeros(5))
    np.testing.assert_array_equal(found["value"], np.zeros(5))
    np.testing.assert_array_equal(found["action"], np.ones((5, 1)))


def test_density_and_entropy_of_actions():
    features = jnp.ones(SIZES.deterministic + SIZES.stochastic)
    mean, std = AGENT.action_moments(PARAMS["actor"], features)
    grid = jnp.linspace(-6, 6, 2001)[:, None]
    density = jnp.exp(AGENT.log_density(PARAMS["actor"], features, grid))
    step = 12 / 2000
    np.testing.assert_allclose(density.sum() * step, 1.0, rtol=1e-4)
    np.testing.assert_allclose(jnp.sum(grid[:, 0] * density) * step, mean[0], atol=1e-4)
    entropy = AGENT.entropy(PARAMS["actor"], features)
    np.testing.assert_allclose(-jnp.sum(density * jnp.log(density)) * step, entropy, rtol=1e-4)
    np.testing.assert_allclose(entropy, 0.5 * math.log(2 * math.pi * math.e * std[0] ** 2))


def test_imagining_is_filtering_when_the_posterior_is_the_prior():
    """With the prior's weights, and none on the observation, both take the same from a draw."""
    weights = dict(PARAMS["model"]["params"])
    prior, posterior = weights["prior_logits"], dict(weights["posterior_logits"])
    kernel = jnp.zeros_like(posterior["dense_0"]["kernel"])
    kernel = kernel.at[: SIZES.deterministic].set(prior["dense_0"]["kernel"])
    weights["posterior_logits"] = {**prior, "dense_0": {"kernel": kernel}}
    model = {"params": weights}

    @jax.jit
    def step(model, seen, imagined, action, observation, uniform):
        code = AGENT.encode(model, observation)
        seen, _ = AGENT.filter(model, seen, action, code, uniform)
        return seen, AGENT.imagine(model, imagined, action, uniform)

    uniform = np.random.default_rng(0).uniform(size=(5, 3)).astype(np.float32)
    for weighed, same in ((model, True), (PARAMS["model"], False)):
        imagined = seen = AGENT.blank()
        for time in range(5):
            observation = jnp.array([1.0, -2.0, 3.0 * time])
            action = jnp.array([0.3 * time - 0.5])
            seen, imagined = step(weighed, seen, imagined, action, observation, uniform[time])
        close = np.allclose(seen.recurrent, imagined.recurrent, atol=1e-6)
        assert close == same
        if same:
            np.testing.assert_allclose(seen.latent, imagined.latent, atol=1e-6)


def test_the_loop_remembers_what_the_agent_filters():
    """The environment with memory and its policy, against the filter written out."""
    loop, policy = with_memory(PENDULUM, AGENT), FilteringPolicy(AGENT)
    state = loop.reset(KEY)
    assert state.memory.shape == (memory_size(AGENT),) == (6 + 12 + 1,)

    @jax.jit
    def step(params, state, physical, belief, action):
        code = AGENT.encode(params["model"], PENDULUM.observe(physical))
        belief, _ = AGENT.filter(params["model"], belief, action, code)
        action = AGENT.act(params["actor"], belief.features)
        physical = PENDULUM.step(physical, action).state
        acted = policy.act(params, loop.observe(state))
        drawn = policy.act(params, loop.observe(state), KEY)
        return loop.step(state, acted).state, physical, belief, action, drawn - acted

    physical, belief, action = PENDULUM.reset(KEY), AGENT.blank(), jnp.zeros(1)
    for _ in range(4):
        state, physical, belief, action, gap = step(PARAMS, state, physical, belief, action)
    np.testing.assert_allclose(state.physical, physical, rtol=1e-5, atol=1e-6)
    found, last = split_memory(AGENT, state.memory)
    np.testing.assert_allclose(found.recurrent, belief.recurrent, atol=1e-6)
    np.testing.assert_allclose(found.latent, belief.latent, atol=1e-6)
    np.testing.assert_allclose(last, action, atol=1e-6)
    assert np.abs(gap).max() > 1e-3


def test_coordinates_hold_the_memory_or_keep_it():
    for distances, size in (("physical", 2), ("full", 2 + 19)):
        loop = with_memory(PENDULUM, AGENT, distances=distances)
        state = loop.reset(KEY)._replace(memory=jnp.arange(19.0))
        values = loop.coordinates(state)
        assert values.shape == (loop.state_size,) == (size,)
        moved = loop.from_coordinates(values + 1, state)
        np.testing.assert_allclose(loop.coordinates(moved), values + 1)
        expected = state.memory + (distances == "full")
        np.testing.assert_allclose(moved.memory, expected)


def test_tangents_of_the_mode_are_those_of_given_actions(x64):
    """The frictionless pendulum keeps volume, to the integrator, where no tangent reaches it.

    With mean latents the observation moves the action, and volume is not kept.
    """
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS)
    loop = with_memory(classic.pendulum(dtype="float64"), AGENT)

    def volume(choice):
        step = rollouts.closed_loop(loop, FilteringPolicy(AGENT, choice), params)

        def grow(state):
            record = finite_time_growth(
                step,
                state,
                num_steps=60,
                num_exponents=2,
                coordinates=loop.coordinates,
                lift=loop.from_coordinates,
            )
            return record.growth.sum()

        return float(jax.jit(grow)(loop.reset(KEY)))

    assert abs(volume("mode")) < 1e-4
    assert abs(volume("mean")) > 1e-2


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"groups": 0}, "groups"),
        ({"classes": 1}, "classes"),
        ({"bins": 10}, "bins"),
        ({"uniform_mix": 1.0}, "uniform_mix"),
        ({"smallest_std": 0.0}, "smallest_std"),
    ],
)
def test_bad_sizes_are_named(settings, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        AgentSettings(**settings)


def test_an_agent_of_other_sizes_is_refused():
    with pytest.raises(ValueError, match="must have the sizes"):
        with_memory(classic.acrobot(), AGENT)
