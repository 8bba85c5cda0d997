"""Persistence of level sets with known extrema, and its noise band."""

import sys

import jax
import numpy as np
import pytest
import xarray
from scipy.stats import binom

from fracjax import Status
from fracjax.landscapes.analysis import level_set_persistence, num_extrema
from fracjax.systems.random_fields import fractional_brownian_field

A, B = np.meshgrid(np.linspace(-1, 1, 81), np.linspace(-1, 1, 101), indexing="ij")
PEAKS = ((3.0, 0.5, 0.5), (2.0, -0.5, 0.5), (1.0, -0.5, -0.5), (0.5, 0.5, -0.4))


def scan_of(values):
    values = np.asarray(values)
    dims = ("a", "b", "c")[: values.ndim]
    coords = {d: np.linspace(-1, 1, n) for d, n in zip(dims, values.shape, strict=True)}
    return xarray.Dataset({"value": (dims, values)}, coords=coords)


def peaks():
    """Gaussians so narrow that the passes between them are at 1e-9 or less."""
    return sum(h * np.exp(-((A - a) ** 2 + (B - b) ** 2) / 0.01) for h, a, b in PEAKS)


def test_maxima_of_separate_gaussians():
    found = level_set_persistence(scan_of(peaks()), superlevel=True)
    assert num_extrema(found, 1e-6) == 4
    top = found.isel(feature=slice(0, 4))
    np.testing.assert_allclose(top["persistence"], [h for h, _, _ in PEAKS], atol=1e-8)
    np.testing.assert_allclose(top["birth"], [h for h, _, _ in PEAKS], atol=1e-8)
    np.testing.assert_allclose(top["a"], [a for _, a, _ in PEAKS], atol=1e-9)
    np.testing.assert_allclose(top["b"], [b for _, _, b in PEAKS], atol=1e-9)
    assert np.all(top["dimension"] == 0)
    assert top["death"][0] == -np.inf
    assert found["total_persistence"] == pytest.approx(3.5, abs=1e-8)
    assert found["mean_persistence"] == pytest.approx(3.5 / 3, abs=1e-8)
    assert found["roughness"] == pytest.approx(3.5 / 9, abs=1e-8)
    assert found["status"] == Status.OK
    turned = level_set_persistence(scan_of(-peaks()))
    for name in ("persistence", "dimension", "a", "b"):
        np.testing.assert_array_equal(turned[name], found[name])
    np.testing.assert_array_equal(turned["birth"], -found["birth"])


def test_a_pass_between_two_wells_and_a_crater():
    """(x² - 1)² + y² has wells at ±1 and a pass of height 1; a ring-shaped wall holds a hole."""
    x, y = 1.5 * A, B
    wells = level_set_persistence(scan_of((x**2 - 1) ** 2 + y**2))
    assert num_extrema(wells, 0.1) == 2
    assert wells["persistence"][1] == pytest.approx(1.0, abs=2e-3)  # the grid's nearest point
    crater = level_set_persistence(scan_of(-((A**2 + B**2 - 0.5) ** 2)), superlevel=True)
    hole = crater.where(crater["dimension"] == 1, drop=True)
    assert hole["persistence"].max() == pytest.approx(0.25, abs=2e-3)


def test_a_line_with_known_total_variation():
    values = np.concatenate([[9.0], np.random.default_rng(0).uniform(0, 8, 200), [9.0]])
    found = level_set_persistence(scan_of(values))
    span = np.ptp(values)
    variation = np.abs(np.diff(values)).sum()
    assert 2 * (found["total_persistence"] + span) == pytest.approx(variation)


