"""Training: an exact network, pairing, resuming, whose parameters are whose, and real learning."""

import dataclasses
import io
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.flossing.blocks import FlossingSchedule
from fracjax.learning.recurrent_training.networks import (
    RecurrentClassifier,
    cell_classifier,
    tanh_classifier,
)
from fracjax.learning.recurrent_training.runs import floss_runs, train_runs
from fracjax.learning.recurrent_training.success_rates import succeeded
from fracjax.learning.recurrent_training.tasks import CHANCE_LOSS, parity_lags, random_bits
from fracjax.learning.recurrent_training.updates import (
    TrainingSettings,
    run_functions,
    task_loss,
)

KEY = jax.random.key(0)
SMALL = TrainingSettings(
    num_steps=12,
    batch_size=4,
    num_exponents=2,
    window=8,
    discard=2,
    jacobian_steps=6,
    evaluation_size=8,
    learning_rate=1e-2,
)
NETWORK = tanh_classifier(5)
LAGS = np.array([parity_lags(1), parity_lags(2)])
ONE = run_functions(NETWORK, SMALL)
train_one = jax.jit(ONE.train, static_argnums=3)
floss_one = jax.jit(ONE.floss, static_argnums=2)


def shifted(params, state, given):
    return jnp.concatenate([given, state[:-1]])


def test_a_shift_register_copies_exactly():
    """Hand-made: bits move by one unit per step, and the readout looks at the one at the delay."""
    register = RecurrentClassifier(
        shifted, lambda key: ({"none": jnp.zeros(())}, jnp.zeros(10)), lambda state: state
    )
    params = register.init(KEY)
    bits = random_bits(KEY, 30, 64)
    score = jax.jit(lambda *arguments: task_loss(register, *arguments))
    for delay in (1, 4, 9):
        weights = jnp.zeros(10).at[delay].set(40.0)
        params["readout"] = {"weights": weights, "offset": jnp.asarray(-20.0)}
        for lag in (1, 4, 9):
            loss, accuracy = score(params, bits, jnp.array([lag]))
            if lag == delay:
                assert accuracy == 1
                assert loss == pytest.approx(math.exp(-20), rel=1e-3)
            else:  # right by chance: within 4 standard errors of one half
                assert abs(accuracy - 0.5) < 4 * 0.5 / (64 * (30 - lag)) ** 0.5


@pytest.fixture(scope="module")
def runs():
    schedule = FlossingSchedule(pre_updates=2, block_updates=2, every=4, num_blocks=1)
    settings = {"seeds": (3, 8), "look_every": 2, "settings": SMALL, "schedule": schedule}
    return settings, train_runs(NETWORK, LAGS, KEY, num_updates=6, **settings)


def through_file(tree):
    """Write the arrays of a pytree and read them again."""
    leaves, structure = jax.tree.flatten(tree)
    buffer = io.BytesIO()
    np.savez(buffer, *leaves)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as held:
        return jax.tree.unflatten(structure, [held[f"arr_{i}"] for i in range(len(leaves))])


def test_a_run_goes_on_to_the_same_bits(runs):
    """Cut between looks, with a block of flossing due at the cut."""
    settings, whole = runs
    first = train_runs(NETWORK, LAGS, KEY, num_updates=4, **settings)
    rest = train_runs(
        NETWORK, LAGS, KEY, num_updates=6, learners=through_file(first.learners), **settings
    )
    jax.tree.map(np.testing.assert_array_equal, rest.learners, whole.learners)
    both = jax.tree.map(lambda *parts: np.concatenate(parts, axis=2), first.looks, rest.looks)
    jax.tree.map(np.testing.assert_array_equal, both, whole.looks)
    np.testing.assert_array_equal(whole.looks.updates[0, 0], [0, 2, 4, 6])
    assert (list(first.flossing), list(rest.flossing)) == ([0], [4])
    assert whole.flossing[4].exponents.shape == (2, 2, 2, 2)


def test_batched_runs_are_those_of_a_loop(runs):
    """One run by hand, of one seed and one delay."""
    _, whole = runs
    key, lags = jax.random.fold_in(KEY, 8), jnp.asarray(LAGS[1])
    learner, _ = floss_one(ONE.begin(key), key, 2)
    for look in (1, 2, 3):
        if look == 3:
            learner, _ = floss_one(learner, key, 2)
        learner, (loss, norm) = train_one(learner, key, lags, 2)
        np.testing.assert_allclose(loss, whole.looks.training_loss[1, 1, look], rtol=1e-4)
        np.testing.assert_allclose(norm, whole.looks.gradient_norm[1, 1, look], rtol=1e-3)
    found = jax.tree.map(lambda leaf: leaf[1, 1], whole.learners)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), learner, found)
    assert np.all(whole.looks.status == Status.OK)
    assert np.all(whole.looks.tangent_status == Status.OK)


