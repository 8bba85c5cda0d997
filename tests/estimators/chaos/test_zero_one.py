"""The 0-1 test on chaotic, periodic, quasi-periodic and oversampled series."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.chaos.zero_one import zero_one_test
from fracjax.systems import flows, maps

pytestmark = pytest.mark.usefixtures("optimised")


@functools.partial(jax.jit, static_argnums=(0, 2))
def orbit(step, state, num_steps):
    """Record an orbit after 1000 steps."""

    def advance(state, _):
        return step(state), state

    return jax.lax.scan(advance, state, length=num_steps + 1000)[1][1000:]


def logistic(rate, starts, num_steps):
    return jax.vmap(lambda x: orbit(maps.logistic(rate), x, num_steps))(starts)


@functools.partial(jax.jit, static_argnames=("damping",))
def run_all(series, seed, damping=0.0):
    """One program for all batches of one shape."""
    keys = jax.random.split(jax.random.key(seed), len(series))
    return jax.vmap(lambda v, k: zero_one_test(v, key=k, damping=damping))(series, keys)


def quasi_periodic():
    time = np.arange(1000.0)
    return 50 + np.cos(math.sqrt(2) * time) + np.cos(1.1 * time) ** 3


def test_chaotic_periodic_and_quasi_periodic_series(x64):
    """Two starts each of the logistic map at two chaotic and two periodic rates, and a torus."""
    starts = jnp.array([0.11, 0.73])
    rows = [logistic(rate, starts, 1000) for rate in (4.0, 3.7, 3.55, 3.83)]
    rows.append(jnp.asarray(np.stack([quasi_periodic()] * 2)))
    result = run_all(jnp.concatenate(rows), 0)
    assert np.all(result.value[:4] > 0.99)
    assert np.all(np.abs(result.value[4:]) < 0.1)
    assert np.all(result.status == Status.OK)
    assert np.all(result.low <= result.value)
    assert np.all(result.value <= result.high)
    assert np.all(result.high[4:] < 0.25)


def test_damping_holds_against_noise_and_offsets_do_not_matter(x64):
    """Period 8 with noise of a fifth of its spread: K .73 without and .47 with damping 2.5."""
    clean = logistic(3.55, jnp.linspace(0.11, 0.91, 10), 1000)
    series = clean + 0.2 * clean.std() * jax.random.normal(jax.random.key(3), clean.shape)
    plain, damped = run_all(series, 0), run_all(series, 0, damping=2.5)
    assert np.median(plain.value) > 0.6
    assert np.median(damped.value) < 0.6
    moved = run_all(1000 + series, 0, damping=2.5)
    np.testing.assert_allclose(moved.value, damped.value, atol=1e-7)


def test_interval_covers_the_expected_value(x64):
    """Expected K at this length, from 200 starts. Null: coverage of 95 % or more."""
    starts = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, 200))
    result = run_all(logistic(3.6, starts, 400), 1)
    expected = np.mean(result.value)
    covered = np.mean((result.low < expected) & (expected < result.high))
    assert 0.3 < expected < 0.9  # weak chaos and few samples: far from either limit
    assert covered > 0.9
    ratio = np.mean(result.stderr) / np.std(result.value)
    assert 0.8 < ratio < 2


def test_oversampled_flow_is_flagged_and_the_stride_helps(x64):
    step = flows.rk4(flows.lorenz63(), 0.01)
    series = orbit(step, jnp.array([1.0, 1.0, 20.0]), 18_000)[:, 0]
    run = functools.partial(zero_one_test, num_frequencies=40, num_lags=40)
    fine = jax.jit(run)(series)
    assert fine.value < 0.5
    assert fine.status == Status.NOT_CONVERGED
    stride = int(fine.details["suggested_stride"])
    assert 10 < stride < 25
    coarse = jax.jit(functools.partial(run, stride=stride))(series)
    assert coarse.value > 0.95
    assert coarse.status == Status.OK


def test_float32_agrees_with_float64_and_failures_have_a_status():
    with jax.enable_x64(True):
        chaos = np.asarray(orbit(maps.logistic(4.0), jnp.array(0.3), 1000))
        series = np.stack([chaos, quasi_periodic(), np.full(1000, 7.3), chaos] + [chaos] * 6)
        series[3, 5] = np.nan
        double = run_all(jnp.asarray(series), 0)
    single = run_all(jnp.asarray(series, jnp.float32), 0)
    assert single.value.dtype == single.low.dtype == jnp.float32
    assert double.value.dtype == jnp.float64
    np.testing.assert_allclose(single.value[:2], double.value[:2], atol=2e-3)
    expected = [Status.OK, Status.OK, Status.AT_NOISE_FLOOR, Status.DIVERGED]
    assert single.status[:4].tolist() == expected
    assert np.isnan(np.asarray(single.value[:4])).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"stride": 0}, "stride"),
        ({"stride": 4}, "values"),
        ({"damping": -1.0}, "damping"),
        ({"num_frequencies": 3}, "num_frequencies"),
        ({"num_lags": 3}, "num_lags"),
    ],
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        zero_one_test(jnp.arange(700.0), **settings)
