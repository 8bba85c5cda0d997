"""The mismatch of two simulators whose difference is known in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_loops import Feedback, from_map, linear

from fracjax._types import Status
from fracjax.rl.dynamics_mismatch import _mean, dynamics_mismatch

KEY = jax.random.key(0)


class MapReference:
    """A map in NumPy behind the interface of a simulator."""

    def __init__(self, move, reward=lambda x, a: float(x.sum()), done=lambda x: False):
        self.move, self.reward, self.done = move, reward, done

    def place(self, coordinates):
        self.state = np.array(coordinates)
        return self.state

    def step(self, action):
        before, self.state = self.state, self.move(self.state, action)
        return self.state, self.state, self.reward(before, action), self.done(self.state)


def compare(environment, reference, gains, **options):
    settings = {"num_states": 6, "num_steps": 12} | options
    return dynamics_mismatch(
        environment, reference, Feedback(), jnp.asarray(gains), KEY, **settings
    )


def test_a_linear_loop_with_one_wrong_slope(x64):
    """x' = 2x against x' = 2(1 + ε)x: every number has a closed form.

    One step is wrong by 2εx and moves by (1 + 2ε)x; after t steps the distance is
    2^t((1 + ε)^t - 1)x, about εt2^t x, which grows by ln 2 and by what the errors add up to.
    """
    slope, error, steps = 2.0, 1e-6, 12
    environment = linear(jnp.array([[slope]]), jnp.zeros((1, 1)))
    reference = MapReference(lambda x, a: slope * (1 + error) * x)
    # No tolerance is reached, so that growth is measured over all steps.
    found = compare(environment, reference, [[0.0]], tolerance=1.0)
    expected = slope * error / (slope * (1 + error) - 1)
    np.testing.assert_allclose(found.one_step.value, expected, rtol=1e-9)
    np.testing.assert_allclose(found.one_step.stderr, 0, atol=1e-15)
    assert found.one_step.status == Status.OK
    assert found.observation_error == 0
    assert found.reward_error == 0
    starts = found.return_reference.details["states"] / (slope**steps - 1)
    size = error * np.sqrt((slope ** (2 * np.arange(1, steps + 1))).mean() * (starts**2).mean())
    distances = error * np.arange(1, steps + 1) * slope ** np.arange(1, steps + 1)
    first = (starts[:, None] * distances >= size).argmax(1)
    assert first.min() > 5  # errors of the last steps are the largest
    added = np.log(steps / (first + 1)) / (steps - 1 - first)
    growth = (math.log(slope) + added) / environment.dt
    np.testing.assert_allclose(found.growth.details["states"], growth, rtol=1e-5)
    np.testing.assert_allclose(found.twin_growth.value, math.log(slope) / 0.5, rtol=1e-6)
    assert found.diverged == 0
    assert found.divergence_steps.value == steps
    assert found.divergence_steps.status == Status.NOT_CONVERGED
    start = found.one_step.details["states"].shape
    assert start == (6,)
    both = found.return_environment.value, found.return_reference.value
    np.testing.assert_allclose(np.subtract(*both), found.return_difference.value, rtol=1e-6)
    longer = slope ** np.arange(steps) @ ((1 + error) ** np.arange(steps) - 1)
    ratio = longer / (slope ** np.arange(steps)).sum()
    np.testing.assert_allclose(-found.return_difference.value / both[0], ratio, rtol=1e-6)


def test_divergence_comes_when_the_tolerance_is_passed(x64):
    """A constant push of ε against none in x' = x: the distance after t steps is tε."""
    environment = from_map(lambda x, a: x, lambda x, a: x[0], 2)
    reference = MapReference(lambda x, a: x + np.array([0.03, 0.0]))
    found = compare(environment, reference, [[0.0, 0.0]], tolerance=0.5, num_steps=20)
    first = math.floor(found.tolerance / 0.03 + 1e-9) + 1
    assert 1 < first < 20
    np.testing.assert_array_equal(found.divergence_steps.details["states"], first)
    assert found.diverged == 1
    assert found.divergence_steps.status == Status.OK
    np.testing.assert_allclose(found.one_step.value, 1, rtol=1e-12)
    np.testing.assert_allclose(found.coordinate_error, [0.03, 0], atol=1e-12)
    np.testing.assert_allclose(found.twin_growth.value, 0, atol=1e-6)


def test_rewards_and_observations_are_compared_step_by_step(x64):
    environment = from_map(lambda x, a: 0.9 * x, lambda x, a: x[0] + a[0], 1)
    reference = MapReference(lambda x, a: 0.9 * x, lambda x, a: float(x[0] + a[0] + 0.25))
    found = compare(environment, reference, [[0.5]])
    np.testing.assert_allclose(found.reward_error, 0.25, atol=1e-12)
    np.testing.assert_allclose(found.return_difference.value, -12 * 0.25, atol=1e-10)
    np.testing.assert_allclose(found.return_difference.stderr, 0, atol=1e-10)
    assert found.one_step.value < 1e-15


def test_nothing_counts_after_the_end_of_an_episode(x64):
    """Both count down from 4.x and end below 2.5; beyond that the reference explodes."""

    def move(x, a):
        return np.where(x > 2.5, x - 1, 1e6 * x)

    environment = from_map(
        lambda x, a: x - 1,
        lambda x, a: jnp.ones(()),
        1,
        done=lambda x: x[0] < 2.5,
        starts=(4.0, 4.4),
    )
    reference = MapReference(move, lambda x, a: 1.0, lambda x: bool(x[0] < 2.5))
    found = compare(environment, reference, [[0.0]])
    assert found.one_step.value < 1e-14
    np.testing.assert_array_equal(found.return_reference.details["states"], 2)
    assert found.length_difference.value == 0
    later = from_map(
        lambda x, a: x - 1,
        lambda x, a: jnp.ones(()),
        1,
        done=lambda x: x[0] < 1.5,
        starts=(4.0, 4.4),
    )
    found = compare(later, reference, [[0.0]])
    assert found.length_difference.value == 1
    assert found.return_difference.value == 1


def test_a_simulator_that_breaks_is_marked():
    environment = from_map(lambda x, a: x / 0, lambda x, a: x[0], 1)
    found = compare(environment, MapReference(lambda x, a: 0.9 * x), [[0.0]])
    assert found.one_step.status == Status.TOO_FEW_POINTS  # no state gave a finite number
    assert np.isinf(found.one_step.details["states"]).all()
    assert found.diverged == 1
    half = from_map(lambda x, a: jnp.where(x > 1, x / 0, 0.8 * x), lambda x, a: x[0], 1)
    found = compare(half, MapReference(lambda x, a: 0.9 * x), [[0.0]], num_states=20)
    assert found.one_step.status == Status.DIVERGED
    assert str(found).count("\n") >= 11


def test_intervals_cover_the_mean():
    """Normal values: nominal .95, within four standard errors over 1000 seeds."""
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(1000, 8))
    found = [_mean(row) for row in draws]
    covered = np.mean([(e.low <= 3) & (3 <= e.high) for e in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 1000)


def test_bad_settings_are_named():
    environment = linear(jnp.array([[0.5]]), jnp.zeros((1, 1)))
    reference = MapReference(lambda x, a: x)
    for options in ({"num_states": 1}, {"num_steps": 1}, {"tolerance": 0.0}):
        with pytest.raises(ValueError, match="must be at least 2"):
            compare(environment, reference, [[0.0]], **options)
