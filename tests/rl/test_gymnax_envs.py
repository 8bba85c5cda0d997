"""gymnax's environments through the environment protocol."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning import closed_loop_exponents
from fracjax.rl import envs, gymnax_envs, initial_states, initialize, rollouts

KEY = jax.random.PRNGKey(0)
ENTRIES = [entry for entry in envs.entries() if entry.source == "gymnax"]
NAMES = [entry.name for entry in ENTRIES]
DISCRETE = {"Acrobot-v1", "CartPole-v1", "MountainCar-v0"}


def actions_at(size, time):
    """Numbers in [-1, 1] whose argmax changes with time."""
    return 0.9 * jnp.cos(time + 2.0 * jnp.arange(size))


def test_the_registry_lists_what_there_is():
    assert set(NAMES) == set(gymnax_envs.COORDINATES)
    with pytest.raises(ValueError, match="`name` must be one of Acrobot-v1"):
        gymnax_envs.create("Pong-misc")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entries_tell_the_truth(entry):
    environment = envs.make(entry.name)
    for field in ("name", "observation_size", "action_size", "state_size"):
        assert getattr(environment, field) == getattr(entry, field)
    assert (environment.backend, environment.dt) == (entry.default_backend, entry.dt)


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("name", NAMES)
def test_a_trajectory_is_the_one_of_gymnaxs_own_step(name):
    """Hypothesis: to rounding of the compiled program, until gymnax resets by itself."""
    own, params = gymnax.make(name)
    environment = envs.make(name)
    observation, state = own.reset(KEY, params)
    space = own.action_space(params)

    def theirs(state, time):
        action = actions_at(environment.action_size, time)
        if name in DISCRETE:
            action = jnp.argmax(action)
        else:
            action = jnp.asarray(space.high) * action  # boxes are symmetric
        observation, state, reward, terminated, truncated, _ = own.step(KEY, state, action, params)
        return state, (observation, reward, terminated | truncated)

    def ours(state, time):
        transition = environment.step(state, actions_at(environment.action_size, time))
        seen = environment.observe(transition.state)
        return transition.state, (seen, transition.reward, transition.done)

    times = jnp.arange(12.0)
    first = environment.reset(KEY)
    np.testing.assert_array_equal(environment.observe(first), observation)
    state = jax.tree.map(jnp.asarray, state)
    expected = jax.jit(lambda state: jax.lax.scan(theirs, state, times)[1])(state)
    found = jax.jit(lambda state: jax.lax.scan(ours, state, times)[1])(first)
    assert not expected[2].any()  # nothing was reset
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_tangents_equal_finite_differences(x64, name):
    """Measured: 8e-10 or less over 20 steps, where gymnax's own tangents are zero."""
    environment = envs.make(name, dtype="float64")
    template = environment.reset(KEY)
    start = environment.coordinates(template)
    np.testing.assert_array_equal(
        environment.coordinates(environment.from_coordinates(start, template)), start
    )
    direction = jnp.asarray(np.random.default_rng(0).normal(size=start.shape))

    def end(coordinates):
        def advance(state, time):
            action = actions_at(environment.action_size, time)
            return environment.step(state, action).state, None

        state = environment.from_coordinates(coordinates, template)
        state, _ = jax.lax.scan(advance, state, jnp.arange(20.0))
        return jnp.concatenate([environment.coordinates(state), environment.observe(state)])

    run = jax.jit(lambda coordinates: jax.jvp(end, (coordinates,), (direction,)))
    h = 1e-6
    (plus, _), (minus, _) = run(start + h * direction), run(start - h * direction)
    found, expected = run(start)[1], (plus - minus) / (2 * h)
    assert jnp.linalg.norm(found) > 0.1
    assert jnp.linalg.norm(found - expected) < 1e-7 * jnp.linalg.norm(found)


def test_a_choice_is_made_by_argmax():
    """Hypothesis: the largest output decides, whatever the others, and the first of equal ones."""
    environment = envs.make("Acrobot-v1")
    state = environment.reset(KEY)

    step = jax.jit(environment.step)

    def after(*action):
        return environment.coordinates(step(state, jnp.array(action)).state)

    np.testing.assert_array_equal(after(-1.0, -0.9, -0.8), after(0.1, 0.2, 0.9))
    np.testing.assert_array_equal(after(0.0, 0.0, 0.0), after(1.0, -1.0, -1.0))
    speeds = [float(after(*row)[3]) for row in np.eye(3).tolist()]
    assert speeds[0] < speeds[1] < speeds[2]  # torques -1, 0, 1


def test_options_reach_the_environment():
    weak, strong = (envs.make("Pendulum-v1", max_torque=limit) for limit in (1.0, 2.0))
    state = weak.reset(KEY)
    start = weak.coordinates(state)[1]
    rest = weak.coordinates(weak.step(state, jnp.zeros(1)).state)[1]
    pushed = [env.coordinates(env.step(state, jnp.ones(1)).state)[1] for env in (weak, strong)]
    # 3 u dt/(m l²) for u of 1 and 2 N m.
    np.testing.assert_allclose(np.array(pushed) - rest, [0.15, 0.3], atol=1e-6)
    assert rest != start
    with pytest.raises(ValueError, match=r"EnvParams.*torque_limit"):
        envs.make("Pendulum-v1", torque_limit=1.0)


def test_exponents_of_a_closed_loop(x64):
    """Exact: without friction and clips, a swing loses no volume under semi-implicit steps."""
    environment = envs.make("Pendulum-v1", dtype="float64", max_torque=0.0)
    policy = initialize(jax.random.key(0), 3, 1, hidden=(2,)).astype("float64")
    states = initial_states(environment, KEY, 3)
    find = jax.jit(closed_loop_exponents(environment, policy, num_steps=100))
    found = find(policy.params, states, KEY)
    assert abs(found.total.value) < 1e-10
    assert np.isfinite(found.largest.value)


def test_policies_of_preferences_earn_their_reward():
    """Hypothesis: leaning the way the pole falls balances it longer than pushing to one side."""
    environment = envs.make("CartPole-v1")

    class Leaning:
        def act(self, params, observation, key=None):
            fall = params * (observation[2] + 0.5 * observation[3])
            return jnp.stack([-fall, fall])

    states = initial_states(environment, KEY, 4)
    returns = rollouts.discounted_returns(environment, Leaning(), horizon=200, discounts=(1.0,))
    good, idle = (float(jax.jit(returns)(gain, states, KEY)[0]) for gain in (1.0, 0.0))
    assert idle < 15 < 150 < good
