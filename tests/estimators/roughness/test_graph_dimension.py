"""Dimensions of graphs of exact fractional Brownian motions and surfaces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from fracjax import Status
from fracjax.estimators.roughness.graph_dimension import graph_dimension
from fracjax.estimators.roughness.series import series_holder_exponent
from fracjax.systems.random_fields import additive_fractional_motion, fractional_brownian_field
from fracjax.systems.signals import fractional_brownian_motion


def over_seeds(draw, seeds=200, **settings):
    keys = jax.random.split(jax.random.key(29), seeds)
    return jax.jit(lambda keys: jax.lax.map(lambda k: graph_dimension(draw(k), **settings), keys))(
        keys
    )


@functools.cache
def surface(side=64, hurst=0.5):
    return fractional_brownian_field(jax.random.key(0), hurst, (side, side))


# --- series ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hurst", [0.2, 0.8])
def test_a_series_has_dimension_two_less_its_exponent(hurst):
    """Null: 95 % coverage, 300 seeds of 256 samples."""
    estimate = over_seeds(lambda k: fractional_brownian_motion(k, hurst, 256), seeds=300)
    truth = 2 - hurst
    covered = int(((estimate.low <= truth) & (truth <= estimate.high)).sum())
    assert binom.ppf(1e-3, 300, 0.95) <= covered <= binom.ppf(1 - 1e-3, 300, 0.97)
    error = estimate.value.std() / 300**0.5
    assert abs(estimate.value.mean() - truth) < 4 * error + 0.01


def test_the_details_of_a_series_are_those_of_its_exponent():
    series = fractional_brownian_motion(jax.random.key(2), 0.4, 256)
    exponent = jax.jit(lambda v: series_holder_exponent(v, spacing=0.5))(series)
    estimate = jax.jit(lambda v: graph_dimension(v, spacing=0.5))(series)
    np.testing.assert_allclose(estimate.value, 2 - exponent.value, rtol=1e-6)
    np.testing.assert_allclose(estimate.details["exponent"], exponent.value)
    np.testing.assert_allclose(estimate.details["scales"], exponent.details["scales"])


def test_a_smooth_graph_is_a_line(x64):
    estimate = jax.jit(graph_dimension)(jnp.sin(jnp.linspace(0, 5, 200)))
    assert estimate.value == 1
    assert estimate.details["exponent"] > 1.9


# --- surfaces -------------------------------------------------------------------------------

QUICK = {(64, 0.3, "mean"), (64, 0.5, "median")}
GRID = [
    (side, hurst, aggregate)
    for side in (32, 64, 128)
    for hurst in (0.1, 0.3, 0.5, 0.7, 0.9)
    for aggregate in ("mean", "median")
]


@pytest.mark.parametrize(
    ("side", "hurst", "aggregate"),
    [c if c in QUICK else pytest.param(*c, marks=pytest.mark.slow) for c in GRID],
)
def test_the_interval_covers_the_dimension_of_a_surface(side, hurst, aggregate):
    """Null: 95 %, less 2 % where tiles are few; 200 seeds. Bias at most 0.01 and 4 errors."""
    estimate = over_seeds(
        lambda k: fractional_brownian_field(k, hurst, (side, side)), aggregate=aggregate
    )
    truth = 3 - hurst
    covered = int(((estimate.low <= truth) & (truth <= estimate.high)).sum())
    assert covered >= binom.ppf(1e-3, 200, 0.93)
    error = estimate.value.std() / 200**0.5
    assert abs(estimate.value.mean() - truth) < 4 * error + 0.01
    assert np.mean(estimate.details["anisotropy_p_value"] < 0.05) <= 0.05
    assert np.all(estimate.ok)


def test_directions_are_told_apart():
    """A sum of one motion per axis: exponents 0.8 along rows and 0.2 along columns, 60 seeds.

    Each within 4 errors; unequal directions are found in most samples and the dimension is
    that of the rougher one, within the ±0.05 that the docstring gives.
    """
    estimate = over_seeds(lambda k: additive_fractional_motion(k, (0.2, 0.8), (128, 128)), seeds=60)
    exponents = np.asarray(estimate.details["direction_exponents"])
    errors = exponents.std(axis=0) / 60**0.5
    assert np.all(np.abs(exponents.mean(axis=0)[:2] - [0.8, 0.2]) < 4 * errors[:2])
    found = np.asarray(estimate.details["anisotropy_p_value"] < 0.05)
    assert found.mean() > 0.7
    assert abs(np.median(estimate.value[found]) - 2.8) < 0.05
    assert np.mean((estimate.low < 2.8) & (estimate.high > 2.8)) > 0.75


@pytest.mark.slow
def test_a_cliff_is_seen_across_it_alone():
    """One row lifted: along the rows nothing happens, across them the cliff is all there is."""
    smooth = surface(64, 0.7)
    broken = smooth.at[30].add(100 * smooth.std())
    rows = graph_dimension(broken).details["direction_exponents"]
    assert rows[0] > 0.6
    assert rows[1] < 0.3


def test_the_median_is_over_whole_transects(x64):
    """A kink in every row and column: squares add up to 4 (2 l³ + l)/3 at lag l along each.

    Halved, slopes of their means between lags 1, 2, 3 and 4 are 1.32, 1.46 and 1.52, and the fit
    1.39. At one place, over all rows, only the kink is seen at all lags, with an exponent of 1.
    """
    kink = 1 + jnp.abs(jnp.arange(64.0) - 30)
    exponent = graph_dimension(jnp.outer(kink, kink), aggregate="median").details["exponent"]
    assert 1.3 < exponent < 1.5


def test_a_surface_may_miss_values():
    whole = surface()
    holes = whole.at[10:14, 20:30].set(jnp.nan)
    estimate = graph_dimension(holes)
    assert estimate.status == Status.OK
    assert abs(estimate.value - graph_dimension(whole).value) < estimate.stderr
    assert estimate.details["num_finite"] == 64 * 64 - 40
    lost = graph_dimension(whole.at[:8].set(jnp.nan))
    assert lost.status == Status.DIVERGED
    assert np.isnan(lost.value)


@pytest.mark.parametrize("shape", [(64,), (64, 64)])
def test_silent_and_nonfinite_values_get_a_status(shape):
    silent = graph_dimension(jnp.ones(shape))
    assert silent.status == Status.AT_NOISE_FLOOR
    broken = graph_dimension(jnp.full(shape, jnp.nan))
    assert broken.status == Status.DIVERGED
    for estimate in (silent, broken):
        assert np.isnan([estimate.value, estimate.stderr, estimate.low, estimate.high]).all()


def test_scales_follow_spacing_and_direction():
    estimate = graph_dimension(surface(), spacing=(0.5, 2.0))
    diagonal = (0.5**2 + 2.0**2) ** 0.5
    np.testing.assert_allclose(
        estimate.details["scales"][:, 0], [2.0, 0.5, diagonal, diagonal], rtol=1e-6
    )
    assert estimate.value == graph_dimension(surface()).value


@pytest.mark.parametrize(
    ("shape", "settings", "name"),
    [
        ((31,), {}, "values"),
        ((40, 20), {}, "values"),
        ((40,), {"aggregate": "median"}, "values"),
        ((40, 40), {"aggregate": "mode"}, "aggregate"),
        ((40, 40), {"lags": (1, 2)}, "lags"),
        ((40, 40), {"lags": (1, 3, 2)}, "lags"),
        ((40, 40), {"lags": (1, 2, 6)}, "lags"),
    ],
)
def test_settings_out_of_range_are_named(shape, settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        graph_dimension(jnp.zeros(shape), **settings)