def test_a_random_walk_follows_the_power_law_of_brownian_motion():
    """Steps of ±1: a rise by m from the running minimum takes m (m + 1) steps on average.

    So T steps hold T / (2 m (m + 1)) minima of persistence m or more: the power law with exponent
    -1/H = -2 of Brownian motion, with the lattice's correction. Counts are means over renewals
    whose length has about its mean as standard deviation; bounds are 4 standard errors.
    """
    steps = 2**18
    walk = np.cumsum(np.random.default_rng(1).choice([-1.0, 1.0], size=steps))
    persistence = level_set_persistence(scan_of(walk))["persistence"].values
    for m in (1, 2, 4, 8, 16):
        expected = steps / (2 * m * (m + 1))
        assert abs((persistence >= m).sum() - expected) < 4 * expected**0.5


@pytest.mark.slow
def test_a_fractal_plane_is_self_similar():
    """Twice the side at 2^H times the level holds as many minima; white noise would hold 4 times.

    Means over 16 surfaces of H = 0.7 each; 4 standard errors and a tenth for the lattice.
    """
    counts = {}
    for side, level in ((128, 4.0 / 2**0.7), (256, 4.0)):
        keys = jax.random.split(jax.random.key(side), 16)
        draw = jax.jit(lambda k, side=side: fractional_brownian_field(k, 0.7, (side, side)))
        planes = (np.asarray(draw(k)) for k in keys)
        counts[side] = [num_extrema(level_set_persistence(scan_of(p)), level) for p in planes]
    small, large = (np.mean(counts[side]) for side in (128, 256))
    error = np.hypot(*(np.std(counts[side]) for side in (128, 256))) / 16**0.5
    assert small > 10
    assert abs(large - small) < 4 * error + 0.1 * small


def test_nothing_above_the_band_is_noise():
    """Null: at most 5 % of 200 noisy bowls show a second minimum above the band."""
    noise = 0.05 * np.random.default_rng(0).normal(size=(200, *A.shape))
    alarms = 0
    for error in noise:
        found = level_set_persistence(scan_of(A**2 + B**2 + error), noise=0.05)
        alarms += int(found["num_extrema"]) > 1
        assert num_extrema(found, 0.0) > 100
    assert alarms <= binom.ppf(1 - 1e-3, 200, 0.05)
    assert found["num_extrema"] == 1
    assert found["roughness"] == 0
    assert found["band"] == pytest.approx(2 * 0.05 * 4.5, rel=0.1)


def test_missing_points_are_walls_and_are_counted():
    values = A**2 + B**2
    whole = level_set_persistence(scan_of(values))
    assert num_extrema(whole, 0.01) == 1
    values[20] = np.nan
    values[20, 3] = -np.inf
    cut = level_set_persistence(scan_of(values))
    assert cut["num_missing"] == values.shape[1]
    assert num_extrema(cut, 0.01) == 2
    assert np.isinf(cut["persistence"][0])
    assert cut["status"] == Status.DIVERGED
    assert level_set_persistence(scan_of(values), tolerated_missing=0.02)["status"] == Status.OK
    lost = level_set_persistence(scan_of(np.full((5, 5), np.nan)))
    assert lost["status"] == Status.DIVERGED
    assert lost.sizes["feature"] == 0
    assert np.isnan(lost["band"])


def test_constant_planes_are_at_the_noise_floor():
    found = level_set_persistence(scan_of(np.full((6, 7), 2.0)))
    assert found["status"] == Status.AT_NOISE_FLOOR
    assert found["num_extrema"] == 0


def test_volumes_are_read_too():
    a, b, c = np.meshgrid(*[np.linspace(-1, 1, 21)] * 3, indexing="ij")
    wells = (a**2 - 0.25) ** 2 + b**2 + c**2
    found = level_set_persistence(scan_of(wells))
    assert num_extrema(found, 0.01) == 2
    np.testing.assert_allclose(np.sort(found["a"][:2]), [-0.5, 0.5])


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gudhi", None)
    with pytest.raises(ModuleNotFoundError, match=r"fracjax\[topology\]"):
        level_set_persistence(scan_of(A))


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="`confidence`"):
        level_set_persistence(scan_of(A), confidence=1.0)
