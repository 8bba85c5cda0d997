"""Geometry, loss and topology of paths: exact cases, coverage, and agreement with libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from fracjax import Status
from fracjax.estimators.diffusion.nulls import relaxation_surrogate
from fracjax.learning.weight_diffusion import loss_along_path as loss
from fracjax.learning.weight_diffusion import path_geometry, path_topology
from fracjax.learning.weight_diffusion.two_exponents import (
    null_two_exponents,
    two_exponents,
    two_exponents_of_segments,
)
from fracjax.systems import random_fields

KEY = jax.random.key(3)


def many(function, seeds, *, batch_size=50):
    run = jax.jit(lambda keys: jax.lax.map(function, keys, batch_size=batch_size))
    return run(jax.random.split(KEY, seeds))


def walk(key, num_points=600, size=3):
    return jnp.cumsum(jax.random.normal(key, (num_points, size)), axis=0)


def covered(estimate, truth):
    return np.mean((estimate.low < truth) & (truth < estimate.high))


@pytest.mark.slow
def test_pairs_of_a_straight_path(x64):
    """Exact: r = s for all pairs, at any speed; one step more breaks it, as documented."""
    speeds = jnp.cumsum(jax.random.uniform(KEY, (40,), minval=0.1, maxval=1.0))
    path = speeds[:, None] * jnp.array([0.6, 0.8])
    pairs = path_geometry.path_pairs(path, jnp.arange(40.0))
    assert pairs.distance.shape == (780,)
    np.testing.assert_allclose(pairs.contour, pairs.distance, atol=1e-7)
    np.testing.assert_array_equal(pairs.loss_change, pairs.lag)
    np.testing.assert_allclose(path_geometry.contour_exponent(path).value, 2, atol=1e-10)
    even = jnp.arange(40.0)
    published = path_geometry.path_pairs(even, one_step_more=True)
    later = np.asarray(published.contour - published.distance)
    np.testing.assert_allclose(later[39:], 1)  # pairs that do not start at the first point
    np.testing.assert_allclose(later[:39], 0)


def test_sampled_pairs_are_pairs():
    path = walk(KEY, 50)
    values = jnp.arange(50.0) ** 2
    pairs = path_geometry.path_pairs(path, values, num_pairs=2000, key=KEY)
    table = squareform(pdist(np.asarray(path)))
    steps = table[np.arange(49), np.arange(1, 50)]
    along = np.concatenate([[0], np.cumsum(steps)])
    root = np.sqrt(np.asarray(values))
    # The change of i² over a lag tells i and j.
    first = np.round((np.asarray(pairs.loss_change) / pairs.lag - pairs.lag) / 2).astype(int)
    second = first + np.asarray(pairs.lag)
    assert root[second].max() <= 49
    np.testing.assert_allclose(pairs.distance, table[first, second], rtol=1e-5)
    np.testing.assert_allclose(pairs.contour, along[second] - along[first], rtol=1e-4)
    # Every pair is as likely: the mean lag of n points is (n + 1)/3, with standard deviation 12.
    assert abs(pairs.lag.mean() - 17) < 5 * 12 / 2000**0.5
    with pytest.raises(ValueError, match="key"):
        path_geometry.path_pairs(path, num_pairs=10)
    with pytest.raises(ValueError, match="losses"):
        path_geometry.path_pairs(path, values[1:])


def test_contours_of_a_random_walk():
    """r² ~ s: exponent 1, D_f = 2, with coverage (null: 4 standard errors below .95)."""
    found = many(lambda key: path_geometry.contour_exponent(walk(key)), 200)
    assert covered(found, 1.0) > 0.885
    assert abs(found.value.mean() - 1) < 5 * found.value.std() / 200**0.5 + 0.01
    np.testing.assert_allclose(found.details["dimension"].mean(), 2, atol=0.15)


@pytest.mark.slow
def test_changes_of_the_loss():
    """On a smooth loss H = 1, on a rough surface H, for paths that do not look at it."""

    def smooth(key):
        path = jnp.array([3.0, 2.0, 1.0]) + 0.01 * walk(key)
        return loss.loss_exponent_along_path(path, jnp.sum(path**2, axis=1))

    def rough(key):
        field_key, walk_key = jax.random.split(key)
        field = random_fields.fractional_brownian_field(field_key, 0.4, (128, 128))
        place = jnp.round(64 + 1.5 * walk(walk_key, 500, 2)).astype(int)
        place = 127 - abs(place % 254 - 127)  # reflected: it stays on the surface
        heights = field[place[:, 0], place[:, 1]]
        return loss.loss_exponent_along_path(place.astype(float), heights, window=(2, 11))

    found = many(smooth, 200)
    assert covered(found, 1.0) > 0.885
    surface = many(rough, 100, batch_size=20)
    spread = surface.value.std()
    assert abs(surface.value.mean() - 0.4) < 5 * spread / 10 + 0.02
    assert covered(surface, 0.4) > 0.86
    bowl = jnp.sum(jnp.linspace(-0.5, 5, 600)[:, None] ** 2, axis=1)
    flat = loss.loss_exponent_along_path(jnp.linspace(-0.5, 5, 600), bowl)
    np.testing.assert_allclose(flat.value, 1, atol=0.02)
    assert loss.loss_exponent_along_path(walk(KEY), jnp.ones(600)).status == Status.AT_NOISE_FLOOR
    broken = loss.loss_exponent_along_path(walk(KEY), jnp.ones(600).at[3].set(jnp.nan))
    assert broken.status == Status.DIVERGED
    with pytest.raises(ValueError, match="window"):
        loss.loss_exponent_along_path(walk(KEY), jnp.ones(600), window=(1, 100))


def test_loss_changes_by_distance_and_moving_variance(x64):
    """A slope: (dL)² = r² in every bin, up to the width of the bin."""
    path = jnp.linspace(0, 10, 200)
    pairs = path_geometry.path_pairs(path, 3 * path)
    bins = loss.loss_changes_by_distance(pairs)
    np.testing.assert_allclose(bins.mean_square[5:], 9 * bins.distance[5:] ** 2, rtol=0.05)
    np.testing.assert_allclose(bins.squared_mean[5:], bins.mean_square[5:], rtol=0.01)
    assert bins.num_pairs.sum() == len(pairs.distance)
    fine = loss.loss_changes_by_distance(pairs, num_bins=20, logarithmic=True)
    filled = np.asarray(fine.num_pairs) > 50
    slope = np.polyfit(np.log(fine.distance[filled]), np.log(fine.mean_square[filled]), 1)[0]
    np.testing.assert_allclose(slope, 2, atol=0.03)
    values = jax.random.normal(KEY, (300,)) + 1e3
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(values), 100)
    np.testing.assert_allclose(loss.moving_variance(values), windows.var(axis=1, ddof=1), rtol=1e-8)
    with pytest.raises(ValueError, match="window"):
        loss.moving_variance(values, window=301)


def test_spanning_trees_agree_with_libraries(x64):
    """To rounding: SciPy's tree, and GUDHI's sum of H0 lifetimes."""
    points = jax.random.normal(KEY, (80, 4))
    length = jax.jit(path_topology.spanning_tree_length)(points)
    table = squareform(pdist(np.asarray(points)))
    np.testing.assert_allclose(length, minimum_spanning_tree(table).sum(), rtol=1e-10)
    np.testing.assert_allclose(length, path_topology.total_persistence(points), rtol=1e-6)
    assert np.isnan(path_topology.spanning_tree_length(points.at[0, 0].set(jnp.nan)))


@pytest.mark.slow
def test_persistent_homology_dimension():
    """Anchors of our own: cubes of dimension 1 and 2, and codes where there is no dimension."""

    def both(key):
        points = jax.random.uniform(key, (400, 2))
        line = points[:, :1] * jnp.ones(3)
        measure = path_topology.persistent_homology_dimension
        return measure(line, key), measure(points, key)

    line, square = many(both, 12, batch_size=4)
    assert abs(line.value.mean() - 1) < 0.03
    assert abs(square.value.mean() - 2) < 0.12


def test_codes_of_dimensions():
    single = path_topology.persistent_homology_dimension(jnp.ones((50, 2)), KEY)
    assert single.status == Status.AT_NOISE_FLOOR
    broken = path_topology.persistent_homology_dimension(jnp.full((50, 2), jnp.nan), KEY)
    assert broken.status == Status.DIVERGED
    for setting in ({"sizes": (10, 20, 60)}, {"num_repeats": 1}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            path_topology.persistent_homology_dimension(jnp.ones((50, 2)), KEY, **setting)


@pytest.mark.slow
def test_two_exponents_and_their_crossover():
    """Ballistic, then at rest: 2, then 0, crossing where the law bends; a walk does not cross."""

    def relaxing(key):
        kicks = 0.02 * jax.random.normal(key, (1000, 4))
        start = jnp.full(4, 100.0)
        return jax.lax.scan(lambda x, e: (x * 0.98 + e,) * 2, start, kicks)[1]

    found = jax.jit(two_exponents)(relaxing(KEY))
    assert found.short.value > 1.9
    # D(τ) = m 100² (1 - a^τ)² (1 - a^{2(n-τ)}) / ((n - τ)(1 - a²)) and some noise.
    lags = np.asarray(found.long.details["lags"], float)
    law = (1 - 0.98**lags) ** 2 * (1 - 0.98 ** (2 * (1000 - lags))) / (1000 - lags)
    expected = np.polyfit(np.log(lags), np.log(law), 1)[0]
    assert abs(found.long.value - expected) < 0.1
    kicks = jax.random.normal(KEY, (1000, 30))
    resting = jax.lax.scan(lambda x, e: (x * 0.98 + e,) * 2, jnp.zeros(30), kicks)[1]
    bent = jax.jit(two_exponents)(resting)
    # 1 - a^τ is half way at 34 steps.
    assert bent.crossover.status == Status.OK
    assert 25 < bent.crossover.value < 150
    assert bent.crossover.low < bent.crossover.value < bent.crossover.high
    key = jax.random.fold_in(KEY, 1)
    null, _ = null_two_exponents(key, relaxing(KEY), relaxation_surrogate, num_surrogates=9)
    assert abs(null.value - found.short.value) < 0.05
    path = walk(KEY, 1000)
    plain = two_exponents_of_segments(path, segment_length=500)
    assert plain.waiting_time.tolist() == [0, 500]
    assert np.all(plain.crossover.status == Status.NO_SCALING_REGION)
    assert np.isnan(plain.crossover.value).all()
    assert np.all(abs(plain.short.value - 1) < 4.5 * plain.short.stderr)