def test_conditions_share_seeds_and_bits(runs):
    """Flossed before or by schedule is the same, and not flossed is another network."""
    settings, whole = runs
    plain = {**settings, "schedule": None}
    first = train_runs(NETWORK, LAGS, KEY, num_updates=2, **plain)
    assert not first.flossing
    several = floss_runs(NETWORK, KEY, num_updates=2, seeds=(3, 8, 3, 8), settings=SMALL)
    flossed = jax.tree.map(lambda leaf: leaf[:2], several.learners)
    later = train_runs(NETWORK, LAGS, KEY, num_updates=2, learners=flossed, **plain)
    np.testing.assert_allclose(later.looks.loss, whole.looks.loss[..., :2], rtol=1e-4)
    assert np.all(later.looks.loss != first.looks.loss)


def test_flossing_moves_the_network_alone_and_the_task_everything():
    start = ONE.begin(KEY)
    flossed, log = floss_one(start, KEY, 2)
    assert log.value.shape == (2,)
    for name in ("readout", "initial"):
        jax.tree.map(np.testing.assert_array_equal, flossed.params[name], start.params[name])
    assert set(start.params["network"]) == {"recurrent", "input", "bias"}
    for name, leaf in start.params["network"].items():
        assert np.all(leaf != flossed.params["network"][name])
    jax.tree.map(np.testing.assert_array_equal, flossed.moments, start.moments)
    trained, _ = train_one(start, KEY, jnp.asarray(LAGS[1]), 2)
    for old, new in zip(
        jax.tree.leaves(start.params), jax.tree.leaves(trained.params), strict=True
    ):
        assert np.all(old != new)
    jax.tree.map(np.testing.assert_array_equal, trained.flossing, start.flossing)


def test_short_delays_are_learned(runs):
    """Delay 1 and 2 in five units; bits of a fresh look are nearly all right."""
    settings, whole = runs
    settings = {**settings, "schedule": None}
    found = train_runs(NETWORK, LAGS, KEY, num_updates=600, learners=whole.learners, **settings)
    late = slice(-50, None)
    assert np.all(abs(whole.looks.accuracy[..., 0] - 0.5) < 0.3)
    assert found.looks.accuracy[..., late].mean(axis=-1).min() > 0.99
    assert found.looks.loss[..., late].mean(axis=-1).max() < 0.2 * CHANCE_LOSS


def test_a_run_that_diverges_is_kept_as_a_failure(runs):
    settings, whole = runs
    start = jax.tree.map(np.copy, whole.learners)
    start.params["readout"]["offset"][:, 1] = np.nan
    found = train_runs(NETWORK, LAGS, KEY, num_updates=8, learners=start, **settings)
    assert found.looks.status.shape == (2, 2, 1)
    assert np.all(found.looks.status[:, 0] == Status.OK)
    assert np.all(found.looks.status[:, 1] == Status.DIVERGED)
    assert np.isnan(found.looks.accuracy[:, 1]).all()
    assert not np.any(succeeded(found.looks.accuracy[:, 1, -1]))


def test_cells_and_their_flossed_parameters():
    """An LSTM has exponents of both parts of its carry; the readout sees h."""
    classifier = cell_classifier(nn.OptimizedLSTMCell(3))
    params = classifier.init(KEY)
    assert params["readout"]["weights"].shape == (3,)
    assert [part.shape for part in params["initial"]] == [(3,), (3,)]
    carry = (jnp.arange(3.0), jnp.arange(3.0) + 10)
    np.testing.assert_array_equal(classifier.read(carry), carry[1])
    bits = random_bits(KEY, 7)
    cell, carry = nn.OptimizedLSTMCell(3), params["initial"]
    for bit in bits:
        carry, _ = cell.apply(params["network"], carry, bit[None])
    expected = params["readout"]["weights"] @ carry[1] + params["readout"]["offset"]
    np.testing.assert_allclose(classifier.logits(params, bits)[-1], expected, rtol=1e-4)


@pytest.mark.slow
def test_the_readout_alone_can_be_trained():
    frozen = run_functions(NETWORK, dataclasses.replace(SMALL, train_network=False))
    start = frozen.begin(KEY)
    end, _ = jax.jit(frozen.train, static_argnums=3)(start, KEY, jnp.array([3]), 3)
    jax.tree.map(np.testing.assert_array_equal, end.params["network"], start.params["network"])
    for name in ("readout", "initial"):
        for old, new in zip(
            jax.tree.leaves(start.params[name]), jax.tree.leaves(end.params[name]), strict=True
        ):
            assert np.all(old != new)


def test_mistakes_are_named(runs):
    settings, whole = runs
    with pytest.raises(ValueError, match="`learners` must have made fewer"):
        train_runs(NETWORK, LAGS, KEY, num_updates=6, learners=whole.learners, **settings)
    with pytest.raises(ValueError, match="`num_updates` must be a positive multiple"):
        train_runs(NETWORK, LAGS, KEY, num_updates=5, **settings)
    late = {**settings, "schedule": FlossingSchedule(every=3)}
    with pytest.raises(ValueError, match="`schedule` must"):
        train_runs(NETWORK, LAGS, KEY, num_updates=6, **late)
    with pytest.raises(ValueError, match="`lags` must"):
        train_runs(NETWORK, (12,), KEY, num_updates=6, **settings)
    with pytest.raises(ValueError, match="`window` must"):
        TrainingSettings(window=3, discard=3)
    with pytest.raises(ValueError, match="`clip` must"):
        TrainingSettings(clip=0.0)
