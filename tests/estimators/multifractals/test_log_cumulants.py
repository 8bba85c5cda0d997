"""Log-cumulants: coverage, false positives and power, and what speaks against them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from fracjax import Status
from fracjax.estimators.multifractals.log_cumulants import log_cumulants
from fracjax.systems import signals

POINTS, SEEDS = 4096, 240


@functools.cache
def estimator(**settings):
    return jax.jit(jax.vmap(functools.partial(log_cumulants, **settings)))


def motions(hurst, seeds=SEEDS, points=POINTS):
    keys = jax.random.split(jax.random.key(int(100 * hurst)), seeds)
    return jax.vmap(lambda k: signals.fractional_brownian_motion(k, hurst, points))(keys)


def walks(strength, seeds=SEEDS, points=POINTS, hurst=0.5, oversampling=4):
    """Every fourth point of longer walks: the smallest scale of the model drops out."""
    keys = jax.random.split(jax.random.key(8), seeds)
    length = oversampling * points

    def draw(key):
        walk = signals.multifractal_random_walk(key, hurst, strength, length)
        return walk[::oversampling]

    return jax.lax.map(draw, keys, batch_size=40)


def coverage(estimate, truth, index):
    low, high = estimate.low[:, index], estimate.high[:, index]
    return int(np.sum((low < truth) & (truth < high)))


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.7])
def test_intervals_cover_on_fractional_brownian_motion(hurst):
    """240 seeds. Null 95 %: measured 0.96 to 0.98 for c1, 0.94 to 0.97 for c2."""
    estimate = estimator()(motions(hurst))
    assert np.mean(estimate.status == Status.OK) > 0.98  # 1 in 1000 bends by chance
    for index, truth in enumerate((hurst, 0.0, 0.0)):
        covered = coverage(estimate, truth, index)
        assert covered >= binom.ppf(1e-3, SEEDS, 0.94), index
        assert covered <= binom.ppf(1 - 1e-3, SEEDS, 0.98), index
    value = np.asarray(estimate.value)[estimate.ok[:, 0]]
    assert abs(value[:, 0].mean() - hurst) < 0.005 + 4 * value[:, 0].std() / SEEDS**0.5
    assert abs(value[:, 1].mean()) < 0.002 + 4 * value[:, 1].std() / SEEDS**0.5
    assert value[:, 0].std() < 0.04
    # Two-sided 5 % test of c2 = 0: at most 7 %, three standard errors added.
    p_value = np.asarray(estimate.details["p_value"])
    assert np.mean(p_value < 0.05) < 0.07 + 3 * (0.06 / SEEDS) ** 0.5
    assert np.mean(estimate.details["fit_p_value"] < 0.05) < 0.11


def test_intervals_cover_and_the_test_has_power_on_the_multifractal_walk():
    """MRW(½, λ = 0.3): c1 = ½ + λ², c2 = -λ² within 0.025; measured power 0.6."""
    estimate = estimator()(walks(0.3))
    assert np.mean(estimate.status[:, 0] == Status.OK) > 0.98
    value = np.asarray(estimate.value)
    assert abs(np.nanmean(value[:, 1]) + 0.09) < 0.025
    assert abs(np.nanmean(value[:, 0]) - 0.59) < 0.02
    assert coverage(estimate, 0.59, 0) > 0.88 * SEEDS
    assert coverage(estimate, -0.09, 1) > 0.88 * SEEDS
    assert np.mean(estimate.details["p_value"] < 0.05) > 0.4


@pytest.mark.slow
def test_long_walks_and_motions(x64):
    """2^15 points: c2 of the walk within 0.025 and rejected, of the motion zero and not."""
    walk = estimator()(walks(0.3, seeds=60, points=2**15))
    assert abs(np.nanmean(walk.value[:, 1]) + 0.09) < 0.015
    assert np.mean(walk.details["p_value"] < 0.05) > 0.9
    assert coverage(walk, -0.09, 1) > 0.85 * 60
    # Above one half c1 = H + λ²/2; H + λ² would be four standard errors away.
    skewed = estimator()(walks(0.4, seeds=60, points=2**15, hurst=0.8))
    error = float(np.nanstd(skewed.value[:, 0])) / 60**0.5
    assert abs(np.nanmean(skewed.value[:, 0]) - 0.88) < 0.02 + 3 * error
    assert abs(np.nanmean(skewed.value[:, 1]) + 0.16) < 0.03
    for hurst in (0.3, 0.7):
        motion = estimator()(motions(hurst, seeds=200, points=2**15))
        assert abs(np.nanmean(motion.value[:, 0]) - hurst) < 0.004
        assert abs(np.nanmean(motion.value[:, 1])) < 0.002
        assert coverage(motion, hurst, 0) >= binom.ppf(1e-3, 200, 0.94)
        assert np.mean(motion.details["p_value"] < 0.05) < 0.11


def test_classical_leaders_have_larger_errors():
    values = motions(0.5)
    classical = estimator(p=math.inf)(values)
    default = estimator()(values)
    first, second, _ = np.asarray(classical.value)[classical.ok[:, 0]].T
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(second.mean()) < 0.004
    assert second.std() > 1.05 * np.nanstd(default.value[:, 1])
    assert coverage(classical, 0.5, 0) >= binom.ppf(1e-3, SEEDS, 0.94)


def test_noise_is_refused_until_it_is_integrated():
    keys = jax.random.split(jax.random.key(3), SEEDS)
    noise = jax.vmap(lambda k: signals.fractional_gaussian_noise(k, 0.3, POINTS))(keys)
    refused = estimator()(noise)
    assert np.all(refused.status == Status.NO_SCALING_REGION)
    assert np.all(np.isnan(refused.value))
    summed = estimator(integrate=1)(noise)
    assert np.mean(summed.status == Status.OK) > 0.98
    error = np.nanstd(summed.value[:, 0]) / SEEDS**0.5
    assert abs(np.nanmean(summed.value[:, 0]) + 0.7) < 0.004 + 4 * error
    assert coverage(summed, -0.7, 0) >= binom.ppf(1e-3, SEEDS, 0.94)
    assert abs(summed.details["min_regularity"].mean() + 0.7) < 0.02


@pytest.mark.usefixtures("single_precision")
def test_bad_series_get_a_status():
    t = jnp.linspace(0.0, 1.0, POINTS)
    path = motions(0.5, 1)[0]
    series = [
        (jnp.full(POINTS, 3.0), Status.AT_NOISE_FLOOR),
        (2 * t, Status.AT_NOISE_FLOOR),
        (jnp.where(t > 0.5, 1.0, 0.0), Status.AT_NOISE_FLOOR),
        (jnp.where(jnp.abs(t - 0.5) < 0.1, path[2000], path), Status.AT_NOISE_FLOOR),
        (path + 1e8, Status.AT_NOISE_FLOOR),
        (jnp.sin(300 * t), Status.NO_SCALING_REGION),
        (path.at[7].set(jnp.nan), Status.DIVERGED),
        (path.at[7].set(jnp.inf), Status.DIVERGED),
        (path, Status.OK),
    ]
    count = len(series)
    repeated = jnp.stack([series[index % count][0] for index in range(SEEDS)])
    estimate = estimator()(repeated)
    assert estimate.status[:count, 0].tolist() == [int(status) for _, status in series]
    assert np.all(np.isnan(estimate.value[: count - 1]))
    assert np.all(np.isnan(estimate.low[: count - 1]))
    assert np.all(np.isfinite(estimate.value[count - 1]))


@pytest.mark.slow
def test_scale_offset_trend_batching_and_precision(x64):
    """Three levels, to compile less; the trend acts through the unit of size only."""
    path = jnp.asarray(np.random.default_rng(0).normal(size=1100).cumsum())
    t = jnp.linspace(0.0, 1.0, 1100)
    changed = jnp.stack([path, 1e200 * path, path - 1e4, path + 50 * t**2 - 20 * t])
    batch = estimator()(changed)
    for row, tolerance in ((1, 1e-9), (2, 1e-6), (3, 1e-6)):
        np.testing.assert_allclose(batch.value[row], batch.value[0], atol=tolerance)
    single = log_cumulants(np.asarray(path, np.float32))
    assert single.value.dtype == single.details["p_value"].dtype == jnp.float32
    np.testing.assert_allclose(single.value, batch.value[0], atol=1e-4)
    np.testing.assert_allclose(single.stderr, batch.stderr[0], atol=1e-4)
    assert single.details["scales"].tolist() == [8.0, 16.0, 32.0]
    assert single.details["cumulants"].shape == (3, 3)


@pytest.mark.parametrize(
    ("points", "settings", "name"),
    [
        (POINTS, {"p": 0.0}, "p"),
        (POINTS, {"depth": 0}, "depth"),
        (POINTS, {"integrate": -1}, "integrate"),
        (POINTS, {"levels": (2, 6)}, "levels"),
        (POINTS, {"levels": (4, 5)}, "levels"),
        (POINTS, {"levels": (3, 9)}, "values"),
        (POINTS, {"vanishing_moments": 12}, "vanishing_moments"),
        (500, {}, "values"),
    ],
)
def test_settings_out_of_range_are_named(points, settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        log_cumulants(jnp.zeros(points), **settings)
