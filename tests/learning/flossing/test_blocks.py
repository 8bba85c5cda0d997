"""Blocks floss what they are told to, count what failed, and touch nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax import Status
from fracjax.learning.exponent_regularization.closed_loops import regularized_loss
from fracjax.learning.exponent_regularization.penalties import ExponentPenalty
from fracjax.learning.flossing.blocks import FlossingSchedule, flossing_block
from fracjax.learning.flossing.cells import driven_tanh_step, initial_tanh_network
from fracjax.learning.flossing.losses import flossing_loss

KEY = jax.random.key(0)
FRAME = jax.random.key(7)
TARGET = jnp.array([0.1, 0.0, -0.2])
NAMES = ("recurrent", "input", "bias")


def network(key):
    return {**initial_tanh_network(key, 12, 1), "readout": jnp.ones((1, 12))}


def loss(params, key):
    """Without input from a fixed state: a deterministic loss."""
    settings = {"num_exponents": 3, "window": 20, "discard": 5, "key": FRAME}
    state = 0.1 * jnp.ones(12)
    return flossing_loss(driven_tanh_step, params, state, None, target=TARGET, **settings)


BLOCK = flossing_block(loss, optax.adamw(1e-2, weight_decay=0.1), mask=NAMES)


def test_exponents_reach_their_targets_and_the_readout_stays():
    """Three seeds at once; each exponent has a target of its own."""
    params = jax.vmap(network)(jax.random.split(KEY, 3))
    block = flossing_block(loss, optax.adam(1e-2), mask=NAMES)
    state = jax.vmap(block.init)(params)

    def run(params, state):
        return block.run(params, state, KEY, num_updates=400)

    after, state, log = jax.jit(jax.vmap(run))(params, state)
    assert np.abs(log.exponents[:, 0] - TARGET).max(axis=1).min() > 0.05  # there was work to do
    np.testing.assert_allclose(log.exponents[:, -1], np.tile(TARGET, (3, 1)), atol=0.01)
    assert (log.status == Status.OK).all()
    assert (state.skipped == 0).all()
    assert (state.updates == 400).all()
    assert (after["readout"] == params["readout"]).all()
    assert (after["recurrent"] != params["recurrent"]).any()
    assert log.value.shape == log.gradient.shape == log.skipped.shape == (3, 400)


@pytest.mark.slow
def test_two_blocks_are_one_and_decay_leaves_the_readout_alone():
    params = network(KEY)
    state = BLOCK.init(params)
    whole, last, log = BLOCK.run(params, state, KEY, num_updates=6)
    first = BLOCK.run(params, state, KEY, num_updates=3)
    second = BLOCK.run(*first[:2], KEY, num_updates=3)
    for one, other in zip(jax.tree.leaves((whole, last)), jax.tree.leaves(second[:2]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_allclose(log.value[3:], second[2].value, rtol=1e-5)
    assert (whole["readout"] == params["readout"]).all()
    moments = {leaf.shape for leaf in jax.tree.leaves(state.moments)}
    assert (1, 12) not in moments  # the readout has none


def fragile(params, key):
    """A loss whose gradient is not finite in some updates, as the key falls."""
    settings = {"num_exponents": 1, "window": 4, "discard": 0, "key": FRAME}
    scale = jnp.where(jax.random.uniform(key) < 0.5, jnp.nan, 1.0)
    return flossing_loss(
        lambda a, state, given: scale * a["a"] * state, params, jnp.ones(()), None, **settings
    )


def test_a_gradient_that_is_not_finite_changes_nothing():
    params = {"a": jnp.array(0.5)}
    block = flossing_block(fragile, optax.sgd(0.1))
    after, state, log = block.run(params, block.init(params), KEY, num_updates=20)
    bad = np.asarray(log.skipped)
    assert 0 < bad.sum() < 20
    assert state.skipped == bad.sum()
    assert (np.asarray(log.status)[bad] == Status.DIVERGED).all()
    assert (np.asarray(log.status)[~bad] == Status.OK).all()
    expected = 0.5
    for skipped in bad:
        if not skipped:
            expected -= 0.1 * 2 * np.log(expected) / expected
    np.testing.assert_allclose(after["a"], expected, rtol=1e-5)


def test_a_finite_loss_with_a_bad_gradient_is_blamed_on_the_tangent():
    def root(params, key):
        zero = jnp.zeros(1, jnp.int32)
        return ExponentPenalty(jnp.sqrt(params["a"]), zero / 1.0, zero[0], zero, None)

    params = {"a": jnp.zeros(())}
    block = flossing_block(root, optax.sgd(0.1))
    after, state, log = block.run(params, block.init(params), KEY, num_updates=2)
    assert log.status.tolist() == [Status.NONFINITE_TANGENT] * 2
    assert state.skipped == 2
    assert after["a"] == 0


def test_masks_may_be_trees():
    params = {"cell": {"a": jnp.ones(2), "b": jnp.ones(3)}, "readout": jnp.ones(5)}
    prefix = flossing_block(loss, optax.adam(1e-3), mask={"cell": True, "readout": False})
    finer = flossing_block(
        loss, optax.adam(1e-3), mask={"cell": {"a": False, "b": True}, "readout": False}
    )
    assert [leaf.shape for leaf in prefix.init(params).moments[0].mu] == [(2,), (3,)]
    assert [leaf.shape for leaf in finer.init(params).moments[0].mu] == [(3,)]
    with pytest.raises(ValueError, match="leave something to floss"):
        flossing_block(loss, optax.adam(1e-3), mask={"cell": False, "readout": False}).init(params)
    with pytest.raises(ValueError, match=r"has \['missing'\]"):
        flossing_block(loss, optax.adam(1e-3), mask=("missing",)).init(params)


def test_the_schedule_covers_all_epochs():
    schedule = FlossingSchedule(pre_updates=500, block_updates=50, every=100, num_blocks=2)
    assert [schedule.due(epoch) for epoch in (0, 1, 100, 200, 300)] == [500, 0, 50, 50, 0]
    assert schedule.segments(350) == ((500, 0, 100), (50, 100, 200), (50, 200, 350))
    assert schedule.segments(100) == ((500, 0, 100),)
    never = FlossingSchedule(0, 0)
    assert never.segments(7) == ((0, 0, 7),)
    assert FlossingSchedule().segments(0) == ((500, 0, 0),)
    with pytest.raises(ValueError, match="`every` must be at least 1"):
        FlossingSchedule(every=0)


@pytest.mark.slow
def test_on_request_it_joins_the_loss_of_the_task(x64):
    """The gradient of the sum is the sum of the gradients: the readout's is the task's alone."""
    params = network(KEY)

    def task(params, key):
        return jnp.sum(params["readout"] ** 2) + jnp.sum(params["bias"])

    both = jax.jit(jax.value_and_grad(regularized_loss(task, loss, 2.0), has_aux=True))
    (value, parts), gradient = both(params, KEY)
    alone = jax.jit(jax.grad(lambda params: loss(params, KEY).value))(params)
    np.testing.assert_allclose(value, parts["loss"] + 2 * parts["penalty"], rtol=1e-12)
    np.testing.assert_allclose(gradient["recurrent"], 2 * alone["recurrent"], rtol=1e-9)
    np.testing.assert_allclose(gradient["bias"], 2 * alone["bias"] + 1, rtol=1e-9)
    np.testing.assert_allclose(gradient["readout"], 2 * params["readout"], rtol=1e-12)
