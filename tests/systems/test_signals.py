"""Signals against their laws: covariances, scaling identities, characteristic functions."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_draws import exact_covariance

from fracjax.systems import signals


@pytest.mark.parametrize("hurst", [0.2, 0.8])
def test_noise_has_the_covariance_of_the_definition(hurst, x64):
    """Every lag within 5 standard errors; 4000 paths of 16 points."""
    keys = jax.random.split(jax.random.key(1), 4000)
    paths = jax.vmap(lambda k: signals.fractional_gaussian_noise(k, hurst, 16))(keys)
    products = paths[:, :1] * paths
    lag = np.arange(16.0)
    exact = ((lag + 1) ** (2 * hurst) - 2 * lag ** (2 * hurst) + abs(lag - 1) ** (2 * hurst)) / 2
    errors = products.std(axis=0) / 4000**0.5
    assert np.all(np.abs(products.mean(axis=0) - exact) < 5 * errors)
    assert np.all(errors < 0.03)
    assert np.all(np.abs(paths.mean(axis=0)) < 5 / 4000**0.5)


@pytest.mark.usefixtures("single_precision")
def test_noise_is_the_same_in_float32_up_to_rounding():
    """The covariance is made in float64: at H = .9 float32 powers would lose it."""
    noise = signals.fractional_gaussian_noise(jax.random.key(0), 0.9, 2**14)
    assert noise.dtype == jnp.float32
    assert 0.2 < float(noise.var()) < 3.0
    ratio = float(jnp.mean(noise[1:] * noise[:-1]) / jnp.mean(noise**2))
    assert 0.5 < ratio < 1.0


def test_motion_starts_at_zero_and_spreads_as_time_to_the_2h(x64):
    keys = jax.random.split(jax.random.key(2), 4000)

    def ends(key):
        path = signals.fractional_brownian_motion(key, 0.3, 65, spacing=0.25)
        return jnp.stack([path[0], path[-1]])

    first, last = jax.vmap(ends)(keys).T
    assert jnp.all(first == 0)
    expected = 16.0**0.6
    assert abs(float(last.var()) - expected) < 5 * expected * (2 / 4000) ** 0.5


@pytest.mark.parametrize("hurst", [0.1, 0.5, 0.9])
def test_motion_has_exactly_the_covariance_of_the_definition(hurst, monkeypatch, x64):
    """It is a linear map of normal variables, hence Gaussian with this law."""
    covariance = exact_covariance(
        lambda: signals.fractional_brownian_motion(jax.random.key(0), hurst, 12, spacing=0.5),
        monkeypatch,
    )
    t = np.arange(12) * 0.5
    power = 2 * hurst
    exact = (t[:, None] ** power + t**power - abs(t[:, None] - t) ** power) / 2
    np.testing.assert_allclose(covariance, exact, atol=1e-13)


# --- multifractal random walk -----------------------------------------------------------------


def test_walk_without_intermittency_is_the_motion_of_its_noise(x64):
    key = jax.random.key(5)
    walk = signals.multifractal_random_walk(key, 0.7, 0.0, 100)
    motion = signals.fractional_brownian_motion(jax.random.split(key)[0], 0.7, 100)
    np.testing.assert_allclose(walk, motion, atol=1e-12)


def test_walk_has_the_logarithmic_covariance_of_its_magnitudes(x64):
    """Cov(ln|x_i|, ln|x_j|) = λ² ln⁺(L / (1 + |i - j|)) at H = ½; 5 standard errors."""
    strength, scale, reps = 0.5, 20.0, 6000
    keys = jax.random.split(jax.random.key(6), reps)
    walks = jax.vmap(
        lambda k: signals.multifractal_random_walk(k, 0.5, strength, 34, integral_scale=scale)
    )(keys)
    steps = jnp.diff(walks, axis=1)
    logs = jnp.log(jnp.abs(steps))
    logs = logs - logs.mean(axis=0)
    products = logs[:, :1] * logs
    lag = np.arange(33)
    expected = strength**2 * np.maximum(np.log(scale / (1 + lag)), 0)
    expected[0] += math.pi**2 / 8  # the variance of ln|N|
    errors = products.std(axis=0) / reps**0.5
    assert np.all(np.abs(products.mean(axis=0) - expected) < 5 * errors)
    assert np.all(errors[1:] < 0.04)
    # Increments: mean 0, variance 1, no correlation, E x⁴ = 3 L^{4λ²} far from Gaussian.
    assert np.all(np.abs(steps.mean(axis=0)) < 5 * steps.std(axis=0) / reps**0.5)
    squares = steps**2
    assert np.all(np.abs(squares.mean(axis=0) - 1) < 5 * squares.std(axis=0) / reps**0.5)
    cross = steps[:, :1] * steps[:, 1:]
    assert np.all(np.abs(cross.mean(axis=0)) < 5 * cross.std(axis=0) / reps**0.5)


def test_walk_above_one_half_has_the_second_moment_that_sets_its_exponent(x64):
    """E X(n)² = Σ_ij γ(i-j) (1+|i-j|)^{-λ²}, which grows as n^{2H-λ²}: c1 = H + λ²/2."""
    hurst, strength, steps, reps = 0.8, 0.4, 128, 4000
    keys = jax.random.split(jax.random.key(7), reps)
    ends = jax.vmap(lambda k: signals.multifractal_random_walk(k, hurst, strength, steps + 1)[-1])(
        keys
    )
    lag = np.arange(1 << 16, dtype=float)
    noise = ((lag + 1) ** 1.6 - 2 * lag**1.6 + abs(lag - 1) ** 1.6) / 2
    terms = noise * (1 + lag) ** -(strength**2)

    def moment(n):
        return n * terms[0] + 2 * np.sum((n - lag[1:n]) * terms[1:n])

    error = (ends**2).std() / reps**0.5
    assert abs((ends**2).mean() - moment(steps)) < 5 * error
    assert error < 0.1 * moment(steps)
    exponent = math.log(moment(1 << 16) / moment(1 << 15)) / math.log(2)
    assert abs(exponent - (2 * hurst - strength**2)) < 0.01


def test_weierstrass_satisfies_its_functional_equation(x64):
    """W(x) = cos(2πx) + b^{-H} W(bx) for the infinite series, also for b not an integer."""
    x = jnp.linspace(0.01, 0.3, 50)
    base, hurst = 2.5, 0.5
    left = signals.weierstrass(x, hurst, base=base, num_terms=30)
    right = jnp.cos(2 * jnp.pi * x) + base**-hurst * signals.weierstrass(
        base * x, hurst, base=base, num_terms=29
    )
    chex.assert_trees_all_close(left, right, atol=1e-5)


def test_weierstrass_field_is_fixed_by_its_own_key_and_rough_in_every_direction(x64):
    objective = signals.weierstrass_field(jax.random.key(0), 0.4)
    params = {"w": jnp.array([[0.1, 0.2], [0.3, 0.4]]), "b": jnp.array([0.5])}
    first = objective(params, jax.random.key(1))
    assert first == objective(params, jax.random.key(2))
    assert first != signals.weierstrass_field(jax.random.key(9), 0.4)(params, jax.random.key(1))

    scales = 2.0 ** -jnp.arange(6, 26)

    def spread(scale, index):
        key = jax.random.fold_in(jax.random.key(3), index)
        draws = jax.random.normal(key, (200, 5))
        starts = jax.random.uniform(jax.random.fold_in(key, 1), (200, 5))

        def increment(start, draw):
            moved = start + scale * draw
            return objective(moved, key) - objective(start, key)

        return jnp.mean(jax.vmap(increment)(starts, draws) ** 2)

    variances = jax.jit(jax.vmap(spread))(scales, jnp.arange(20))
    slope = np.polyfit(np.log(scales), np.log(variances), 1)[0] / 2
    assert abs(slope - 0.4) < 0.03


@pytest.mark.parametrize("weight", [0.5, 0.7])
def test_takagi_satisfies_its_functional_equation(weight, x64):
    x = jnp.linspace(0.0, 0.5, 41)
    left = signals.takagi(x, weight=weight)
    right = x + weight * signals.takagi(2 * x, weight=weight)
    chex.assert_trees_all_close(left, right, atol=1e-7)
    assert jnp.isclose(signals.takagi(jnp.array(1 / 3)), 2 / 3, atol=1e-10)


def test_cusp_and_step():
    x = jnp.array([-0.25, 0.0, 0.25])
    chex.assert_trees_all_close(signals.cusp(x, 0.5), jnp.array([0.5, 0.0, 0.5]))
    chex.assert_trees_all_close(signals.heaviside(x), jnp.array([0.0, 1.0, 1.0]))


@pytest.mark.parametrize("stability", [0.7, 1.0, 1.5, 2.0])
def test_jumps_of_the_ends_of_the_draws_are_finite(stability):
    limit = jnp.float32(math.pi / 2)  # beyond π/2
    jumps = signals.stable_jump(jnp.array([-limit, limit]), jnp.array([0.0, 0.0]), stability)
    assert jnp.isfinite(jumps).all()


@pytest.mark.parametrize("stability", [1.0, 1.5])
def test_flight_has_the_stable_characteristic_function(stability, x64):
    path = signals.stable_flight(jax.random.key(4), stability, 40_001, spacing=0.5)
    steps = jnp.diff(path)
    for u in (0.5, 1.0, 2.0):
        waves = jnp.cos(u * steps)
        error = waves.std() / 40_000**0.5
        assert jnp.abs(waves.mean() - jnp.exp(-0.5 * u**stability)) < 5 * error


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda k: signals.fractional_gaussian_noise(k, 1.2, 16), "hurst"),
        (lambda k: signals.fractional_gaussian_noise(k, 0.5, 1), "num_points"),
        (lambda k: signals.weierstrass(jnp.ones(3), 0.5, base=0.9), "base"),
        (lambda k: signals.takagi(jnp.ones(3), weight=1.0), "weight"),
        (lambda k: signals.stable_flight(k, 2.5, 16), "stability"),
        (lambda k: signals.multifractal_random_walk(k, 0.3, 0.3, 16), "hurst"),
        (lambda k: signals.multifractal_random_walk(k, 0.5, 0.9, 16), "intermittency"),
        (lambda k: signals.multifractal_random_walk(k, 0.5, 0.3, 2), "num_points"),
        (
            lambda k: signals.multifractal_random_walk(k, 0.5, 0.3, 16, integral_scale=0.5),
            "integral_scale",
        ),
    ],
)
def test_settings_out_of_range_are_named(call, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        call(jax.random.key(0))
