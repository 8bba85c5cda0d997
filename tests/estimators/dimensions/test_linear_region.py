"""The search for a straight part, on curves whose slope and covariance are known."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from fracjax import Status
from fracjax.estimators.dimensions.linear_region import linear_region

LEVELS, SLOPE = 12, 1.3
X = -np.log(2) * np.arange(LEVELS)
LAGS = np.abs(np.subtract.outer(np.arange(LEVELS), np.arange(LEVELS)))
# Errors grow towards small scales, and neighbouring levels share half of them.
ERRORS = 0.002 * 1.5 ** np.arange(LEVELS)
COVARIANCE = 0.5**LAGS * ERRORS[:, None] * ERRORS


def draw(curve, seeds=400):
    root = np.linalg.cholesky(COVARIANCE)
    noise = np.random.default_rng(0).standard_normal((seeds, LEVELS)) @ root.T
    return jnp.asarray(curve + noise)


def search(curves, **settings):
    return jax.jit(
        jax.vmap(lambda y: linear_region(jnp.asarray(X), y, jnp.asarray(COVARIANCE), **settings))
    )(curves)


def test_a_straight_line_is_used_whole(x64):
    """Exact to the smallest misfit, 0.001, over a span of 7.6."""
    estimate = linear_region(X, 2 + SLOPE * X, 1e-12 * np.eye(LEVELS))
    assert estimate.status == Status.OK
    assert estimate.details["window"].all()
    assert abs(estimate.value - SLOPE) < 1e-6
    assert estimate.stderr < 1e-3
    np.testing.assert_allclose(estimate.details["decades"], 11 * np.log10(2))
    np.testing.assert_allclose(estimate.details["window_low"], 2.0**-11)
    np.testing.assert_allclose(estimate.details["local_slopes"], SLOPE)


@pytest.mark.parametrize("edge", [0.0, 0.5, 3.0])
def test_the_interval_covers_the_slope_through_an_edge(edge, x64):
    """The model of an edge, weak and strong: null 95 %, 400 seeds; the search may cost 3 % more."""
    curve = SLOPE * X + np.log1p(edge * np.exp(X))
    estimate = search(draw(curve))
    covered = int(((estimate.low < SLOPE) & (estimate.high > SLOPE)).sum())
    assert covered >= binom.ppf(1e-3, 400, 0.93)
    assert covered <= binom.ppf(1 - 1e-3, 400, 0.985)
    assert estimate.ok.mean() > 0.95


def test_saturated_levels_are_left_out(x64):
    """Flat above the fifth level: a window that held two of them would be off by a fifth."""
    curve = SLOPE * np.minimum(X, X[4])
    estimate = search(draw(curve))
    assert np.all(estimate.details["window"][:, :3].sum(axis=0) == 0)
    covered = int(((estimate.low < SLOPE) & (estimate.high > SLOPE)).sum())
    assert covered >= binom.ppf(1e-3, 400, 0.93)


def test_a_curve_that_bends_everywhere_is_refused(x64):
    """The local slope moves by 0.35 per level, 100 standard errors."""
    estimate = linear_region(X, SLOPE * X + 0.25 * X**2, 1e-8 * np.eye(LEVELS))
    assert estimate.status == Status.NO_SCALING_REGION


def test_a_window_that_oscillates_gets_a_misfit(x64):
    """Lacunarity: the error must grow to the order of the amplitude over the span."""
    wave = 0.05 * np.cos(2 * np.pi * np.arange(LEVELS) / 3)
    estimate = linear_region(X, SLOPE * X + wave, 1e-8 * np.eye(LEVELS))
    assert estimate.status == Status.OK
    assert 0.02 < estimate.details["misfit"] < 0.1
    assert abs(estimate.value - SLOPE) < 2 * estimate.stderr
    assert 0.003 < estimate.stderr < 0.05
    assert estimate.details["fit_p_value"] < 1e-6


def test_estimated_covariances_widen_the_interval(x64):
    curves = draw(SLOPE * X)
    known, estimated = search(curves), search(curves, covariance_samples=30)
    assert np.median(estimated.stderr / known.stderr) > 1.2


def test_unusable_levels_may_hold_anything(x64):
    usable = np.arange(LEVELS) < 9
    curve = np.where(usable, SLOPE * X, np.nan)
    estimate = linear_region(X, curve, 1e-8 * np.eye(LEVELS), usable=usable)
    assert estimate.status == Status.OK
    assert estimate.details["window"].sum() == 9
    assert abs(estimate.value - SLOPE) < 1e-3


@pytest.mark.parametrize(
    ("usable", "spoiled", "status"),
    [
        (3, 12, Status.NO_SCALING_REGION),
        (4, 12, Status.NO_SCALING_REGION),
        (12, 5, Status.DIVERGED),
    ],
)
def test_without_a_window_there_is_no_number(usable, spoiled, status, x64):
    """Too few levels; four, but less than a decade; a level that is not finite."""
    curve = jnp.where(jnp.arange(LEVELS) == spoiled, jnp.nan, SLOPE * X)
    estimate = linear_region(X, curve, 1e-8 * np.eye(LEVELS), usable=jnp.arange(LEVELS) < usable)
    assert estimate.status == status
    assert np.isnan([estimate.value, estimate.stderr, estimate.low, estimate.high]).all()
    assert not estimate.details["window"].any()


def test_scales_that_do_not_fall_get_a_status_under_jit(x64):
    estimate = jax.jit(linear_region)(jnp.asarray(X[::-1]), jnp.asarray(X), 1e-8 * jnp.eye(LEVELS))
    assert estimate.status == Status.DIVERGED
    assert np.isnan(estimate.value)


def test_float32_agrees(x64):
    curve = draw(SLOPE * X + 100, 1)[0]
    double = linear_region(X, curve, COVARIANCE)
    single = linear_region(*(jnp.asarray(a, jnp.float32) for a in (X, curve, COVARIANCE)))
    assert single.value.dtype == jnp.float32
    assert abs(single.value - double.value) < 0.05 * double.stderr


def test_a_batch_is_a_loop(x64):
    curves = draw(SLOPE * X)
    batch = search(curves)
    for index in range(3):
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, i=index: leaf[i], batch),
            linear_region(X, curves[index], COVARIANCE),
            rtol=1e-9,
        )


@pytest.mark.parametrize(
    ("arguments", "settings", "name"),
    [
        ((X[:3], X[:3], np.eye(3)), {}, "log_scale"),
        ((X[::-1], X, np.eye(LEVELS)), {}, "log_scale"),
        ((X, X, np.eye(LEVELS)), {"covariance_samples": 13}, "covariance_samples"),
    ],
)
def test_settings_out_of_range_are_named(arguments, settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        linear_region(*(jnp.asarray(a) for a in arguments), **settings)
