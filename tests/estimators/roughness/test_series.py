"""Hölder exponent of one series, against exact fractional Brownian motion, noise and rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators import series_holder_exponent

pytestmark = pytest.mark.usefixtures("x64")

# Standard deviation of the Whittle estimator at n = 256 (the reference page's table).
WHITTLE = {0.1: 0.027, 0.3: 0.038, 0.5: 0.040, 0.7: 0.044, 0.9: 0.044}


def paths(hurst, num_points, *, seeds=300, seed=0):
    """Fractional Brownian motion by circulant embedding, exact law."""
    lag = np.arange(num_points + 1.0)
    power = 2 * hurst
    covariance = ((lag + 1) ** power - 2 * lag**power + np.abs(lag - 1) ** power) / 2
    circle = np.concatenate([covariance, covariance[-2:0:-1]])
    amplitude = np.sqrt(np.maximum(np.fft.fft(circle).real, 0) / len(circle))
    draws = np.random.default_rng(seed).normal(size=(2, seeds, len(circle)))
    noise = np.fft.fft(amplitude * (draws[0] + 1j * draws[1])).real[:, :num_points]
    return np.cumsum(noise, axis=1)


@functools.lru_cache
def batched(**settings):
    run = functools.partial(series_holder_exponent, **settings)
    return jax.jit(jax.vmap(run))


@jax.jit
def with_known_noise(values, variance):
    run = functools.partial(series_holder_exponent, noise_variance=variance)
    return jax.vmap(run)(values)


def covered(estimate, hurst):
    return float(jnp.mean((estimate.low <= hurst) & (hurst <= estimate.high)))


@pytest.mark.parametrize("num_points", [64, 256, 1024, pytest.param(4096, marks=pytest.mark.slow)])
@pytest.mark.parametrize("hurst", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_gate_h1_interval_is_calibrated(hurst, num_points):
    """Null: 95 % coverage; 300 seeds, so that 90 % is 4 standard errors away.

    At n = 64 and H = .1 the interval is wide out of caution: every seed may be covered.
    """
    estimate = batched()(paths(hurst, num_points))
    assert (estimate.status == Status.OK).all()
    assert abs(estimate.value.mean() - hurst) < 0.02
    assert 0.90 <= covered(estimate, hurst) <= (1.0 if num_points == 64 else 0.99)
    assert 0.85 < estimate.stderr.mean() / estimate.value.std() < 1.2
    assert 0.01 < (estimate.details["fit_p_value"] < 0.05).mean() < 0.13
    if num_points == 256:
        assert estimate.value.std() < 1.45 * WHITTLE[hurst]


@pytest.mark.parametrize("ratio", [0.3, 1.0])
@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.7])
def test_gate_h2_known_noise_is_taken_off(hurst, ratio):
    """Noise of `ratio` times the smallest first difference; bias .08 to .4 if ignored."""
    clean = paths(hurst, 1024)
    noisy = clean + ratio * np.random.default_rng(1).normal(size=clean.shape)
    estimate = with_known_noise(noisy, ratio**2)
    assert (estimate.status == Status.OK).mean() > 0.98
    assert abs(jnp.nanmean(estimate.value) - hurst) < 0.03
    assert 0.90 <= covered(estimate, hurst) <= 0.99
    blind = batched()(noisy)
    assert abs(blind.value.mean() - hurst) > (0.15 if ratio == 1 else 0.02)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_gate_h2_unknown_noise_is_estimated(ratio):
    clean = paths(0.5, 1024)
    noisy = clean + ratio * np.random.default_rng(1).normal(size=clean.shape)
    estimate = batched(estimate_noise=True)(noisy)
    ok = estimate.status == Status.OK
    assert ok.mean() > 0.9
    assert abs(estimate.value[ok].mean() - 0.5) < 0.03
    inside = (estimate.low <= 0.5) & (0.5 <= estimate.high)
    assert 0.90 <= inside[ok].mean() <= 0.99
    nugget = estimate.details["nugget"][ok]
    assert jnp.median(nugget) == pytest.approx(6 * ratio**2, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("hurst", [0.3, 0.7])
@pytest.mark.parametrize("num_points", [512, 4096])
def test_unknown_noise_at_other_lengths(hurst, num_points):
    noisy = paths(hurst, num_points) + np.random.default_rng(1).normal(size=(300, num_points))
    estimate = batched(estimate_noise=True)(noisy)
    ok = estimate.status == Status.OK
    assert ok.mean() > 0.7
    assert abs(estimate.value[ok].mean() - hurst) < 0.03
    inside = (estimate.low <= hurst) & (hurst <= estimate.high)
    assert 0.90 <= inside[ok].mean() <= 0.995


@pytest.mark.parametrize("offset", [1e5, 1e6, 1e7])
@pytest.mark.parametrize("hurst", [0.3, 0.7])
def test_gate_h3_float32_rounding_is_taken_off_or_refused(hurst, offset):
    """Increments of .03 on a large offset: rounding steps of .26, 2 and 33 of them."""
    clean = 0.03 * paths(hurst, 256)
    with jax.enable_x64(False):
        estimate = batched()(jnp.asarray(clean + offset, jnp.float32))
    assert estimate.value.dtype == jnp.float32
    ok = estimate.status == Status.OK
    if offset == 1e7:
        assert ok.mean() < 0.02
        return
    assert ok.mean() > 0.85
    assert abs(jnp.nanmean(estimate.value) - hurst) < 0.03
    assert 0.90 <= ((estimate.low <= hurst) & (hurst <= estimate.high))[ok].mean() <= 0.99
    assert (estimate.details["nugget"] > 0).all()


def test_single_and_double_precision_agree():
    values = paths(0.4, 256)
    double = batched()(values)
    with jax.enable_x64(False):
        single = batched()(jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(single.value, double.value, atol=2e-4)
    np.testing.assert_allclose(single.stderr, double.stderr, rtol=1e-2)


def test_what_cannot_be_used_gets_a_status():
    run = jax.jit(series_holder_exponent)
    constant, broken = run(jnp.ones(64)), run(jnp.ones(64).at[3].set(jnp.nan))
    assert constant.status == Status.AT_NOISE_FLOOR
    assert broken.status == Status.DIVERGED
    assert jnp.isnan(constant.value) & jnp.isnan(broken.value)
    drowned = with_known_noise(paths(0.5, 1024), 1e4)
    assert (drowned.status == Status.AT_NOISE_FLOOR).all()


def test_a_smooth_series_is_bounded_by_the_order():
    """The value is a bound, and says so; a good fit is not to be had."""
    time = np.linspace(0, 1, 256)
    smooth = np.stack([np.sin(20 * time), np.exp(time), time**2])
    others = np.stack([3 * time, *paths(0.5, 256, seeds=2)])
    estimate = batched()(np.resize(np.concatenate([smooth, others]), (300, 256)))
    at_floor = Status.AT_NOISE_FLOOR
    assert estimate.status[:6].tolist() == [Status.OK] * 3 + [at_floor] + [Status.OK] * 2
    assert estimate.details["at_cap"][:6].tolist() == [True] * 3 + [False] * 3
    assert (estimate.value[:3] > 1.9).all()


def test_spacing_enters_the_scales_only():
    values = paths(0.4, 256)
    one, other = batched(spacing=0.5)(values), batched()(values)
    np.testing.assert_allclose(one.details["scales"], 0.5 * other.details["scales"])
    np.testing.assert_allclose(one.value, other.value)


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((10,), {}, "at least 32"),
        ((4, 64), {}, "one series"),
        ((64,), {"estimate_noise": True}, "at least 512"),
        ((600,), {"estimate_noise": True, "noise_variance": 1.0}, "noise_variance"),
    ],
)
def test_bad_arguments_say_what_to_do(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        series_holder_exponent.__wrapped__(np.zeros(shape), **settings)
