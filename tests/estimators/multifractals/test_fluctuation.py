"""Detrended fluctuations: the exact law, coverage, known biases, heavy tails, bad series."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.stats import binom

from fracjax import Status
from fracjax.estimators.multifractals.detrending import detrending_operator, prepare, window_squares
from fracjax.estimators.multifractals.fluctuation import detrended_fluctuation
from fracjax.estimators.multifractals.fluctuation_model import fluctuation_model, moment_curves
from fracjax.estimators.multifractals.multifractal_fluctuation import (
    multifractal_detrended_fluctuation,
)
from fracjax.systems import signals

SEEDS = 400
MOMENTS = (-4.0, -2.0, 0.0, 2.0, 4.0)
FEW_MOMENTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
NOLDS_WINDOWS = (4, 5, 6, 8, 9, 11, 14, 17, 20, 24)  # default of nolds at 256 samples


@functools.cache
def estimator(function=detrended_fluctuation, **settings):
    return jax.jit(jax.vmap(functools.partial(function, **settings)))


def noises(hurst, points, seeds=SEEDS):
    keys = jax.random.split(jax.random.key(int(100 * hurst) + points), seeds)
    return jax.vmap(lambda k: signals.fractional_gaussian_noise(k, hurst, points))(keys)


def flights(seeds, points=4096):
    keys = jax.random.split(jax.random.key(5), seeds)
    paths = jax.vmap(lambda k: signals.stable_flight(k, 1.5, points + 1))(keys)
    return jnp.diff(paths, axis=1)


def covered(estimate, truth):
    return int(np.sum((estimate.low < truth) & (truth < estimate.high)))


# --- the law ----------------------------------------------------------------------------------


def reference_fluctuation(values, windows, order):
    """The definition, window by window, with NumPy's polynomials."""
    profile = np.cumsum(values - values.mean())
    curve = []
    for window in windows:
        t = np.arange(window)
        squares = []
        for start in range(0, len(values) - window + 1, max(1, window // 4)):
            part = profile[start : start + window]
            residual = part - np.polyval(np.polyfit(t, part, order), t)
            squares.append(np.mean(residual**2))
        curve.append(np.mean(squares))
    return np.sqrt(curve)


def test_fluctuation_is_that_of_the_definition(x64):
    values = np.asarray(noises(0.7, 1200, 1)[0])
    windows = (7, 20, 300)  # the last one takes the way for long windows
    estimate = detrended_fluctuation(values, windows=windows, order=2)
    expected = reference_fluctuation(values, windows, 2) / values.std()
    np.testing.assert_allclose(estimate.details["fluctuation"], expected, rtol=1e-9)


@pytest.mark.parametrize("motion", [False, True])
def test_model_mean_is_that_of_the_covariance_matrix(motion):
    """E F²(s) = tr(A Γ Aᵀ)/s against the integral over frequency, and against the moments."""
    windows, order = (8, 20, 64), 2
    model = fluctuation_model(1024, windows, order, motion)
    bias = np.diagonal(model.covariance, axis1=1, axis2=2) / 2
    for row in (3, 16, 29):
        power = 2 * model.hurst[row]
        expected = []
        for window in windows:
            lag = np.arange(window, dtype=float)
            noise = ((lag + 1) ** power - 2 * lag**power + abs(lag - 1) ** power) / 2
            operator = detrending_operator(window, order)
            matrix = operator @ toeplitz(-(lag**power) / 2 if motion else noise) @ operator.T
            expected.append(math.log(np.trace(matrix) / window))
        offset = model.mean[row] + bias[row] - expected
        np.testing.assert_allclose(offset, offset[0], atol=1e-3)
    grid, curves = moment_curves(windows, order, (2.0,), motion)
    exact = np.stack([np.interp(grid, model.hurst, column) for column in (model.mean + bias).T])
    offset = 2 * curves[:, 0] - exact.T
    np.testing.assert_allclose(offset - offset[:, :1], 0, atol=2e-3)


def test_model_covariance_and_moments_are_those_of_draws():
    """2000 noises of 512 samples; variances within 12 %, correlations 0.08, moments 5 SE."""
    hurst, windows, moments = 0.3, (8, 32, 128), (-3.0, 0.0, 1.0, 4.0)
    values = noises(hurst, 512, 2000)

    @jax.jit
    @jax.vmap
    def fluctuations(series):
        squares = [window_squares(series, window, 2) for window in windows]
        single = squares[1][0]
        return jnp.stack([square.mean() for square in squares]), single

    means, single = (np.asarray(part, float) for part in fluctuations(values))
    model = fluctuation_model(512, windows, 2, False)
    row = int(np.argmin(abs(model.hurst - hurst)))
    measured, expected = np.cov(np.log(means).T), model.covariance[row]
    np.testing.assert_allclose(np.diag(measured) / np.diag(expected), 1, atol=0.12)
    correlation = np.corrcoef(np.log(means).T)
    scale = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(correlation, expected / np.outer(scale, scale), atol=0.08)
    grid, curves = moment_curves((32,), 2, moments, False)
    at = np.array([np.interp(hurst, grid, curve) for curve in curves[:, :, 0].T])
    for moment, curve in zip(moments, at, strict=True):
        power = np.log(single) / 2 if moment == 0 else single ** (moment / 2)
        error = power.std() / 2000**0.5
        assert abs(power.mean() - (curve if moment == 0 else math.exp(moment * curve))) < 5 * error


# --- exponents --------------------------------------------------------------------------------


@pytest.mark.parametrize(("points", "hurst"), [(256, 0.1), (256, 0.5), (256, 0.9), (1024, 0.3)])
def test_intervals_cover_on_fractional_gaussian_noise(points, hurst):
    """Null 95 %, 400 seeds; measured 0.93 to 0.95 over 1000 seeds and five H at three n."""
    estimate = estimator()(noises(hurst, points))
    assert np.mean(estimate.status == Status.OK) > 0.99
    assert covered(estimate, hurst) >= binom.ppf(1e-3, SEEDS, 0.93)
    assert covered(estimate, hurst) <= binom.ppf(1 - 1e-3, SEEDS, 0.96)
    value = np.asarray(estimate.value)[estimate.ok]
    error = value.std() / SEEDS**0.5
    assert abs(value.mean() - hurst) < 0.004 + 4 * error
    assert abs(value.std() / np.nanmean(estimate.stderr) - 1) < 0.15
    assert np.mean(estimate.details["fit_p_value"] < 0.05) < 0.10


def test_intervals_cover_on_motions():
    motion = jnp.cumsum(noises(0.7, 1024), axis=1)
    estimate = estimator(model="motion")(motion)
    assert covered(estimate, 1.7) >= binom.ppf(1e-3, SEEDS, 0.93)
    assert abs(estimate.value.mean() - 1.7) < 0.008


@pytest.mark.parametrize(
    ("hurst", "documented"), [(0.1, 0.129), (0.3, 0.09), (0.5, 0.068), (0.7, 0.05), (0.9, 0.043)]
)
def test_plain_slope_has_the_documented_bias_and_an_interval_without_it(hurst, documented):
    """DFA-1 of noises of 256 samples over the windows of nolds; table of the benchmark."""
    estimate = estimator(order=1, windows=NOLDS_WINDOWS, fit="ols")(noises(hurst, 256))
    bias = float(estimate.value.mean()) - hurst
    assert abs(bias - documented) < 0.015
    assert abs(bias - float(estimate.details["bias"].mean())) < 0.012
    assert covered(estimate, hurst) >= binom.ppf(1e-3, SEEDS, 0.94)


@pytest.mark.slow
def test_heavy_tails_tell_moments_apart():
    """α-stable increments, α = 1.5: ½ at q = 2, 1/α below; two standard errors of the mean."""
    increments = flights(60)
    second = estimator()(increments)
    assert np.all(np.abs(second.value - 0.5) < 0.1)
    estimate = estimator(multifractal_detrended_fluctuation, q=FEW_MOMENTS)(increments)
    mean = np.asarray(estimate.value.mean(axis=0))[[0, 1, 2, 4]]
    np.testing.assert_allclose(mean, [1 / 1.5, 1 / 1.5, 1 / 1.5, 0.5], atol=0.02)
    assert np.mean(estimate.details["p_value"] < 0.05) > 0.85


@pytest.mark.parametrize("hurst", [0.2, 0.8])
def test_every_moment_of_a_gaussian_noise_has_one_exponent(hurst):
    """Null: h(q) = H at |q| <= 4 within 0.01, 95 % coverage (measured 0.92 to 0.98)."""
    estimate = estimator(multifractal_detrended_fluctuation, q=MOMENTS)(noises(hurst, 1024))
    assert np.all(estimate.status == Status.OK)
    np.testing.assert_allclose(estimate.value.mean(axis=0), hurst, atol=0.012)
    for index in range(len(MOMENTS)):
        inside = (estimate.low < hurst) & (hurst < estimate.high)
        assert inside[:, index].sum() >= binom.ppf(1e-3, SEEDS, 0.93)
    assert np.mean(estimate.details["p_value"] < 0.05) < 0.09


def test_walk_shows_its_multifractal_exponents():
    """h(q) = ζ(q)/q = 0.59 - 0.045 q for MRW(½, 0.3); spectrum below 1, widest in the middle."""
    keys = jax.random.split(jax.random.key(2), 60)
    walks = jax.vmap(lambda k: signals.multifractal_random_walk(k, 0.5, 0.3, 4 * 4096 + 1)[::4])(
        keys
    )
    increments = jnp.diff(walks, axis=1)
    estimate = estimator(multifractal_detrended_fluctuation, q=FEW_MOMENTS)(increments)
    truth = 0.59 - 0.045 * np.asarray(FEW_MOMENTS)
    np.testing.assert_allclose(estimate.value.mean(axis=0), truth, atol=0.025)
    assert np.mean(estimate.details["p_value"] < 0.05) > 0.5
    spectrum = np.asarray(estimate.details["spectrum"].mean(axis=0))
    assert abs(spectrum[2] - 1) < 1e-3
    assert spectrum[0] < 0.98
    assert spectrum[4] < 0.98
    assert np.all(np.diff(estimate.details["singularity"].mean(axis=0)) < 0)


@pytest.mark.slow
@pytest.mark.parametrize("points", [256, 1024, 4096])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_coverage_over_all_exponents(points, order):
    for hurst in (0.1, 0.3, 0.5, 0.7, 0.9):
        estimate = estimator(order=order)(noises(hurst, points, 600))
        assert covered(estimate, hurst) >= binom.ppf(1e-4, 600, 0.93)
        assert covered(estimate, hurst) <= binom.ppf(1 - 1e-4, 600, 0.96)


# --- bad series -------------------------------------------------------------------------------


def test_bad_series_get_a_status():
    t = jnp.linspace(0.0, 1.0, 1024)
    noise = noises(0.5, 1024, 1)[0]
    flat = jnp.where(jnp.abs(t - 0.5) < 0.1, 0, noise)
    series = [
        (noise.at[3].set(jnp.nan), Status.DIVERGED, Status.DIVERGED),
        (noise.at[3].set(jnp.inf), Status.DIVERGED, Status.DIVERGED),
        (jnp.full(1024, 3.0), Status.AT_NOISE_FLOOR, Status.AT_NOISE_FLOOR),
        (t, Status.AT_NOISE_FLOOR, Status.AT_NOISE_FLOOR),
        (flat, Status.OK, Status.AT_NOISE_FLOOR),
        (jnp.cumsum(noise), Status.NO_SCALING_REGION, Status.NO_SCALING_REGION),
        (jnp.sin(20 * t), Status.NO_SCALING_REGION, Status.NO_SCALING_REGION),
        (1e30 * noise + 1e33, Status.OK, Status.OK),
    ]
    count = len(series)
    batch = jnp.stack([series[index % count][0] for index in range(SEEDS)])
    one = estimator()(batch)
    assert one.status[:count].tolist() == [int(status) for _, status, _ in series]
    assert np.array_equal(np.isnan(one.value), one.status != Status.OK)
    many = estimator(multifractal_detrended_fluctuation, q=MOMENTS)(batch)
    assert many.status[:count, 0].tolist() == [int(status) for *_, status in series]
    assert np.array_equal(np.isnan(many.low), many.status != Status.OK)


def test_batching_and_precision(x64):
    """Also sums of a motion in float32, whose profile would lose its digits."""
    values = np.random.default_rng(0).normal(size=(2, 2048)).cumsum(axis=1)
    settings = {"model": "motion", "windows": (8, 32, 128)}
    wide = estimator(**settings)(values)
    narrow = detrended_fluctuation(values[0].astype(np.float32) + 1000, **settings)
    assert wide.value.dtype == jnp.float64
    assert narrow.value.dtype == jnp.float32
    np.testing.assert_allclose(narrow.value, wide.value[0], atol=1e-3)
    np.testing.assert_allclose(narrow.stderr, wide.stderr[0], rtol=1e-3)
    settings["q"] = (-2.0, 2.0)
    many = multifractal_detrended_fluctuation(values[0].astype(np.float32), **settings)
    assert many.value.dtype == many.details["p_value"].dtype == jnp.float32
    assert abs(many.value[1] - narrow.value) < 3 * many.stderr[1]
    clean, _, _ = prepare(jnp.asarray(values[0]))
    assert abs(float(clean.std()) - 1) < 1e-12


@pytest.mark.parametrize(
    ("points", "settings", "name"),
    [
        (512, {"model": "walk"}, "model"),
        (512, {"order": 0}, "order"),
        (512, {"model": "motion", "order": 1}, "order"),
        (512, {"fit": "ransac"}, "fit"),
        (512, {"windows": (8, 16)}, "windows"),
        (512, {"windows": (16, 8, 32)}, "windows"),
        (512, {"windows": (4, 8, 16)}, "windows"),
        (512, {"windows": (8, 16, 200)}, "windows"),
        (100, {}, "values"),
    ],
)
def test_settings_out_of_range_are_named(points, settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        detrended_fluctuation(jnp.zeros(points), **settings)


@pytest.mark.parametrize("q", [(2.0,), (2.0, 1.0), (0.0, 6.0)])
def test_moments_out_of_range_are_named(q):
    with pytest.raises(ValueError, match="Argument `q` must"):
        multifractal_detrended_fluctuation(jnp.zeros(1024), q=q)
