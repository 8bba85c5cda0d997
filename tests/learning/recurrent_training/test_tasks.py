"""Targets by brute force, and what guesses score."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.recurrent_training.tasks import (
    CHANCE_LOSS,
    bit_accuracy,
    bit_loss,
    check_lags,
    defined_steps,
    parity_lags,
    parity_targets,
    random_bits,
)

STRINGS = np.array(list(itertools.product((0, 1), repeat=9)))


@pytest.mark.parametrize(
    ("order", "delay", "convention", "expected"),
    [
        (0, 3, "spacing", (3,)),
        (0, 3, "longest", (3,)),
        (1, 2, "spacing", (2, 4)),
        (1, 4, "longest", (2, 4)),
        (2, 2, "spacing", (2, 4, 6, 8)),
        (2, 8, "longest", (2, 4, 6, 8)),
        (3, 1, "spacing", (1, 2, 3, 4, 5, 6, 7, 8)),
    ],
)
def test_targets_on_all_strings(order, delay, convention, expected):
    """All 512 strings of nine bits, one bit at a time by exclusive or."""
    lags = parity_lags(delay, order=order, convention=convention)
    assert lags == expected
    targets = np.asarray(parity_targets(jnp.asarray(STRINGS, float), lags))
    counted = np.asarray(defined_steps(9, lags))
    for string, found in zip(STRINGS.tolist(), targets, strict=True):
        for step in range(9):
            assert counted[step] == (step >= max(expected))
            bit = 0
            for lag in expected:
                bit ^= string[step - lag] if step >= max(expected) else 0
            assert found[step] == bit


def test_lags_may_be_traced_and_batched():
    bits = random_bits(jax.random.key(0), 40, 3)
    lags = np.array([parity_lags(delay, order=1) for delay in (1, 7, 19)])
    many = jax.jit(jax.vmap(parity_targets, (None, 0)))(bits, lags)
    for row, found in zip(lags, many, strict=True):
        np.testing.assert_array_equal(found, parity_targets(bits, row))


def test_constant_guesses_score_chance():
    """Exact on all strings: ln 2 and one half at logit 0, and no constant does better."""
    lags = (1, 3)
    bits = jnp.asarray(STRINGS, float)
    targets, counted = parity_targets(bits, lags), defined_steps(9, lags)
    losses = [
        float(bit_loss(jnp.full(bits.shape, logit), targets, counted))
        for logit in (0.0, 0.1, -0.1, 3.0)
    ]
    assert losses[0] == pytest.approx(math.log(2), rel=3e-6)
    assert CHANCE_LOSS == math.log(2)
    assert min(losses[1:]) > losses[0] + 1e-3
    for logit in (0.0, -1.0):
        assert bit_accuracy(jnp.full(bits.shape, logit), targets, counted) == pytest.approx(0.5)
    assert bit_accuracy(2 * targets - 1, targets, counted) == 1
    # What does not count cannot help or harm.
    noisy = jnp.where(counted, 2 * targets - 1, jnp.nan)
    assert bit_accuracy(noisy, targets, counted) == 1
    assert bit_loss(jnp.where(counted, 1e4 * (2 * targets - 1), 0), targets, counted) < 1e-6
    assert jnp.isnan(bit_accuracy(noisy.at[0, 5].set(jnp.nan), targets, counted))


def test_bits_are_fair_and_independent():
    """Null: shares within 4 standard errors of one half, of bits and of neighbouring pairs."""
    bits = np.asarray(random_bits(jax.random.key(1), 100, 400))
    assert set(np.unique(bits)) == {0.0, 1.0}
    targets = np.asarray(parity_targets(jnp.asarray(bits), (5, 10)))[:, 10:]
    for table in (bits, targets):
        for sample in (table, table[:, 1:] == table[:, :-1]):
            assert abs(sample.mean() - 0.5) < 4 * 0.5 / sample.size**0.5


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="`delay` must be a multiple of 2"):
        parity_lags(7, order=1, convention="longest")
    with pytest.raises(ValueError, match="`delay` must"):
        parity_lags(0)
    for lags in ((), (0,), (3, 10)):
        with pytest.raises(ValueError, match="`lags` must"):
            check_lags(10, lags)
