"""Training runs followed by exponents: failures, and cheap parts to the end."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from fracjax.reproduce import fractal_along_training, fractal_slices, fractal_training
from fracjax.reproduce.fractal_along_training import common_scale, failures
from fracjax.rl import classic, many_seeds
from fracjax.rl.networks import PolicyNetwork
from fracjax.rl.trained_seeds import TrainedSeeds

KEY = jax.random.key(0)


def runs(returns):
    returns = np.asarray(returns, np.float32)
    return TrainedSeeds(
        network=PolicyNetwork(1, 1, (2,)),
        params={"a": np.full((2, returns.shape[1], 3), 2.0)},
        normalizer=None,
        steps=np.arange(returns.shape[1]),
        state_returns=returns,
        state_discounted=returns,
        environment="none",
        backend="none",
        training={},
    )


def test_failures_are_large_sure_drops_and_divergence():
    noise = np.array([-1.0, -0.5, 0.5, 1.0])
    table = np.array([[0, 100, 70, 90, 0], [0, 50, 45, 100, 60]])[:, :, None] + noise
    table[0, 4] = np.nan  # diverges
    table[1, 4] += 60 * np.array([-3, -1, 1, 3])  # large on average, but not surely
    found = failures(runs(table))
    assert found.tolist() == [[False, True, False, True], [False, False, False, False]]
    assert common_scale([runs(table)]) == pytest.approx(0.2)


def test_parts_at_other_sizes_are_empty():
    for module, name in (
        (fractal_training, "training: hopper"),
        (fractal_slices, "slices: hopper"),
    ):
        assert module.PARTS[name](KEY, "quick").rows == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name"),
    [(fractal_training, "training: pendulum"), (fractal_slices, "slices: acrobot")],
)
def test_a_part_runs_to_its_end(x64, module, name):
    found = module.PARTS[name](KEY, "quick")
    assert all(row.agrees for row in found.rows), [row for row in found.rows if not row.agrees]
    assert all(math.isfinite(row.value) for row in found.rows)
    for draw in found.figures.values():
        assert draw().axes


@pytest.mark.slow
def test_what_is_measured_along_training_is_that_of_single_policies(x64):
    """λ of a snapshot equals `closed_loop_exponents` of its policy."""
    from fracjax.learning import closed_loop_exponents
    from fracjax.rl.rollouts import initial_states

    environment = classic.pendulum(dtype="float64")
    with jax.enable_x64(False):
        single = classic.pendulum(dtype="float32")
    seeds = many_seeds.train_seeds(
        single, num_seeds=2, num_timesteps=4096, num_snapshots=1, episode_length=50
    )
    course = fractal_along_training.follow(
        environment,
        seeds,
        KEY,
        discount=0.99,
        measured_at=(0.9, 0.99),
        horizon=200,
        num_directions=8,
        num_return_states=1,
        num_states=4,
        largest_scale=common_scale([seeds]),
    )
    assert course.own == 1
    assert course.holder.value.shape == (2, 2, 2)
    policy = seeds.policy(1, 1).astype("float64")
    states = initial_states(environment, jax.random.split(KEY)[0], 4)
    find = closed_loop_exponents(environment, policy, num_steps=200, num_exponents=1)
    expected = find(policy.params, states, KEY).largest
    # Other first frames: equal up to the transient of a tangent.
    np.testing.assert_allclose(course.exponent.value[1, 1], expected.value, atol=0.03)
    names = {field.name for field in dataclasses.fields(course)}
    assert names >= {"exponent", "holder", "predicted"}
