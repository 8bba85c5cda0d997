"""Returns under noise and pushes, against closed forms of a linear loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_loops import Feedback, from_map, linear

from fracjax import Status
from fracjax.learning import (
    returns_under_noise,
    returns_under_push,
    summarize_curve,
    tolerated_size,
)
from fracjax.learning.robustness.noise_curves import NoisyPolicy
from fracjax.rl import classic, policies, rollouts

KEY = jax.random.key(0)
# x' = x + a with a = -.5 (x + noise): x halves in every step, and half of the noise is added.
GAIN = jnp.array([[-0.5]])
HORIZON = 30
SIGMAS = jnp.array([0.0, 0.1, 0.3, 1.0])


def quadratic():
    return linear(jnp.array([[1.0]]), jnp.array([[1.0]]), lambda x, a: -jnp.sum(x**2))


def test_noise_costs_what_the_linear_loop_says(x64):
    """Exact: E Σ x² = Σ 4^-t x0² + σ²/4 Σ_t Σ_{j<t} 4^-j, over 2000 episodes."""
    environment = quadratic()
    states = jnp.ones((2000, 1))
    curve = jax.jit(returns_under_noise(environment, Feedback(), horizon=HORIZON))
    returns = curve(GAIN, states, KEY, SIGMAS)
    assert returns.shape == (4, 2000)
    powers = 0.25 ** np.arange(HORIZON)
    spread = 0.25 * sum(powers[:t].sum() for t in range(HORIZON))
    expected = -(powers.sum() + spread * np.asarray(SIGMAS) ** 2)
    np.testing.assert_allclose(returns[0], expected[0], rtol=1e-12)
    error = returns.std(axis=1) / 2000**0.5
    assert np.all(abs(returns.mean(axis=1) - expected) <= 4 * error + 1e-12)
    assert np.all(error[1:] > 0)


def test_noise_is_common_to_sizes_and_policies_and_differs_between_states(x64):
    """A reward that shows the action: its deviation is in proportion to σ, draw by draw."""
    environment = linear(jnp.array([[0.0]]), jnp.array([[0.0]]), lambda x, a: a[0])
    curve = jax.jit(returns_under_noise(environment, Feedback(), horizon=5))
    returns = curve(jnp.array([[1.0]]), jnp.zeros((3, 1)), KEY, SIGMAS)
    np.testing.assert_allclose(returns, SIGMAS[:, None] * returns[-1], atol=1e-12)
    np.testing.assert_allclose(
        curve(jnp.array([[2.0]]), jnp.zeros((3, 1)), KEY, SIGMAS), 2 * returns, atol=1e-12
    )
    assert len(np.unique(returns[-1])) == 3
    assert np.all(returns[0] == 0)


def test_noise_is_on_the_observation_and_not_on_the_memory_beside_it():
    class Shown:
        def act(self, params, observation, key=None):
            return observation

    place, sigma = jnp.arange(5.0), jnp.array(0.5)
    shown = NoisyPolicy(Shown(), num_noisy=2).act((None, sigma), place, KEY)
    np.testing.assert_array_equal(shown[2:], place[2:])
    alone = NoisyPolicy(Shown()).act((None, sigma), place[:2], KEY)
    np.testing.assert_array_equal(shown[:2], alone)
    np.testing.assert_allclose(shown[:2] - place[:2], 0.5 * jax.random.normal(KEY, (2,)), atol=1e-6)


@pytest.mark.parametrize("at_step", [0, 7])
def test_a_push_costs_what_the_linear_loop_says(x64, at_step):
    """Exact: a push u of x at step s adds -(2 x_s u + u²) Σ 4^-t, and is undone in time."""
    environment = quadratic()
    states = jnp.array([[1.0], [2.0]])
    sizes = jnp.array([0.0, 0.1, 1.0])
    curve = jax.jit(returns_under_push(environment, Feedback(), horizon=HORIZON, at_step=at_step))
    returns = curve(GAIN, states, KEY, sizes)
    tail = (0.25 ** np.arange(HORIZON - at_step)).sum()
    place = np.asarray(states[:, 0]) * 0.5**at_step
    whole = -(np.asarray(states[:, 0]) ** 2) * (0.25 ** np.arange(HORIZON)).sum()
    cost = np.asarray(returns) - whole
    signs = np.sign(-cost[1] - 0.1**2 * tail)  # of a direction in one dimension
    expected = -(2 * place * signs * np.asarray(sizes)[:, None] + np.asarray(sizes)[:, None] ** 2)
    np.testing.assert_allclose(cost, expected * tail, atol=1e-9)
    assert set(np.abs(signs)) == {1.0}


@pytest.mark.slow
def test_undisturbed_returns_are_those_of_a_rollout():
    """Bit for bit at σ = 0; termination and discount included."""
    environment = classic.cartpole_swingup(track_limit=0.6)
    policy = policies.initialize(KEY, environment.observation_size, 1, hidden=(8,))
    states = rollouts.initial_states(environment, KEY, 3)
    plain = rollouts.reward_sequences(environment, policy, horizon=80)
    rewards, alive = jax.jit(plain)(policy.params, states, KEY)
    assert not alive.all()
    expected = np.asarray(rewards, float) @ 0.97 ** np.arange(80)
    settings = {"horizon": 80, "discount": 0.97}
    noisy = returns_under_noise(environment, policy, **settings)
    pushed = returns_under_push(environment, policy, at_step=5, **settings)
    late = returns_under_push(environment, policy, at_step=79, **settings)
    sizes = jnp.array([0.0, 0.5])
    found = [jax.jit(f)(policy.params, states, KEY, sizes) for f in (noisy, pushed, late)]
    for returns in found:
        np.testing.assert_allclose(returns[0], expected, rtol=1e-5)
    assert not np.allclose(found[0][1], expected, rtol=1e-3)
    assert not np.allclose(found[1][1], expected, rtol=1e-3)
    # All episodes have ended by then: nobody is left to be pushed.
    np.testing.assert_allclose(found[2][1], expected, rtol=1e-5)


@pytest.mark.usefixtures("single_precision")
def test_a_diverged_episode_is_nan_and_a_bad_setting_is_named():
    burst = from_map(lambda x, a: x * 1e20 + a, lambda x, a: jnp.ones(()), 1)
    curve = returns_under_push(burst, Feedback(), horizon=4, at_step=2)
    returns = curve(jnp.zeros((1, 1)), jnp.ones((2, 1)), KEY, jnp.zeros(1))
    assert np.isnan(returns).all()
    for settings, name in (({"horizon": 0}, "horizon"), ({"discount": 2.0}, "discount")):
        with pytest.raises(ValueError, match=f"`{name}` must"):
            returns_under_noise(burst, Feedback(), **settings)
    with pytest.raises(ValueError, match="`at_step` must lie in"):
        returns_under_push(burst, Feedback(), horizon=4, at_step=4)


def test_summaries_pair_episodes(x64):
    """Returns that differ between episodes by far more than noise costs: the loss is exact."""
    base = jnp.asarray(np.random.default_rng(0).normal(0, 100, 40))
    returns = base - jnp.array([0.0, 1.0, 2.0])[:, None]
    plain = summarize_curve(returns, KEY, num_resamples=200)
    paired = summarize_curve(returns, KEY, relative=True, num_resamples=200)
    assert np.all(plain.stderr > 5)
    np.testing.assert_allclose(paired.value, [0, -1, -2], atol=1e-9)
    np.testing.assert_allclose(paired.stderr, 0, atol=1e-9)
    runs = summarize_curve(jnp.stack([returns, returns + 50]), KEY, num_resamples=200)
    assert runs.value.shape == (3,)
    assert np.all(runs.details["num_runs"] == 2)


def test_tolerated_size_of_a_straight_curve(x64):
    """Exact: 10 - 4 σ has lost half of what is above 2 at σ = 1; below -40 it never falls."""
    sizes = jnp.array([0.0, 0.5, 1.5, 3.0])
    returns = (10 - 4 * sizes)[:, None] + jnp.zeros(30)
    run = jax.jit(lambda table, floor: tolerated_size(sizes, table, KEY, floor=floor))
    found = run(returns, 2.0)
    np.testing.assert_allclose([found.value, found.low, found.high], 1.0, rtol=1e-9)
    assert found.status == Status.OK
    never = run(returns, -40.0)
    assert never.value == np.inf
    nothing = run(returns, 11.0)
    assert nothing.status == Status.AT_NOISE_FLOOR
    assert np.isnan(nothing.value)
    assert run(returns.at[1, 2].set(jnp.nan), 2.0).status == Status.DIVERGED
    assert run(returns[:, :1], 2.0).status == Status.TOO_FEW_POINTS


@pytest.mark.slow
def test_the_interval_of_a_tolerated_size_covers_it(x64):
    """Null: 95 % of 300; bounds are 4 standard errors below and above."""
    sizes = jnp.linspace(0, 2, 5)

    def run(seed):
        noise = jax.random.normal(jax.random.fold_in(KEY, seed), (2, 25))
        returns = (10 - 5 * sizes)[:, None] + noise[0] + 2 * sizes[:, None] * noise[1]
        found = tolerated_size(sizes, returns, jax.random.key(seed), num_resamples=400)
        return (found.low <= 1.0) & (found.high >= 1.0)

    covered = float(jax.jit(jax.vmap(run))(jnp.arange(300)).mean())
    assert 0.90 < covered < 0.995
