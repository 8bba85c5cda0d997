"""Slices through given points: they lie where the coordinates say."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import landscapes, tree
from fracjax.landscapes.slices.planes import principal_plane, slice_through


def point(seed, spread=1.0):
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "w": spread * jax.random.normal(first, (4, 3)),
        "b": spread * jax.random.normal(second, (5,)),
    }


def at(placed, coordinates):
    found = placed.centre
    for index, coordinate in enumerate(coordinates):
        unit = jax.tree.map(lambda leaf, i=index: leaf[i], placed.grid.directions)
        found = tree.add_scaled(found, coordinate, unit)
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_given_points_lie_on_their_slice(count, x64):
    points = [point(seed) for seed in range(count)]
    placed = slice_through(points, num_points=9)
    assert placed.grid.shape == (9,) * (count - 1)
    for given, coordinates in zip(points, placed.coordinates, strict=True):
        reached = at(placed, coordinates)
        gap = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), reached, given)
        assert max(jax.tree.leaves(gap)) < 1e-12
    assert np.all(placed.residual < 1e-14)
    assert placed.explained.sum() == pytest.approx(1)
    # Distances are root-mean-square changes per parameter, and the grid holds all points.
    apart = tree.norm(jax.tree.map(jnp.subtract, points[1], points[0])) / 17**0.5
    assert np.linalg.norm(placed.coordinates[1] - placed.coordinates[0]) == pytest.approx(apart)
    for axis, found in zip(placed.grid.axes, placed.coordinates.T, strict=True):
        assert axis[0] < found.min() <= found.max() < axis[-1]


def test_a_scan_meets_the_policies_between_which_it_runs(x64):
    points = [point(0), point(1)]
    placed = slice_through(points, num_points=9, margin=0.5)  # ends at -1/2 and 3/2

    def objective(params, key):
        return jnp.sum(params["w"] ** 3) + jnp.sum(params["b"])

    data = landscapes.scan(objective, placed.centre, placed.grid, jax.random.key(0))
    expected = [objective(p, None) for p in points]
    values = data["value"].sel(a=placed.coordinates[:, 0], method="nearest")
    np.testing.assert_allclose(values, expected, rtol=1e-10)


@pytest.mark.parametrize("num_axes", [1, 2, 3])
def test_principal_axes_are_those_of_a_singular_value_decomposition(num_axes, x64):
    path = [point(seed, 1 / (seed + 1)) for seed in range(6)]
    rows = np.stack([np.concatenate([np.ravel(x) for x in jax.tree.leaves(p)]) for p in path])
    for centre, origin in (("last", rows[-1]), ("mean", rows.mean(axis=0))):
        placed = principal_plane(path, centre=centre, num_axes=num_axes, num_points=5)
        assert placed.grid.shape == (5,) * num_axes
        _, singular, axes = np.linalg.svd(rows - origin)
        np.testing.assert_allclose(
            placed.explained, singular[:num_axes] ** 2 / (singular**2).sum(), rtol=1e-10
        )
        found = jax.vmap(lambda d: jnp.concatenate([x.ravel() for x in jax.tree.leaves(d)]))(
            placed.grid.directions
        )
        np.testing.assert_allclose(
            np.abs(found @ axes[:num_axes].T), 17**0.5 * np.eye(num_axes), atol=1e-9
        )
        inside = (rows - origin) @ axes[:num_axes].T @ axes[:num_axes]
        off = np.linalg.norm(rows - origin - inside, axis=1) / 17**0.5
        np.testing.assert_allclose(placed.residual, off, atol=1e-13)
        details = json.loads(json.dumps(placed.grid.details))  # what a store keeps of it
        np.testing.assert_array_equal(details["residual"], placed.residual)
        np.testing.assert_array_equal(details["explained"], placed.explained)
        assert np.shape(details["coordinates"]) == (6, num_axes)


def test_a_third_axis_a_million_times_shorter_is_as_orthogonal(x64):
    """The Gram matrix alone would leave it 1e-5 from orthogonal."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(30, 3)) * [1.0, 1e-2, 1e-5]
    basis = np.linalg.qr(generator.normal(size=(500, 3)))[0].T
    placed = principal_plane([{"w": row} for row in scores @ basis], num_axes=3)
    found = np.asarray(placed.grid.directions["w"]) / 500**0.5
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(found @ basis.T, axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("centre", ["last", "mean"])
def test_a_random_walk_explains_what_the_null_says(centre):
    """40 steps in 40000 dimensions: shares scatter by 1/√40000 around the exact ones."""
    steps = np.random.default_rng(0).normal(size=(41, 40_000))
    path = [{"w": row} for row in np.cumsum(steps, axis=0)]
    placed = principal_plane(path, centre=centre)
    np.testing.assert_allclose(placed.explained, placed.random_walk, rtol=0.03)
    if centre == "mean":
        assert placed.random_walk.sum() == pytest.approx(0.76, abs=0.005)


def test_axes_may_have_different_numbers_of_points():
    placed = principal_plane([point(seed) for seed in range(4)], num_points=(3, 4))
    assert placed.grid.shape == (3, 4)


def test_axes_point_to_the_start_of_the_path():
    path = [{"w": np.array([4.0 - t, 0.5 * t**2])} for t in range(4)]
    assert np.all(principal_plane(path).coordinates[0] >= 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: slice_through([point(0)]), "two or three"),
        (lambda: slice_through([point(0), point(0)]), "coincide"),
        (
            lambda: slice_through([{"w": k * jnp.ones(3)} for k in (1.0, 2.0, 4.0)]),
            "on one line",
        ),
        (lambda: slice_through([point(0), {"w": jnp.ones(3)}]), "one structure"),
        (lambda: slice_through([{"w": jnp.zeros(2)}, {"w": jnp.array([0, jnp.nan])}]), "finite"),
        (lambda: slice_through([point(0), point(1)], num_points=1), "num_points"),
        (lambda: principal_plane([point(0), point(1)]), "three snapshots"),
        (lambda: principal_plane([point(0)] * 3), "span 2"),
        (lambda: principal_plane([point(0)] * 3, num_axes=4), "num_axes"),
        (lambda: principal_plane([point(k) for k in range(3)], num_axes=3), "span 3"),
        (lambda: slice_through([point(0), point(1)], num_points=(5, 5)), "per axis"),
        (lambda: inspect.unwrap(principal_plane)([point(0)] * 3, centre="first"), "centre"),
    ],
)
def test_bad_points_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
