"""Success rates cover the truth, by summing over all outcomes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial

from fracjax.learning.recurrent_training.success_rates import (
    paired_success,
    succeeded,
    success_rate,
)


@pytest.mark.parametrize("count", [8, 24])
def test_intervals_of_a_rate_cover_it(count):
    """Exact: at least 95 % at every rate, by the binomial law of the successes."""
    outcomes = np.arange(count) < np.arange(count + 1)[:, None]
    found = jax.jit(success_rate)(outcomes)
    for number in range(count + 1):
        ends = binomtest(number, count).proportion_ci()
        assert found.low[number] == pytest.approx(ends.low, abs=1e-6)
        assert found.high[number] == pytest.approx(ends.high, abs=1e-6)
    rates = np.linspace(0.005, 0.995, 199)
    weights = binom.pmf(np.arange(count + 1)[:, None], count, rates)
    inside = (found.low[:, None] <= rates) & (rates <= found.high[:, None])
    coverage = (weights * inside).sum(axis=0)
    assert coverage.min() >= 0.95
    assert coverage.min() < 0.975  # no wider than it must be


def pairs(count):
    """All numbers of seeds that only the first, only the second condition solves."""
    cells = [
        (one, two)
        for one, two in itertools.product(range(count + 1), repeat=2)
        if one + two <= count
    ]
    place = np.arange(count)
    first = np.array([place < one for one, _ in cells])
    second = np.array([(place >= one) & (place < one + two) for one, two in cells])
    return np.array(cells), first, second


def test_intervals_of_a_paired_difference_cover_it():
    """Bonett and Price for 16 seeds: at least .92 at all rates, .95 and more for most."""
    cells, first, second = pairs(16)
    found = jax.jit(paired_success)(first, second)
    coverage = []
    for lost, won in itertools.product(np.arange(0, 1.01, 0.1), repeat=2):
        if lost + won <= 1:
            law = (lost, won, max(1 - lost - won, 0.0))
            weights = multinomial.pmf(np.column_stack([cells, 16 - cells.sum(axis=1)]), 16, law)
            inside = (found.low <= won - lost) & (won - lost <= found.high)
            coverage.append(weights[np.asarray(inside)].sum())
    assert min(coverage) > 0.92
    assert np.median(coverage) > 0.95


def test_mcnemar_is_the_sign_test_of_the_discordant_seeds():
    cells, first, second = pairs(10)
    found = paired_success(first, second)
    np.testing.assert_array_equal(found.details["only_first"], cells[:, 0])
    for (lost, won), p_value in zip(cells, np.asarray(found.details["p_value"]), strict=True):
        expected = binomtest(int(won), int(lost + won)).pvalue if lost + won else 1.0
        assert p_value == pytest.approx(expected, abs=1e-6)
    # Five discordant seeds, all for one condition: not below .05.
    assert found.details["p_value"][cells.tolist().index([0, 5])] == pytest.approx(1 / 16)


def test_a_run_that_diverged_is_a_failure():
    accuracies = jnp.array([[1.0, 0.95, 0.5, jnp.nan], [0.9, 0.91, jnp.nan, jnp.nan]])
    np.testing.assert_array_equal(
        succeeded(accuracies), [[True, True, False, False], [False, True, False, False]]
    )
    rate = success_rate(succeeded(accuracies))
    np.testing.assert_allclose(rate.value, [0.5, 0.25])
    np.testing.assert_array_equal(rate.details["seeds"], 4)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="`threshold` must"):
        succeeded(jnp.ones(3), threshold=1.0)
    with pytest.raises(ValueError, match="same seeds"):
        paired_success(jnp.ones(0, bool), jnp.ones(0, bool))
