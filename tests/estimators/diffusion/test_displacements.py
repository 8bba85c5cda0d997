"""Mean squared displacements: equal to their definition, by every route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.diffusion import displacements as d
from fracjax.estimators.diffusion.exponents import local_diffusion_exponents
from fracjax.estimators.diffusion.streams import stream_displacements
from fracjax.systems import signals

KEY = jax.random.key(0)


def brute_force(path):
    path = np.asarray(path, np.float64)
    return np.array(
        [((path[lag:] - path[:-lag]) ** 2).sum(axis=1).mean() for lag in range(1, len(path))]
    )


def motion(hurst, num_points=600, size=3):
    keys = jax.random.split(KEY, size)
    draw = jax.vmap(lambda key: signals.fractional_brownian_motion(key, hurst, num_points))
    return draw(keys).T


@pytest.mark.parametrize("hurst", [0.2, pytest.param(0.9, marks=pytest.mark.slow)])
def test_transforms_equal_the_definition(x64, hurst):
    """Exact; far from the origin and with more coordinates than are transformed together."""
    path = motion(hurst) + 50.0
    expected = brute_force(path)
    np.testing.assert_allclose(d.mean_squared_displacement(path), expected, rtol=1e-10)
    np.testing.assert_allclose(
        d.mean_squared_displacement(path, max_lag=50), expected[:50], rtol=1e-10
    )
    np.testing.assert_allclose(
        d.displacement_at_lags(path, (1, 7, 599)), expected[[0, 6, 598]], rtol=1e-12
    )
    single = d.mean_squared_displacement(path.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=2e-3)
    wide = jnp.tile(path[:600], (1, 200))
    np.testing.assert_allclose(d.mean_squared_displacement(wide), 200 * expected, rtol=1e-10)


def test_a_line_and_its_local_exponents(x64):
    """Exact: D = |v|² τ², local exponents 2 at an offset of 20."""
    path = jnp.arange(200.0)[:, None] * jnp.array([3.0, 4.0])
    found = d.mean_squared_displacement(path)
    np.testing.assert_allclose(found, 25 * np.arange(1, 200) ** 2, rtol=1e-12)
    np.testing.assert_allclose(local_diffusion_exponents(found), np.full(179, 2.0), atol=1e-10)
    with pytest.raises(ValueError, match="offset"):
        local_diffusion_exponents(found, offset=199)


def test_segments_streams_and_waiting_times(x64):
    """A stream in any chunks gives what the whole path does, and each segment stands alone."""
    path = motion(0.5, 350)
    whole = d.segment_displacements(path, segment_length=100, max_lag=40)
    assert whole.waiting_times.tolist() == [0, 100, 200]
    for number, segment in enumerate(np.split(np.asarray(path), [100, 200, 300])[:3]):
        np.testing.assert_allclose(whole.values[number], brute_force(segment)[:40], rtol=1e-9)
    chunks = np.split(np.asarray(path), [7, 130, 131, 320])
    streamed = list(stream_displacements(chunks, segment_length=100, max_lag=40))
    assert [time for time, _ in streamed] == [0, 100, 200]
    np.testing.assert_allclose([found for _, found in streamed], whole.values, rtol=1e-9)
    np.testing.assert_allclose(
        d.displacement_from(path, 300), ((path[301:] - path[300]) ** 2).sum(axis=1)
    )


@pytest.mark.slow
def test_the_ensemble_covers_its_exact_law(x64):
    """Fractional Brownian motion from a waiting time on: m τ^{2H}, within 5 of its errors."""
    runs = jax.vmap(
        lambda key: (
            jax.vmap(lambda k: signals.fractional_brownian_motion(k, 0.3, 60))(
                jax.random.split(key, 2)
            ).T
        )
    )(jax.random.split(KEY, 200))
    found = d.ensemble_displacement(runs, start=9)
    expected = 2 * np.arange(1, 51) ** 0.6
    assert np.all(abs(found.value - expected) < 5 * found.stderr)
    assert 0.8 < np.mean((found.low < expected) & (expected < found.high)) <= 1
    assert found.details["lags"].shape == (50,)
    broken = d.ensemble_displacement(runs.at[3, 30].set(jnp.nan))
    assert Status.DIVERGED in broken.status
    assert broken.status[0] == Status.OK


def test_what_is_not_finite_and_bad_settings():
    path = jnp.zeros((30, 2)).at[4, 1].set(jnp.nan)
    assert np.isnan(d.mean_squared_displacement(path)).all()
    assert np.isnan(d.displacement_at_lags(path, (1, 2))).all()
    with pytest.raises(ValueError, match="path"):
        d.mean_squared_displacement(jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match="max_lag"):
        d.mean_squared_displacement(path, max_lag=30)
    with pytest.raises(ValueError, match="lags"):
        d.displacement_at_lags(path, (0, 2))
    with pytest.raises(ValueError, match="start"):
        d.displacement_from(path, 29)
    with pytest.raises(ValueError, match="paths"):
        d.ensemble_displacement(path[None])
    with pytest.raises(ValueError, match="at least 40"):
        d.segment_displacements(path, segment_length=40)
    assert d.logarithmic_lags(16) == (1, 2, 3, 4, 6, 8, 11, 16)
