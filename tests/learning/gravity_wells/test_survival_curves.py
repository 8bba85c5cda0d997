"""Kaplan and Meier against SciPy, intervals by coverage, and what censoring leaves unknown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fracjax import Status
from fracjax.learning.gravity_wells.survival_curves import survival_curve, survival_quantile

KEY = jax.random.key(0)


def draw(key, count):
    """Exponential times, a third of them censored."""
    keys = jax.random.split(key)
    times = jax.random.exponential(keys[0], (count,))
    limits = 2 * jax.random.exponential(keys[1], (count,))
    return jnp.minimum(times, limits), times <= limits


def test_the_curve_is_that_of_scipy(x64):
    """With ties, also between events and censorings."""
    times, observed = draw(KEY, 40)
    times = jnp.ceil(8 * times)
    data = stats.CensoredData.right_censored(np.asarray(times), ~np.asarray(observed))
    expected = stats.ecdf(data).sf
    at = jnp.asarray(expected.quantiles)
    found = survival_curve(times, observed, at)
    np.testing.assert_allclose(found.value, expected.probabilities, atol=1e-12)
    left = np.where(observed, times, np.nextafter(times, np.inf))  # censored: there until then
    risk = [(left > t).sum() for t in at]
    np.testing.assert_array_equal(found.details["at_risk"], risk)
    assert np.any(np.isin(times[~observed], at))


def test_without_censoring_intervals_are_wilsons(x64):
    times = jnp.arange(1.0, 21.0)
    at = jnp.asarray([0.5, 5.0, 10.0, 20.0, 30.0])
    found = survival_curve(times, jnp.ones(20, bool), at)
    for value, low, high, left in zip(
        found.value, found.low, found.high, (20, 15, 10, 0, 0), strict=True
    ):
        exact = stats.binomtest(left, 20).proportion_ci(method="wilson")
        np.testing.assert_allclose([value, low, high], [left / 20, *exact], atol=1e-6)
    np.testing.assert_array_equal(found.status, Status.OK)


@pytest.mark.slow
def test_intervals_cover():
    """Null: 95 % of 600 seeds; bounds are 4 standard errors off."""
    at = jnp.asarray([0.1, 0.5, 1.0])
    shares = (0.25, 0.5)

    def one(key):
        times, observed = draw(key, 60)
        curve = survival_curve(times, observed, at)
        quantile = jax.vmap(lambda share: survival_quantile(times, observed, share))
        return curve, quantile(jnp.asarray(shares))

    curve, quantiles = jax.jit(jax.vmap(one))(jax.random.split(KEY, 600))
    truth = np.exp(-at)
    covered = np.mean((curve.low <= truth) & (truth <= curve.high), axis=0)
    assert np.all((covered > 0.914) & (covered < 0.986))
    error = np.asarray(curve.value - truth)
    assert np.all(abs(error.mean(axis=0)) < 4 * error.std(axis=0) / 600**0.5)
    np.testing.assert_allclose(error.std(axis=0), curve.stderr.mean(axis=0), rtol=0.1)
    for index, share in enumerate(shares):
        found = jax.tree.map(lambda leaf, index=index: leaf[:, index], quantiles)
        exact = -np.log(1 - share)
        covered = np.mean((found.low <= exact) & (exact <= found.high))
        assert 0.914 < covered < 0.986
        known = np.asarray(found.status == Status.OK)
        assert known.mean() > 0.98
        median = np.median(found.value[known])
        assert abs(median / exact - 1) < 0.05


def test_those_censored_at_a_time_were_there_at_it(x64):
    """Nobody of 20 left until all stopped to look: as sure there as just before."""
    curve = survival_curve(jnp.full(20, 10.0), jnp.zeros(20, bool), jnp.asarray([9.0, 10.0]))
    exact = stats.binomtest(20, 20).proportion_ci(method="wilson")
    np.testing.assert_allclose(curve.low, exact.low, atol=1e-6)
    np.testing.assert_array_equal(curve.details["at_risk"], 20)


def test_what_is_beyond_the_end_of_observation_is_unknown():
    times = jnp.asarray([0, 0, 1, 10, 10, 10])
    observed = jnp.asarray([True, True, True, False, False, False])
    curve = survival_curve(times, observed, jnp.asarray([0, 5, 10, 11]))
    np.testing.assert_allclose(curve.value, [4 / 6, 0.5, 0.5, np.nan], rtol=1e-6)
    assert curve.status.tolist() == [Status.OK] * 3 + [Status.TOO_FEW_POINTS]
    median = survival_quantile(times, observed, 0.5)
    assert (median.value, median.status) == (1, Status.OK)
    late = survival_quantile(times, observed, 0.9)
    assert late.status == Status.NOT_CONVERGED
    assert np.isnan(late.value)
    assert late.high == np.inf
    assert late.low == 10
    bad = survival_curve(jnp.asarray([1.0, jnp.nan]), jnp.ones(2, bool), jnp.asarray([1.0]))
    assert bad.status[0] == Status.DIVERGED
    with pytest.raises(ValueError, match="times"):
        survival_curve(jnp.zeros(0), jnp.zeros(0, bool), jnp.zeros(1))
    with pytest.raises(ValueError, match="share"):
        survival_quantile(times, observed, 1.0)
