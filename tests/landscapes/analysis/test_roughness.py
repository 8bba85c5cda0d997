"""Roughness maps against exact fractional Brownian surfaces, and what has no roughness."""

import functools

import jax
import numpy as np
import pytest
import xarray
from scipy.stats import binom

from fracjax import Status
from fracjax.estimators.roughness.graph_dimension import graph_dimension
from fracjax.landscapes.analysis import graph_dimension_of_scan, roughness_map
from fracjax.systems.random_fields import fractional_brownian_field
from fracjax.systems.signals import fractional_brownian_motion

STEP = 0.01


def scan_of(values, **more):
    values = np.asarray(values)
    dims = ("a", "b")[: values.ndim]
    coords = {dim: STEP * np.arange(size) for dim, size in zip(dims, values.shape, strict=True)}
    data = {"value": (dims, values)} | {name: (dims, array) for name, array in more.items()}
    return xarray.Dataset(data, coords=coords)


@functools.cache
def surfaces(hurst, side, count):
    keys = jax.random.split(jax.random.key(7), count)
    draw = jax.jit(
        lambda keys: jax.lax.map(lambda k: fractional_brownian_field(k, hurst, (side, side)), keys)
    )
    return np.asarray(draw(keys))


def surface():
    return surfaces(0.5, 64, 200)[0]


def tiled(fields, columns):
    """Independent surfaces side by side."""
    rows = fields.reshape(-1, columns, *fields.shape[1:])
    return np.concatenate(np.concatenate(rows, axis=1), axis=1)


@pytest.mark.slow
def test_two_halves_have_two_levels():
    """H = 0.3 above 0.7, 128 windows each; bias within 4 standard errors and .01, coverage."""
    halves = [tiled(surfaces(hurst, 32, 128), 16) for hurst in (0.3, 0.7)]
    found = roughness_map(scan_of(np.concatenate(halves)), window=32, stride=32)
    assert found["holder_exponent"].shape == (16, 16)
    assert np.all(found["status"] == Status.OK)
    for half, hurst in ((slice(0, 8), 0.3), (slice(8, 16), 0.7)):
        part = found.isel(a=half)
        exponents = part["holder_exponent"].values
        assert abs(exponents.mean() - hurst) < 4 * exponents.std() / 128**0.5 + 0.01
        covered = int(((part["low"] <= hurst) & (hurst <= part["high"])).sum())
        assert covered >= binom.ppf(1e-3, 128, 0.95)
        np.testing.assert_allclose(part["graph_dimension"], 3 - exponents, rtol=1e-6)
        np.testing.assert_allclose(part["dimension_low"], 3 - np.minimum(part["high"], 1))
        # E[(second difference)²] = (4 - 4^H) of the exact law.
        expected = (4 - 4**hurst) ** 0.5
        assert np.median(part["amplitude"]) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_intervals_cover_with_and_without_known_noise(share):
    """Null: 95 %, 256 windows of 32², noise holding a share of the smallest lag."""
    hurst = 0.5
    picture = tiled(surfaces(hurst, 32, 256), 16)
    error = (share / (1 - share) * (4 - 4**hurst) / 6) ** 0.5
    picture = picture + error * np.random.default_rng(0).normal(size=picture.shape)
    scan = scan_of(picture.astype(np.float32))
    found = roughness_map(scan, window=32, stride=32, noise=error)
    assert np.all(found["status"] == Status.OK)
    assert found["noise_share"].mean() == pytest.approx(share, abs=0.02)
    assert found["noise_floor"].mean() == pytest.approx(error, abs=1e-6)
    covered = int(((found["low"] <= hurst) & (hurst <= found["high"])).sum())
    assert covered >= binom.ppf(1e-3, 256, 0.95)
    exponents = found["holder_exponent"].values
    assert abs(exponents.mean() - hurst) < 4 * exponents.std() / 16 + 0.01
    if share:  # noise that nobody tells of reads as roughness
        untold = roughness_map(scan, window=32, stride=32)["holder_exponent"]
        assert untold.mean() < hurst - 0.05


def test_windows_of_a_line_cover():
    """Null: 95 %, 200 windows of 128 samples of one path, H = 0.4."""
    path = fractional_brownian_motion(jax.random.key(0), 0.4, 200 * 128)
    found = roughness_map(scan_of(path), window=128, stride=128)
    covered = int(((found["low"] <= 0.4) & (0.4 <= found["high"])).sum())
    assert covered >= binom.ppf(1e-3, 200, 0.95)
    assert (found["status"] == Status.OK).mean() > 0.99
    np.testing.assert_allclose(found["graph_dimension"], 2 - found["holder_exponent"].clip(0, 1))


