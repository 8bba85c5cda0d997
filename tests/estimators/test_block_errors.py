"""Errors of means over sequences with short memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import stdtrit

from fracjax.estimators import block_errors


@pytest.mark.parametrize("memory", [0, 1, 3])
def test_intervals_cover_for_moving_averages(memory, x64):
    """Null: 95 %, 4000 seeds, 60 cells; a running sum over memory + 1 cells."""
    rng = np.random.default_rng(memory)
    noise = rng.normal(size=(4000, 60 + memory))
    sequence = sum(noise[:, lag : lag + 60] for lag in range(memory + 1))
    variance = jax.jit(jax.vmap(block_errors.block_variance))(jnp.asarray(sequence))
    quantile = stdtrit(block_errors.degrees_of_freedom(60), 0.975)
    covered = np.mean(np.abs(sequence.mean(axis=1)) < quantile * np.sqrt(variance))
    assert 0.92 < covered < 0.98
    truth = np.var(sequence.mean(axis=1))
    assert abs(float(variance.mean()) / truth - 1) < (0.2 if memory == 3 else 0.15)


def test_it_is_the_variance_of_a_circular_block_bootstrap(x64):
    """Blocks of two cells: 2e5 resamples against the closed form, 5 standard errors."""
    rng = np.random.default_rng(5)
    # Alternating, so that the longer blocks add nothing and V(2) is returned.
    sequence = np.tile([1.0, -1.0], 10) + 0.1 * rng.normal(size=20)
    starts = rng.integers(20, size=(200_000, 10))
    pairs = (sequence + np.roll(sequence, -1)) / 2
    resampled = pairs[starts].mean(axis=1)
    expected = resampled.var() * 20 / 18  # blocks share the mean that is taken out
    ours = float(block_errors.block_variance(jnp.asarray(sequence)))
    assert abs(ours / expected - 1) < 5 * (2 / 200_000) ** 0.5 or ours > expected


def test_tail_is_students(x64):
    statistic = jnp.array([0.0, 0.5, -2.0, 10.0, 300.0])
    ours = block_errors.student_tail(statistic, 9.5)
    np.testing.assert_allclose(ours, 2 * stats.t.sf(np.abs(statistic), 9.5), rtol=2e-3)
