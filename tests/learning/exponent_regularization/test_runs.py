"""Training with a penalty does what the penalty says, and goes on after an interruption."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_loops import from_map

from fracjax.learning.exponent_regularization.runs import fine_tune, train_policies
from fracjax.learning.exponent_regularization.short_horizon import TrainingSettings
from fracjax.rl import policies

KEY = jax.random.key(0)
# Without action the exponent is ln 1.3; the reward knows nothing of it.
LOOP = from_map(
    lambda x, a: 1.3 * jnp.tanh(x) + a,
    lambda x, a: -jnp.sum((x - 3) ** 2) + 0 * a[0],
    1,
    starts=(-0.2, 0.2),
)
POLICY = policies.initialize(KEY, 1, 1, hidden=(4,), head="deterministic")
SMALL = {
    "num_environments": 4,
    "horizon": 4,
    "episode_length": 8,
    "penalty_steps": 6,
    "penalty_transient": 0,
    "penalty_states": 4,
    "hidden": (4,),
    "critic_updates": 2,
}


class Stop(Exception):
    """An interruption."""


def stop_at(number):
    def progress(done, total):
        if done >= number:
            raise Stop

    return progress


def seeds(count):
    return jax.vmap(POLICY.network.init)(jax.random.split(KEY, count))


@pytest.mark.slow
def test_the_penalty_alone_takes_the_growth_away(tmp_path):
    """Task weight 0: weight 1 brings λ from about ln 1.3 to the target 0, weight 0 does nothing.

    A run that was interrupted halfway goes on to the same bits.
    """
    settings = TrainingSettings(num_updates=200, task=0.0, effort=0.0, learning_rate=0.02, **SMALL)
    first = jax.tree.map(lambda leaf: 0.3 * leaf, seeds(3))
    given = {"weights": (0.0, 1.0), "settings": settings, "updates_per_call": 100}
    found = train_policies(LOOP, POLICY, first, KEY, **given)
    assert found.log.exponent.shape == (2, 3, 200)
    before, after = found.log.exponent[..., 0], found.log.exponent[..., -20:].mean(axis=-1)
    assert before[0].mean() > 0.4 * math.log(1.3)
    np.testing.assert_array_equal(before[0], before[1])
    assert np.all(after[1] < 0.02)
    for old, new in zip(jax.tree.leaves(first), jax.tree.leaves(found.params), strict=True):
        np.testing.assert_array_equal(new[0], old)
    np.testing.assert_allclose(found.log.gradient[0], 0)

    file = tmp_path / "run.npz"
    with pytest.raises(Stop):
        train_policies(LOOP, POLICY, first, KEY, file=file, on_progress=stop_at(100), **given)
    again = train_policies(LOOP, POLICY, first, KEY, file=file, **given)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="`file` must"):
        train_policies(LOOP, POLICY, first, KEY, file=file, **{**given, "weights": (0.0, 2.0)})


@pytest.mark.slow
def test_the_return_is_maximised_through_the_value():
    """x' = 1.3 tanh x + a, reward -(x - 3)²: the best is to push, and rewards rise to -0.5."""
    settings = TrainingSettings(num_updates=200, learning_rate=0.02, effort=0.0, **SMALL)
    found = train_policies(
        LOOP, POLICY, seeds(2), KEY, weights=(0.0,), settings=settings, updates_per_call=100
    )
    assert np.all(found.log.reward[0, :, :5].mean(axis=-1) < -5)
    assert np.all(found.log.reward[0, :, -20:].mean(axis=-1) > -3)
    assert np.all(found.log.critic[0, :, -20:].mean(axis=-1) < found.log.critic[0, :, 0])


@pytest.mark.slow
def test_a_warmup_moves_the_value_alone():
    settings = TrainingSettings(num_updates=4, start_spread=(0.5,), warmup=4, **SMALL)
    first = seeds(2)
    found = train_policies(LOOP, POLICY, first, KEY, weights=(3.0,), settings=settings)
    for old, new in zip(jax.tree.leaves(first), jax.tree.leaves(found.params), strict=True):
        np.testing.assert_array_equal(new[0], old)
    assert np.all(found.log.gradient > 0)
    assert np.all(found.log.critic[..., -1] != found.log.critic[..., 0])


@pytest.mark.slow
def test_fine_tuning_starts_from_one_policy():
    """The anchor holds: at a large weight of it actions stay, whatever the return says."""
    settings = TrainingSettings(num_updates=20, anchor=1e4, learning_rate=1e-3, **SMALL)
    found = fine_tune(LOOP, POLICY, KEY, weights=(1.0,), num_seeds=2, settings=settings)
    points = jnp.linspace(-1, 1, 7)[:, None]
    acts = jax.vmap(POLICY.act, (None, 0))
    for seed in range(2):
        params = jax.tree.map(lambda leaf, seed=seed: leaf[0, seed], found.params)
        gap = acts(params, points) - acts(POLICY.params, points)
        assert 0 < np.abs(gap).max() < 0.02


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="`discount` must"):
        TrainingSettings(discount=1.5)
    with pytest.raises(ValueError, match="`episode_length` must"):
        TrainingSettings(episode_length=8)
    with pytest.raises(ValueError, match="`start_spread` must have 1"):
        train_policies(
            LOOP, POLICY, seeds(1), KEY, settings=TrainingSettings(start_spread=(1.0, 1.0))
        )
    with pytest.raises(ValueError, match="`weights` must"):
        train_policies(LOOP, POLICY, seeds(1), KEY, weights=(-1.0,))