@pytest.mark.slow
def test_what_does_not_vary_is_at_the_noise_floor():
    a, b = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    noise = np.random.default_rng(0).normal(size=a.shape)
    tilted = (2 + 0.7 * a - 0.3 * b).astype(np.float32)
    for values, error in ((np.ones((64, 64)), None), (tilted, None), (noise, 1.0)):
        found = roughness_map(scan_of(values), noise=error)
        assert np.all(found["status"] == Status.AT_NOISE_FLOOR)
        assert found["holder_exponent"].isnull().all()
        whole = graph_dimension_of_scan(scan_of(values[:32, :32]), noise=error)
        assert whole.status == Status.AT_NOISE_FLOOR
        assert np.isnan(whole.value)
        line = roughness_map(scan_of(values[20]), noise=error)
        assert np.all(line["status"] == Status.AT_NOISE_FLOOR)
        assert line["holder_exponent"].isnull().all()


def test_a_bowl_is_smooth_and_a_step_is_not():
    """Across a step squared second differences grow as the lag: H = 1/2 there."""
    a, b = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    bowl = a**2 + 0.5 * b**2 + 0.3 * a * b
    smooth = roughness_map(scan_of(bowl))
    assert np.all(smooth["graph_dimension"] == 2)
    assert np.all(smooth["holder_exponent"] > 1.9)
    step = 3.0 * (np.arange(64) >= 40)  # windows start at 0, 16 and 32
    found = roughness_map(scan_of(bowl + step))["holder_exponent"]
    assert np.all(found[:, 0] > 1.9)
    np.testing.assert_allclose(found[:, 1:], 0.5, atol=0.1)


def test_an_offset_costs_no_digits():
    """float64 values far from zero, analysed while JAX computes in float32."""
    picture = np.round(64 * surface().astype(np.float64)) / 64  # exact after the offset, too
    near, far = (roughness_map(scan_of(picture + offset)) for offset in (0.0, 2.0**40))
    np.testing.assert_allclose(near["holder_exponent"], far["holder_exponent"], atol=1e-3)
    small = roughness_map(scan_of(1e-30 * picture))
    np.testing.assert_allclose(near["holder_exponent"], small["holder_exponent"], atol=1e-3)
    np.testing.assert_allclose(1e-30 * near["amplitude"], small["amplitude"], rtol=1e-3)


@pytest.mark.slow
def test_double_precision_agrees(x64):
    double = roughness_map(scan_of(surface()))
    assert double["stderr"].dtype == np.float64
    with jax.enable_x64(False):
        single = roughness_map(scan_of(surface()))
    assert single["stderr"].dtype == np.float32
    gap = np.abs(double["holder_exponent"] - single["holder_exponent"])
    assert np.all(gap < 0.01 * double["stderr"])


def test_missing_points_cost_the_windows_they_are_in():
    picture = surface().copy()
    whole = roughness_map(scan_of(picture))
    picture[3:8, 56:60] = np.nan
    picture[0, 63] = np.inf
    holes = roughness_map(scan_of(picture))
    lost = np.zeros((3, 3), bool)
    lost[0, 2] = True
    np.testing.assert_array_equal(holes["status"] == Status.DIVERGED, lost)
    np.testing.assert_array_equal(holes["holder_exponent"].isnull(), lost)
    assert holes["missing"][0, 2] == pytest.approx(21 / 32**2)
    done = np.isfinite(picture)
    unfinished = scan_of(np.where(done, picture, 0), done=done)
    xarray.testing.assert_equal(roughness_map(unfinished), holes)
    kept = roughness_map(scan_of(picture), tolerated_missing=0.05)
    assert np.all(kept["status"] == Status.OK)
    gap = abs(kept["holder_exponent"] - whole["holder_exponent"])
    assert np.all(gap < whole["stderr"])


def test_windows_lie_where_the_coordinates_say():
    found = roughness_map(scan_of(surface()), window=32, stride=(16, 32))
    np.testing.assert_allclose(found["a"], STEP * (15.5 + 16 * np.arange(3)))
    np.testing.assert_allclose(found["b"], STEP * (15.5 + 32 * np.arange(2)))
    assert found.attrs["step"] == pytest.approx((STEP, STEP))
    alone = graph_dimension(surface()[16:48, 32:])
    np.testing.assert_allclose(found["graph_dimension"][1, 1], alone.value, rtol=1e-4)
    np.testing.assert_allclose(found["stderr"][1, 1], alone.stderr, rtol=1e-3)


