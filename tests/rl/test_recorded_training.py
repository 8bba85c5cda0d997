"""Recorded training: the path is the policy's, counts are right, and what is put last acts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax.rl import classic
from fracjax.rl.recorded_training import (
    from_environment,
    from_gymnax,
    recorded_training,
    updates_each,
)

pytest.importorskip("rejax")
SMALL = {"num_envs": 2, "num_epochs": 1, "batch_size": 8, "buffer_size": 200, "fill_buffer": 20}
SHAPE = {
    "num_evaluations": 2,
    "snapshots_per_evaluation": 3,
    "iterations_per_snapshot": 4,
    "hidden": (8,),
    "num_episodes": 2,
}


def freeze(factor):
    """Multiply updates: zero keeps the policy where it is."""
    return optax.scale(factor)


@pytest.mark.slow
def test_td3_keeps_its_path_and_takes_what_stands_last():
    environment = from_environment(classic.pendulum(), 20, "td3")
    train = recorded_training(
        environment, "td3", episode_length=20, settings=SMALL, transformation=freeze, **SHAPE
    )
    keys = jax.random.split(jax.random.PRNGKey(0), 2)
    program = jax.jit(jax.vmap(train, (0, None)))
    frozen, moving = program(keys, jnp.asarray(0.0)), program(keys, jnp.asarray(1.0))
    for run in (frozen, moving):
        assert {leaf.shape[:2] for leaf in jax.tree.leaves(run.snapshots)} == {(2, 7)}
        assert run.returns.shape == (2, 3, 2)
        np.testing.assert_array_equal(run.updates[0], [0, 12, 24])
    first, last = (np.asarray(moving.snapshots["Dense_0"]["kernel"][:, index]) for index in (0, -1))
    assert not np.allclose(first, last)
    still = np.asarray(frozen.snapshots["Dense_0"]["kernel"])
    np.testing.assert_array_equal(still, np.broadcast_to(first[:, None], still.shape))
    np.testing.assert_array_equal(frozen.returns[:, 0], frozen.returns[:, -1])  # same episodes
    assert not np.allclose(first[0], first[1])  # seeds differ


@pytest.mark.slow
def test_dqn_plays_minatar():
    settings = {**SMALL, "total_timesteps": 48}
    train = recorded_training(
        from_gymnax("Breakout-MinAtar"), "dqn", episode_length=30, settings=settings, **SHAPE
    )
    run = jax.jit(train)(jax.random.PRNGKey(0), None)
    assert run.snapshots["Dense_0"]["kernel"].shape == (7, 400, 8)
    assert (np.asarray(run.returns) >= 0).all()


def test_updates_are_counted_as_rejax_makes_them():
    assert updates_each("ppo", {"num_epochs": 3, "num_minibatches": 5}) == 15
    assert updates_each("td3") == 2
    assert updates_each("dqn") == 1
