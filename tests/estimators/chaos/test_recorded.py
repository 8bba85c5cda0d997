"""Exponents of recorded data against their measured bias, and the refusal of what has none."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.chaos.recorded import recorded_exponent
from fracjax.systems import flows, maps

from references import value


@functools.cache
def record(name, points):
    """24 orbits in float64: (24, points, variables), after a transient."""
    rng = np.random.default_rng(1)
    starts = {
        "logistic": (maps.logistic(4.0), rng.uniform(0.1, 0.9, (24, 1)), 1),
        "henon": (maps.henon(), rng.uniform(-0.1, 0.1, (24, 2)), 1),
        "lorenz": (flows.rk4(flows.lorenz63(), 0.01), rng.normal(10, 1, (24, 3)), 5),
    }
    step, states, every = starts[name]

    def advance(state, _):
        return jax.lax.scan(lambda s, _: (step(s), None), state, length=every)[0], state

    def run(state):
        return jax.lax.scan(advance, state, length=points + 400)[1][400:]

    return np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(states)))


def noisy(series, share, seed):
    return series + share * series.std() * np.random.default_rng(seed).normal(size=series.shape)


@pytest.mark.parametrize(
    ("name", "points", "noise", "mean", "scatter"),
    [
        ("logistic", 500, 0.0, 0.694, 0.007),
        ("logistic", 500, 0.01, 0.602, 0.015),
        ("henon", 500, 0.0, 0.400, 0.032),
    ],
)
def test_bias_is_the_documented_one(name, points, noise, mean, scatter, x64):
    """Mean of 12 fresh series within 4 standard errors of the table's (of 24 series)."""
    series = record(name, points)[:12, :, 0]
    estimates = [recorded_exponent(noisy(s, noise, 50 + i)) for i, s in enumerate(series)]
    values = np.array([estimate.value for estimate in estimates])
    assert abs(values.mean() - mean) < 4 * scatter * np.sqrt(1 / 12 + 1 / 24)
    errors = np.array([estimate.stderr for estimate in estimates])
    assert 0.7 < errors.mean() / scatter < 6
    assert all(estimate.status == Status.OK for estimate in estimates)


def test_lorenz_series_and_trajectory(x64):
    """In nats per unit of time; bias and scatter from the table, and .83 ± .034 for vectors."""
    trajectory = record("lorenz", 5000)[0]
    series = recorded_exponent(trajectory[:, 0], dt=0.05)
    vectors = recorded_exponent(trajectory, dt=0.05)
    assert abs(series.value - 0.891) < 4 * 0.040
    assert abs(vectors.value - 0.829) < 4 * 0.034
    assert series.low < value("lorenz63", "exponents")[0] < series.high
    start, stop = series.details["region"]
    assert stop - start > 1.6  # a mean period
    assert series.details["dimension"] == 3
    assert len(series.details["times"]) == len(series.details["curve"])


def test_interval_covers_the_expected_value(x64):
    """Expectation at this length from 200 series. Null: coverage of 95 % or more."""
    orbit = record("logistic", 10_000)[:8].reshape(-1, 400)[:200]
    estimates = [recorded_exponent(series, horizon=20) for series in orbit]
    values, low, high = np.array([(e.value, e.low, e.high) for e in estimates]).T
    expected = np.nanmean(values)
    assert np.mean(np.isfinite(values)) > 0.98
    assert np.nanmean((low < expected) & (expected < high)) > 0.92


def test_kantz_is_close_to_rosenstein_on_a_map(x64):
    series = record("henon", 2000)[0, :, 0]
    kantz = recorded_exponent(series, method="kantz", num_neighbors=5)
    assert abs(kantz.value - value("henon", "exponents")[0]) < 0.06
    assert kantz.status == Status.OK


def autoregression(points, coefficient, rng):
    series = [0.0]
    for kick in rng.normal(size=points - 1):
        series.append(coefficient * series[-1] + kick)
    return np.array(series)


def test_noise_walks_and_tori_have_no_scaling_region():
    rng = np.random.default_rng(0)
    time = 0.1 * np.arange(2000)
    without = {
        "noise": rng.normal(size=2000),
        "walk": np.cumsum(rng.normal(size=2000)),
        "autoregression": autoregression(2000, 0.95, rng),
        "torus": np.sin(time) + 0.5 * np.sin(np.sqrt(2) * time),
    }
    for name, series in without.items():
        estimate = recorded_exponent(series, dt=0.1)
        assert estimate.status == Status.NO_SCALING_REGION, name
        assert np.isnan(estimate.value)
        assert "curve" in estimate.details


def test_failures_have_a_status():
    broken = np.random.default_rng(0).normal(size=300)
    broken[7] = np.nan
    assert recorded_exponent(broken).status == Status.DIVERGED
    assert recorded_exponent(np.full(300, 2.5)).status == Status.AT_NOISE_FLOOR
    assert recorded_exponent(np.tile(np.arange(5.0), 60)).status == Status.AT_NOISE_FLOOR
    short = recorded_exponent(np.sin(np.arange(120.0)), delay=10, dimension=4)
    assert short.status == Status.TOO_FEW_POINTS
    assert np.isnan(short.low)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"dt": 0.0}, "dt"),
        ({"delay": 0}, "delay"),
        ({"dimension": 0}, "dimension"),
        ({"theiler": -1}, "theiler"),
        ({"horizon": 2}, "horizon"),
        ({"num_neighbors": 0}, "num_neighbors"),
        ({"num_references": 3}, "num_references"),
        ({"method": "wolf"}, "method"),
    ],
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        recorded_exponent(np.arange(200.0), **settings)


def test_shapes_out_of_range_are_named():
    with pytest.raises(ValueError, match="Argument `values` must"):
        recorded_exponent(np.arange(20.0))
    with pytest.raises(ValueError, match="Argument `delay` must be left out"):
        recorded_exponent(np.ones((200, 2)), delay=1)