def test_noise_may_be_given_in_any_form():
    errors = np.full((64, 64), 0.1)
    scan = scan_of(surface(), stderr=errors)
    expected = roughness_map(scan, noise=0.1)
    for noise in (errors, "stderr", scan, scan["stderr"], scan["stderr"].T):
        xarray.testing.assert_equal(roughness_map(scan, noise=noise), expected)
    errors[40, 40] = np.nan  # unknown error: a missing point
    assert (roughness_map(scan, noise=errors)["status"] == Status.DIVERGED).sum() == 4


# --- the whole scan ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_whole_scan_has_the_dimension_of_its_values():
    picture = surfaces(0.5, 32, 256)[0]
    found = graph_dimension_of_scan(scan_of(picture))
    expected = graph_dimension(picture)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-4)
    np.testing.assert_allclose(found.low, expected.low, rtol=1e-3)
    np.testing.assert_allclose(found.stderr, expected.stderr, rtol=1e-3)
    assert found.status == Status.OK
    line = graph_dimension_of_scan(scan_of(surface()[3]))
    np.testing.assert_allclose(line.value, graph_dimension(surface()[3]).value, rtol=1e-3)


@pytest.mark.slow
def test_blocks_of_a_large_plane_cover():
    """Null: 95 %; 200 planes of 64² in 4 blocks each, H = 0.5."""
    covered = 0
    for picture in surfaces(0.5, 64, 200):
        found = graph_dimension_of_scan(scan_of(picture), largest_block=32)
        assert found.details["blocks"] == 4
        covered += bool(found.low <= 2.5 <= found.high)
    assert covered >= binom.ppf(1e-3, 200, 0.95)


def test_blocks_without_numbers_give_a_status():
    picture = np.ones((64, 64))
    picture[:32, :32] = surface()[:32, :32]
    found = graph_dimension_of_scan(scan_of(picture), largest_block=32)
    assert found.status == Status.AT_NOISE_FLOOR
    assert np.isnan(found.value)


# --- settings ---------------------------------------------------------------------------------

UNEVEN = xarray.Dataset({"value": ("a", np.zeros(64))}, coords={"a": np.arange(64.0) ** 2})
VECTOR = xarray.Dataset({"value": (("a", "output"), np.zeros((64, 2)))})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: roughness_map(scan_of(np.zeros((64, 64))), window=16), "`window` must be at"),
        (lambda: roughness_map(scan_of(np.zeros((64, 40))), window=48), "`window` must fit"),
        (lambda: roughness_map(scan_of(np.zeros(64)), window=(32, 32)), "`window` must be"),
        (lambda: roughness_map(scan_of(np.zeros(64)), stride=(0,)), "`stride` must"),
        (lambda: roughness_map(scan_of(np.zeros((64, 64))), lags=(1, 2)), "`lags` must"),
        (lambda: roughness_map(scan_of(np.zeros((64, 64))), aggregate="x"), "`aggregate` must"),
        (lambda: roughness_map(scan_of(np.zeros(64)), tolerated_missing=0.5), "tolerated_missing"),
        (lambda: roughness_map(UNEVEN), "evenly spaced along `a`"),
        (lambda: roughness_map(VECTOR), "`output` must say"),
        (lambda: roughness_map(scan_of(np.zeros(64)), variable="x"), "`variable` must"),
        (lambda: roughness_map(scan_of(np.zeros(64)), noise="x"), "`noise` must name"),
        (lambda: roughness_map(scan_of(np.zeros(64)), noise=np.zeros(3)), "`noise` must be a"),
        (lambda: roughness_map(scan_of(np.zeros(64)), noise=-1.0), "`noise` must be finite"),
        (lambda: graph_dimension_of_scan(scan_of(np.zeros((64, 20)))), "at least 32"),
    ],
)
def test_settings_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_vector_objective_is_read_one_output_at_a_time():
    both = np.stack([np.ones((64, 64), np.float32), surface()], axis=-1)
    scan = xarray.Dataset({"value": (("a", "b", "output"), both)})
    second = roughness_map(scan, output=1)["holder_exponent"]
    np.testing.assert_array_equal(second, roughness_map(scan_of(surface()))["holder_exponent"])
