"""Diffusion exponents: exact laws with coverage, and processes that have no single exponent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.diffusion.displacements import displacement_at_lags
from fracjax.estimators.diffusion.distributions import (
    displacement_density,
    non_gaussian_parameter,
)
from fracjax.estimators.diffusion.exponents import (
    diffusion_exponent,
    effective_coordinates,
    local_diffusion_exponents,
)
from fracjax.estimators.diffusion.nulls import (
    drift_noise_surrogate,
    null_exponents,
    relaxation_surrogate,
)
from fracjax.estimators.diffusion.over_time import (
    average_over_runs,
    exponent_change,
    exponents_over_time,
)
from fracjax.estimators.diffusion.power_law import displacement_covariance
from fracjax.estimators.diffusion.typical import typical_displacement_exponent
from fracjax.systems import signals

KEY = jax.random.key(1)


def many(function, seeds, *, batch_size=50):
    run = jax.jit(lambda keys: jax.lax.map(function, keys, batch_size=batch_size))
    return run(jax.random.split(KEY, seeds))


def motion(key, hurst, num_points, size):
    draw = jax.vmap(lambda k: signals.fractional_brownian_motion(k, hurst, num_points))
    return draw(jax.random.split(key, size)).T


def relaxing(key, rate=0.05, num_points=1000, size=5):
    kicks = jax.random.normal(key, (num_points, size))
    return jax.lax.scan(lambda x, e: (x * (1 - rate) + e,) * 2, jnp.zeros(size), kicks)[1]


def drifting(key, speed=0.3, num_points=1000, size=5):
    return jnp.cumsum(speed + jax.random.normal(key, (num_points, size)), axis=0)


def covered(estimate, truth):
    return np.mean((estimate.low < truth) & (truth < estimate.high))


def test_the_covariance_is_that_of_random_walks(x64):
    """Exact at H = ½, by Qian, Sheetz and Elson: Var D_τ / D_τ² = (4 τ² + 2)/(6 τ n') + … .

    The sum over lags of the squared covariance of overlapping steps, done by hand for n = 4.
    """
    table = displacement_covariance(4, (1, 2), (0.5,))[0]
    # Three steps of variance 1. D_1: 2/3. D_2, two values sharing a step: (2·4·2 + 2·2·1)/4/4.
    np.testing.assert_allclose(table[0, 0], 2 / 3)
    np.testing.assert_allclose(table[1, 1], (2 * 4 * 2 + 2 * 2) / 4 / 4)
    # D_1 with D_2: 2/(3·2)·(four unit overlaps)/(1·2).
    np.testing.assert_allclose(table[0, 1], 2 / 6 * 4 / 2)


@pytest.mark.parametrize(
    ("hurst", "num_points", "size", "weights"),
    [
        pytest.param(0.25, 300, 1, "uniform", marks=pytest.mark.slow),
        (0.75, 300, 4, "generalised"),
    ],
)
def test_fractional_brownian_motion(hurst, num_points, size, weights):
    """Exponent 2H; null: 95 % of 200 intervals hold it (4 standard errors: .89), no bias."""
    found = many(
        lambda key: diffusion_exponent(motion(key, hurst, num_points, size), weights=weights), 200
    )
    assert covered(found, 2 * hurst) > 0.89
    spread = found.value.std()
    assert abs(found.value.mean() - 2 * hurst) < 5 * spread / 200**0.5 + 0.005
    assert spread / 1.5 < found.stderr.mean() < 1.6 * spread
    assert np.mean(found.status == Status.OK) > 0.95
    assert found.details["effective_coordinates"].mean() > 0.8 * size


@pytest.mark.slow
def test_surrogates_keep_what_they_say(x64):
    """Ends and steps; and a coordinate without noise relaxes as it did, exactly."""
    path = drifting(KEY, num_points=60)
    mixed = drift_noise_surrogate(KEY, path)
    np.testing.assert_allclose([mixed[0], mixed[-1]], [path[0], path[-1]])
    np.testing.assert_allclose(
        jnp.sort(jnp.diff(mixed, axis=0), axis=0), jnp.sort(jnp.diff(path, axis=0), axis=0)
    )
    decay = 3 + 0.9 ** jnp.arange(60.0)[:, None] * jnp.array([1.0, -5.0])
    np.testing.assert_allclose(relaxation_surrogate(KEY, decay), decay, atol=1e-9)
    null = null_exponents(KEY, path, num_surrogates=9)
    assert null.low < null.value < null.high
    assert null.details["exponents"].shape == (9,)
    broken = null_exponents(KEY, path.at[3].set(jnp.nan), num_surrogates=9)
    assert broken.status == Status.DIVERGED
    with pytest.raises(ValueError, match="num_surrogates"):
        null_exponents(KEY, path, num_surrogates=5)


def test_a_surrogate_without_an_exponent_is_no_null():
    path = motion(KEY, 0.5, 60, 2)
    null = null_exponents(KEY, path, lambda _, path: path * jnp.nan, num_surrogates=9)
    assert np.isnan([null.value, null.stderr, null.low, null.high]).all()
    assert null.status == Status.DIVERGED


def test_a_line_is_ballistic(x64):
    """Exact: exponent 2 to rounding, in either weighing."""
    line = jnp.arange(500.0)[:, None] * jnp.array([1.0, -2.0])
    for weights in ("generalised", "uniform"):
        found = diffusion_exponent(line, weights=weights)
        np.testing.assert_allclose(found.value, 2.0, atol=1e-8)
        assert found.status == Status.OK
        assert found.stderr < 0.05
    np.testing.assert_allclose(diffusion_exponent(line.astype(jnp.float32)).value, 2, atol=1e-4)


def test_relaxation_goes_from_one_to_zero():
    """Ornstein-Uhlenbeck: D = 2 v m (1 - a^τ), local exponents by the law, bent over the whole."""
    lags = (1, 2, 20, 40, 200, 400)

    def both(key):
        path = relaxing(key)
        values = displacement_at_lags(path, lags)
        return local_diffusion_exponents(values, offset=1, lags=jnp.asarray(lags)), values, path

    found, values, paths = many(both, 200)
    law = 1 - 0.95 ** np.array(lags, float)
    expected = np.diff(np.log(law)) / np.diff(np.log(lags))
    # From the origin it takes 20 steps to reach equilibrium, which shows at long lags.
    found, values = np.asarray(found), np.asarray(values)
    spread = found.std(axis=0) / 200**0.5
    exact = np.diff(np.log(values.mean(axis=0))) / np.diff(np.log(lags))
    np.testing.assert_allclose(found.mean(axis=0)[[0, 2]], exact[[0, 2]], atol=0.02)
    assert np.all(abs(exact - expected)[[0, 2, 4]] < 5 * spread[[0, 2, 4]] + 0.02)
    assert expected[0] > 0.95
    assert abs(expected[4]) < 1e-4
    whole = jax.jit(jax.vmap(diffusion_exponent))(paths[:50])
    assert np.mean(whole.status == Status.NO_SCALING_REGION) > 0.5
    assert whole.details["bend"].mean() < -0.3


@pytest.mark.slow
def test_flights_are_caught_and_measured():
    """MSD exponent 1 whatever the stability; the typical displacement has 2/α, with coverage."""

    def both(key):
        path = signals.stable_flight(key, 1.2, 1001)
        return diffusion_exponent(path), typical_displacement_exponent(path)

    squares, typical = many(both, 200)
    assert np.mean(squares.status == Status.NOT_CONVERGED) > 0.95
    assert abs(np.median(squares.value) - 1) < 0.05
    assert covered(typical, 2 / 1.2) > 0.885
    assert abs(typical.value.mean() - 2 / 1.2) < 5 * typical.value.std() / 200**0.5
    walk = many(lambda key: typical_displacement_exponent(motion(key, 0.5, 600, 2)), 200)
    assert covered(walk, 1.0) > 0.885
    assert np.all(walk.status == Status.OK)


@pytest.mark.slow
def test_nulls_explain_drift_and_relaxation():
    """z of a path against its own law is standard; against the wrong one it is far off."""

    def compare(make, surrogate):
        def one(key):
            return null_exponents(key, make(key), surrogate, num_surrogates=19)

        return many(one, 40, batch_size=20)

    walk = compare(lambda key: motion(key, 0.5, 400, 3), drift_noise_surrogate)
    drift = compare(lambda key: drifting(key, num_points=400), drift_noise_surrogate)
    bowl = compare(lambda key: relaxing(key, 0.1, 400), relaxation_surrogate)
    wrong = compare(lambda key: relaxing(key, 0.1, 400), drift_noise_surrogate)
    for null in (walk, drift, bowl):
        assert abs(null.details["z"].mean()) < 5 * 1.1 / 40**0.5
        assert 0.6 < null.details["z"].std() < 1.6
    assert drift.value.mean() > 1.1
    assert np.all(wrong.details["z"] < -2)
    assert np.all(wrong.details["percentile"] == 0)


@pytest.mark.slow
def test_the_change_over_time():
    """A path that is ballistic at first and then rests; and a walk, whose interval covers zero."""
    walks = many(
        lambda key: exponent_change(
            exponents_over_time(motion(key, 0.5, 720, 2), segment_length=120)
        ),
        200,
    )
    assert covered(walks, 0.0) > 0.9
    straight = jnp.cumsum(1 + 0.1 * jax.random.normal(KEY, (600, 2)), axis=0)
    path = jnp.concatenate([straight, straight[-1] + relaxing(KEY, 0.3, 600, 2)])
    segments = exponents_over_time(path, segment_length=200)
    change = exponent_change(segments)
    assert change.high < -1
    assert change.details["first_below"] in (3, 4)
    assert segments.details["waiting_times"].tolist() == [0, 200, 400, 600, 800, 1000]
    runs = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1]), segments)
    mean = average_over_runs(runs)
    np.testing.assert_allclose(mean.value, segments.value + 0.5, rtol=1e-5)
    assert mean.value.shape == (6,)
    with pytest.raises(ValueError, match="at least 6"):
        exponent_change(jax.tree.map(lambda leaf: leaf[:5], segments))


@pytest.mark.slow
def test_displacement_distributions():
    """Gaussian steps of very unequal size are Gaussian; a mixture over time has an exact value."""
    sizes = 10.0 ** jnp.arange(-2.0, 3)

    def both(key):
        first, second = jax.random.split(key)
        steps = jax.random.normal(first, (1000, 5)) * sizes
        scale = jnp.where(jax.random.bernoulli(second, 0.5, (1000, 1)), 1.0, 3.0)
        plain, mixed = jnp.cumsum(steps, axis=0), jnp.cumsum(steps * scale, axis=0)
        return non_gaussian_parameter(plain, lag=4), non_gaussian_parameter(mixed)

    plain, mixed = many(both, 200)
    exact = 0.5 * (1 + 81) / (0.5 * (1 + 9)) ** 2 - 1
    assert covered(plain, 0.0) > 0.885
    assert covered(mixed, exact) > 0.885
    assert np.mean(mixed.low > 0) == 1
    path = jnp.cumsum(jax.random.normal(KEY, (20_000, 5)) * sizes, axis=0)
    edges = jnp.linspace(-3, 3, 13)
    density = displacement_density(path, edges)
    middles = np.asarray(edges[1:] + edges[:-1]) / 2
    gaussian = np.exp(-(middles**2) / 2) / (2 * np.pi) ** 0.5
    # 1e5 values: errors of at most .0025; the curvature inside a bin changes .004.
    np.testing.assert_allclose(density, gaussian, atol=0.015)


@pytest.mark.slow
def test_contracts(x64):
    """jit = eager, vmap = loop, float32 = float64, and codes where there is no number."""
    paths = jax.vmap(lambda key: motion(key, 0.5, 500, 2))(jax.random.split(KEY, 2))
    for estimate in (
        diffusion_exponent,
        typical_displacement_exponent,
        non_gaussian_parameter,
    ):
        batch = jax.jit(jax.vmap(estimate))(paths)
        compiled = jax.jit(estimate)
        alone = estimate(paths[1]) if estimate is diffusion_exponent else compiled(paths[1])
        np.testing.assert_allclose(batch.value[1], alone.value, rtol=1e-9)
        np.testing.assert_allclose(batch.stderr[1], alone.stderr, rtol=1e-7)
        single = compiled(paths[1].astype(jnp.float32))
        assert single.value.dtype == jnp.float32
        np.testing.assert_allclose(single.value, alone.value, atol=1e-4)
        broken = compiled(paths[1].at[7].set(jnp.nan))
        assert broken.status == Status.DIVERGED
        assert np.isnan([broken.value, broken.low, broken.high]).all()
        still = compiled(jnp.ones((500, 2)))
        assert still.status == Status.AT_NOISE_FLOOR
        assert np.isnan(still.value)
        with pytest.raises(ValueError, match="path"):
            estimate(paths[0, :10])
    assert effective_coordinates(jnp.zeros((50, 3))) >= 1
    for window in ((0, 5), (10, 5), (3, 3), (1, 500)):
        with pytest.raises(ValueError, match="window"):
            diffusion_exponent(paths[0], window=window)
    with pytest.raises(ValueError, match="moment"):
        typical_displacement_exponent(paths[0], moment=0.0)
    with pytest.raises(ValueError, match="lag"):
        non_gaussian_parameter(paths[0], lag=400)
