"""A filter in front of a linear loop is a larger linear loop; held actions are longer steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_loops import Feedback, from_map, linear

from fracjax.learning import closed_loop_exponents
from fracjax.rl import classic, rollouts
from fracjax.rl.wrappers import Smoothed, repeated_actions, smoothed_actions

KEY = jax.random.key(0)
MATRIX = np.array([[1.1, 0.3], [0.0, 0.8]])
COLUMN = np.array([[0.5], [1.0]])
GAINS = np.array([[-0.4, -0.2]])


def test_a_filter_adds_its_memory_to_the_exponents(x64):
    """(x, a)' = (A x + B a', a') with a' = (1 - c) a + c K x: eigenvalues of a 3 × 3 matrix."""
    share = 0.3
    environment = smoothed_actions(linear(jnp.asarray(MATRIX), jnp.asarray(COLUMN)), share)
    memory = np.hstack([share * GAINS, [[1 - share]]])
    upper = np.hstack([MATRIX, np.zeros((2, 1))]) + COLUMN @ memory
    logs = np.sort(np.log(np.abs(np.linalg.eigvals(np.vstack([upper, memory])))))[::-1]
    states = rollouts.initial_states(environment, KEY, 3)
    measure = closed_loop_exponents(environment, Feedback(), num_steps=100, num_transient=300)
    found = jax.jit(measure)(jnp.asarray(GAINS), states, KEY)
    # Two of them are a complex pair: only their sum and the third converge fast.
    np.testing.assert_allclose(found.total.value, logs.sum(), atol=1e-9)
    np.testing.assert_allclose(found.spectrum.value, logs, atol=0.02)


def test_a_filter_is_part_of_the_state():
    plain = classic.pendulum()
    environment = smoothed_actions(plain, 0.25, observed=True)
    assert (environment.observation_size, environment.state_size) == (4, 3)
    state = environment.reset(KEY)
    np.testing.assert_array_equal(state.state, plain.reset(KEY))
    action = jnp.array([0.8])
    moved = environment.step(environment.step(state, action).state, -action)
    applied = 0.75 * 0.25 * 0.8 - 0.25 * 0.8
    np.testing.assert_allclose(moved.state.action, applied, rtol=1e-6)
    first = plain.step(state.state, 0.25 * action)
    expected = plain.step(first.state, jnp.array([applied]))
    np.testing.assert_allclose(moved.state.state, expected.state, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(moved.reward, expected.reward, rtol=1e-6)
    np.testing.assert_allclose(environment.observe(moved.state)[-1], applied, rtol=1e-6)
    assert environment.energy(moved.state) == plain.energy(moved.state.state)
    place = environment.coordinates(moved.state)
    again = environment.from_coordinates(place, state)
    assert isinstance(again, Smoothed)
    np.testing.assert_array_equal(environment.coordinates(again), place)
    open_ = smoothed_actions(plain, 1.0).step(state, action)
    np.testing.assert_array_equal(open_.state.state, plain.step(state.state, action).state)


def test_held_actions_pay_until_the_end():
    """x' = x + a, ending beyond 2.5, reward x + a: of 1 + 2 + 3 + 4 the last is not paid."""
    plain = from_map(lambda x, a: x + a, lambda x, a: (x + a)[0], 1, done=lambda x: x[0] > 2.5)
    environment = repeated_actions(plain, 4)
    moved = jax.jit(environment.step)(jnp.zeros(1), jnp.ones(1))
    assert moved.reward == 6
    assert moved.done
    assert environment.dt == 4 * plain.dt
    alive = environment.step(jnp.zeros(1), 0.5 * jnp.ones(1))
    assert alive.reward == 5
    assert not alive.done


def test_mistakes_are_named():
    for coefficient in (0.0, 1.5):
        with pytest.raises(ValueError, match="`coefficient` must"):
            smoothed_actions(classic.pendulum(), coefficient)
    with pytest.raises(ValueError, match="`repeats` must"):
        repeated_actions(classic.pendulum(), 0)
