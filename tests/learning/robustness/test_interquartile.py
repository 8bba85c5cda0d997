"""Interquartile means: values of SciPy and rliable, intervals of known coverage."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fracjax import Status
from fracjax.learning import interquartile_mean, trimmed_mean

KEY = jax.random.key(0)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7, 20, 240])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25])
def test_trimmed_means_are_those_of_scipy(number, share, x64):
    values = np.random.default_rng(number).normal(size=number)
    expected = stats.trim_mean(values, share)
    np.testing.assert_allclose(trimmed_mean(jnp.asarray(values), share), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "value", "low", "high"),
    [
        ((5, 3), 0.1373360571841, -0.7660, 0.9663),
        ((20, 7), -0.4586086194645, -0.8009, -0.1043),
    ],
)
def test_values_and_intervals_are_those_of_rliable(shape, value, low, high, x64):
    """Numbers of rliable 1.2.0 with 20 000 resamples, and as many here.

    An end of its interval is uncertain by 1 % of the width in either; 3 % is allowed.
    """
    scores = np.random.default_rng(shape[0]).standard_normal(shape).cumsum(axis=1)
    estimate = interquartile_mean(jnp.asarray(scores), KEY, num_resamples=20_000)
    np.testing.assert_allclose(estimate.value, value, rtol=1e-10)
    np.testing.assert_allclose([estimate.low, estimate.high], [low, high], atol=0.03 * (high - low))


def coverage(draw, seeds, **settings):
    """Share of intervals that hold zero."""

    def covered(seed):
        key = jax.random.fold_in(KEY, seed)
        estimate = interquartile_mean(
            draw(jax.random.fold_in(key, 0)), key, num_resamples=200, **settings
        )
        return (estimate.low < 0) & (estimate.high > 0)

    run = jax.jit(lambda index: jax.lax.map(covered, index, batch_size=100))
    return float(run(jnp.arange(seeds)).mean())


def independent(runs, tasks):
    return lambda key: jax.random.normal(key, (runs, tasks))


def shared(key):
    """Ten runs of 20 episodes that share half of the variance with their run."""
    first, second = jax.random.split(key)
    return jax.random.normal(first, (10, 1)) + jax.random.normal(second, (10, 20))


def test_three_runs_are_too_few_for_percentiles_and_not_for_student():
    """Measured over 4000 seeds: 75.6 % and 94.9 %; bounds are 4 standard errors of 1000."""
    assert 0.70 < coverage(independent(3, 1), 1000) < 0.81
    assert 0.92 < coverage(independent(3, 1), 1000, interval="student") < 0.98


@pytest.mark.slow
def test_runs_must_be_drawn_whole_when_their_columns_are_not_independent():
    """Measured: 46 % of the stratified intervals cover and 90 % of the others."""
    assert coverage(shared, 300) < 0.58
    assert 0.82 < coverage(shared, 300, resampling="rows") < 0.98


@pytest.mark.slow
def test_many_runs_of_several_tasks_are_covered():
    """Null: 95 %; bounds are 4 standard errors of 1000 below and 3 above."""
    assert 0.915 < coverage(independent(30, 3), 1000) < 0.975


def test_error_bars_are_those_of_resampling(x64):
    """Exact: the bootstrap's variance of a mean is (n-1)/n² of the sample's variance."""
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(12, 1)))
    estimate = interquartile_mean(scores, KEY, share=0.0, num_resamples=20_000)
    exact = float(jnp.std(scores)) / 12**0.5
    np.testing.assert_allclose(estimate.stderr, exact, rtol=0.03)  # 6 standard errors
    np.testing.assert_allclose(estimate.high - estimate.value, 1.96 * exact, rtol=0.1)


def test_an_extreme_run_is_cut_off_and_a_missing_one_is_not():
    scores = jnp.arange(8.0)[:, None]
    run = jax.jit(lambda scores: interquartile_mean(scores, KEY, num_resamples=100))
    plain = run(scores)
    assert plain.value == 3.5
    assert plain.details["num_scores"] == 4
    extreme = run(scores.at[0].set(-jnp.inf))
    assert extreme.value == 3.5
    assert extreme.status == Status.OK
    missing = run(scores.at[0].set(jnp.nan))
    assert missing.status == Status.DIVERGED
    assert np.isnan([missing.value, missing.low, missing.stderr]).all()
    alone = run(scores[:1])
    assert alone.status == Status.TOO_FEW_POINTS
    assert alone.value == 0
    assert np.isnan(alone.low)


def test_batches_and_dtypes(x64):
    scores = jnp.asarray(np.random.default_rng(1).normal(size=(4, 9, 2)))
    run = functools.partial(interquartile_mean, key=KEY, num_resamples=100)
    together = jax.jit(jax.vmap(lambda s: run(s)))(scores)
    one = run(scores[2])
    np.testing.assert_allclose(together.low[2], one.low, rtol=1e-12)
    narrow = run(scores[2].astype(jnp.float32))
    assert narrow.low.dtype == narrow.stderr.dtype == jnp.float32
    np.testing.assert_allclose(narrow.low, one.low, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "name"), [({"share": 0.5}, "share"), ({"num_resamples": 1}, "num_resamples")]
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        interquartile_mean(jnp.zeros((3, 1)), **settings)
    with pytest.raises(ValueError, match="`scores` must not be empty"):
        interquartile_mean(jnp.zeros((0, 2)))
