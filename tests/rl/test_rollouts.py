"""Returns: masking, discounts, divergence, common random numbers, bits."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import evaluation
from fracjax.rl import classic, envs, rollouts
from fracjax.rl.environment import Environment, Transition

KEY = jax.random.key(0)


class Network:
    """A tanh network; noise of scale 0.1 if there is a key."""

    def act(self, params, observation, key=None):
        hidden = observation
        for weights in params[:-1]:
            hidden = jnp.tanh(hidden @ weights)
        logits = hidden @ params[-1]
        if key is not None:
            logits = logits + 0.1 * jax.random.normal(key, logits.shape, logits.dtype)
        return jnp.tanh(logits)


def weights(environment, count=None, dtype=None, seed=0):
    rng = np.random.default_rng(seed)
    sizes = (environment.observation_size, 8, environment.action_size)
    lead = () if count is None else (count,)
    return [
        jnp.asarray(rng.normal(size=(*lead, i, o)), dtype) for i, o in itertools.pairwise(sizes)
    ]


def counter(*, last, growth=1.0):
    """Pays 1 forever, terminates when the count reaches `last`; x grows geometrically."""

    def step(state, action):
        count, x = state
        following = jnp.stack([count + 1, x * growth])
        return Transition(following, jnp.ones(()), following[0] >= last)

    return Environment(
        name="counter",
        backend="analytic",
        dt=1.0,
        observation_size=2,
        action_size=1,
        state_size=2,
        reset=lambda key: jnp.array([0.0, 1.0]),
        observe=lambda state: state,
        step=step,
        coordinates=lambda state: state,
    )


class Still:
    def act(self, params, observation, key=None):
        return jnp.zeros(1) * params


def test_the_terminating_step_pays_and_nothing_after_it():
    environment = counter(last=3)
    returns = rollouts.discounted_returns(environment, Still(), horizon=10, discounts=(1.0, 0.5))
    states = jnp.array([[0.0, 1.0], [2.0, 1.0]])  # 3 steps and 1 step to go
    found = returns(jnp.zeros(()), states[:1], KEY)
    np.testing.assert_array_equal(found, [3.0, 1.75])
    np.testing.assert_array_equal(returns(jnp.zeros(()), states, KEY), [2.0, 1.375])
    sequences = rollouts.reward_sequences(environment, Still(), horizon=4)
    rewards, alive = sequences(jnp.zeros(()), states, KEY)
    np.testing.assert_array_equal(rewards, [[1, 1, 1, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(alive, rewards > 0)


@pytest.mark.usefixtures("single_precision")
def test_a_diverged_rollout_is_nan_though_it_pays():
    environment = counter(last=1e9, growth=1e20)
    returns = rollouts.discounted_returns(environment, Still(), horizon=10, discounts=(0.9,))
    states = jnp.array([[0.0, 1.0], [0.0, 0.0]])
    assert jnp.isnan(returns(jnp.zeros(()), states, KEY)).all()
    assert jnp.isfinite(returns(jnp.zeros(()), states[1:], KEY)).all()


def test_divergence_after_termination_does_not_count():
    environment = counter(last=1, growth=1e20)
    returns = rollouts.discounted_returns(environment, Still(), horizon=10, discounts=(0.9,))
    np.testing.assert_array_equal(returns(jnp.zeros(()), jnp.array([[0.0, 1.0]]), KEY), [1.0])


def test_a_diverged_point_leaves_the_others_alone():
    environment = classic.acrobot()
    returns = rollouts.discounted_returns(environment, Network(), horizon=20, discounts=(0.9,))
    states = rollouts.initial_states(environment, KEY, 2)
    params = weights(environment, 4)
    broken = jax.tree.map(lambda leaf: leaf.at[2].set(jnp.nan), params)
    good, bad = (
        evaluation.map_points(returns, p, states, KEY, chunk_size=4) for p in (params, broken)
    )
    assert np.isnan(bad[2]).all()
    np.testing.assert_array_equal(bad[[0, 1, 3]], good[[0, 1, 3]])


@pytest.mark.parametrize("stochastic", [False, True])
def test_discounts_agree_with_the_rewards(stochastic):
    environment = classic.cartpole_swingup()
    discounts, horizon = (0.5, 0.9, 0.99, 1.0), 60
    params = weights(environment)
    states = rollouts.initial_states(environment, KEY, 5)
    setup = {"horizon": horizon, "stochastic": stochastic}
    returns = rollouts.discounted_returns(environment, Network(), discounts=discounts, **setup)
    rewards, alive = rollouts.reward_sequences(environment, Network(), **setup)(params, states, KEY)
    assert not alive.all()
    assert alive[:, 0].all()
    powers = np.asarray(discounts)[:, None] ** np.arange(horizon)
    expected = (np.asarray(rewards, float) @ powers.T).mean(axis=0)
    np.testing.assert_allclose(returns(params, states, KEY), expected, rtol=2e-5)
    objective = rollouts.expected_return(environment, Network(), states, discount=0.9, **setup)
    assert list(inspect.signature(objective).parameters) == ["params", "key"]
    np.testing.assert_allclose(objective(params, KEY), expected[1], rtol=2e-5)


def test_noise_is_common_to_points_and_differs_between_states_and_steps():
    class Noise:
        def act(self, params, observation, key=None):
            return jax.random.normal(key, (1,)) + 0 * params

    environment = counter(last=1e9)
    echo = Environment(
        **{
            **vars(environment),
            "step": lambda state, action: Transition(state, action[0], jnp.zeros((), bool)),
        }
    )
    sequences = rollouts.reward_sequences(echo, Noise(), horizon=6, stochastic=True)
    states = jnp.zeros((4, 2))
    first, _ = sequences(jnp.zeros(()), states, KEY)
    other, _ = sequences(jnp.ones(()), states, KEY)
    fewer, _ = sequences(jnp.zeros(()), states[:2], KEY)
    np.testing.assert_array_equal(first, other)
    np.testing.assert_array_equal(first[:2], fewer)
    assert len(np.unique(first)) == first.size
    assert not np.array_equal(first, sequences(jnp.zeros(()), states, jax.random.key(1))[0])


def test_a_deterministic_policy_ignores_the_key():
    environment = classic.pendulum()
    returns = rollouts.discounted_returns(environment, Network(), horizon=10, discounts=(0.9,))
    states = rollouts.initial_states(environment, KEY, 2)
    params = weights(environment)
    results = [returns(params, states, jax.random.key(seed)) for seed in (0, 1)]
    np.testing.assert_array_equal(*results)


def test_initial_states_do_not_depend_on_their_number():
    environment = classic.acrobot()
    few, many = (rollouts.initial_states(environment, KEY, count) for count in (3, 5))
    np.testing.assert_array_equal(few, many[:3])
    assert len(np.unique(many, axis=0)) == 5


def test_the_closed_loop_and_its_tracked_form_follow_the_environment():
    environment = classic.cartpole_swingup()
    params = weights(environment)
    state = jnp.array([2.0, 3.0, 2.0, 0.0])  # about to leave the track
    step = jax.jit(rollouts.closed_loop(environment, Network(), params))
    tracked_step = jax.jit(rollouts.tracked_loop(environment, Network(), params))
    sequences = rollouts.reward_sequences(environment, Network(), horizon=60)
    rewards, alive = sequences(params, state[None], KEY)
    assert not alive.all()
    tracked, lived = rollouts.track(state), []
    for index in range(60):
        lived.append(bool(tracked.alive))
        state, tracked = step(state), tracked_step(tracked)
        assert jnp.allclose(tracked.state, state, rtol=1e-4, atol=1e-4)
        assert jnp.isclose(tracked.reward, rewards[0, index], rtol=1e-4, atol=1e-5)
    assert lived == alive[0].tolist()


def test_the_derivative_of_a_return_equals_finite_differences(x64):
    """Hypothesis: to 1e-6 over 100 steps of the acrobot from two states."""
    environment = classic.acrobot()
    params = weights(environment)
    direction = weights(environment, seed=1)
    states = rollouts.initial_states(environment, KEY, 2)
    objective = rollouts.expected_return(environment, Network(), states, horizon=100, discount=0.99)
    along = jax.jit(
        lambda a: objective(jax.tree.map(lambda p, d: p + a * d, params, direction), KEY)
    )
    _, slope = jax.jvp(along, (0.0,), (1.0,))
    h = 1e-6
    assert np.isclose(slope, (along(h) - along(-h)) / (2 * h), rtol=1e-6)
    assert abs(slope) > 1e-3


def test_bits_do_not_depend_on_devices_or_on_the_number_of_points():
    """Hypothesis: at equal chunk size, 1 and 2 devices and 8 or 13 points agree bitwise."""
    available = jax.local_devices()
    assert len(available) >= 2  # `conftest.py` asks for them
    environment = classic.acrobot()
    returns = rollouts.discounted_returns(environment, Network(), horizon=300, discounts=(1.0,))
    states = rollouts.initial_states(environment, KEY, 2)
    params = weights(environment, 13)

    def run(count, number_of_devices, chunks_per_call):
        return evaluation.map_points(
            returns,
            jax.tree.map(lambda leaf: leaf[:count], params),
            states,
            KEY,
            chunk_size=4,
            chunks_per_call=chunks_per_call,
            devices=available[:number_of_devices],
        )

    one = run(13, 1, 1)
    np.testing.assert_array_equal(one, run(13, 2, 2))
    np.testing.assert_array_equal(one[:8], run(8, 2, 1))


def test_arguments_are_checked():
    environment = classic.pendulum()
    for horizon, discounts in ((0, (0.9,)), (5, ()), (5, (1.1,))):
        with pytest.raises(ValueError, match="Argument"):
            rollouts.discounted_returns(
                environment, Network(), horizon=horizon, discounts=discounts
            )
    with pytest.raises(ValueError, match="count"):
        rollouts.initial_states(environment, KEY, 0)


@pytest.mark.brax
def test_a_bad_policy_returns_less_where_every_step_pays_one():
    """Brax's inverted pendulum pays 1 always, so only termination tells policies apart."""

    class Linear:
        def act(self, params, observation, key=None):
            return jnp.clip(observation @ params, -1, 1)[None]

    environment = envs.make("inverted_pendulum", backend="spring")
    returns = rollouts.discounted_returns(environment, Linear(), horizon=100, discounts=(1.0,))
    states = rollouts.initial_states(environment, KEY, 2)
    good, bad = jnp.array([0.0, 1.0, 0.0, 0.2]), jnp.array([0.0, -3.0, 0.0, 0.0])
    found = jax.jit(jax.vmap(lambda gains: returns(gains, states, KEY)))(jnp.stack([good, bad]))
    assert found[0, 0] == 100
    assert 1 <= found[1, 0] < 50
