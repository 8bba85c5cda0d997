"""Grids of any number of axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import directions, landscapes
from fracjax.landscapes.slices import grids

KEY = jax.random.key(0)
PARAMS = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first.directions, second.directions)
    assert len(first.axes) == len(second.axes)
    for one, other in zip(first.axes, second.axes, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (first.kind, first.details) == (second.kind, second.details)


@pytest.mark.parametrize("kind", ["gaussian", "filter", "orthonormal"])
def test_lines_and_planes_are_boxes_of_one_and_two_axes(kind):
    settings = {"span": 0.5, "num_points": 7, "kind": kind}
    same(grids.line(PARAMS, KEY, **settings), grids.box(PARAMS, KEY, num_axes=1, **settings))
    same(grids.plane(PARAMS, KEY, **settings), grids.box(PARAMS, KEY, num_axes=2, **settings))


def test_every_axis_may_have_its_own_span_and_number_of_points():
    grid = grids.box(PARAMS, KEY, span=(1.0, 2.0, 3.0, 4.0), num_points=(2, 3, 4, 5), num_axes=4)
    assert grid.shape == (2, 3, 4, 5)
    assert grid.size == 120
    assert [axis[-1] for axis in grid.axes] == [1, 2, 3, 4]
    assert [axis[0] for axis in grid.axes] == [-1, -2, -3, -4]
    assert grid.directions["w"].shape == (4, 4, 3)
    assert grids.zoom(grid, 2.0).axes[3][-1] == 2


def test_biases_may_stay_where_they_are():
    grid = grids.plane(PARAMS, KEY, vectors="zeroed")
    np.testing.assert_array_equal(grid.directions["b"], 0)
    assert np.all(np.asarray(grid.directions["w"]) != 0)
    assert grid.details == {"vectors": "zeroed"}


def test_a_grid_along_given_directions():
    drawn = directions.draw("orthonormal", KEY, PARAMS, 3)
    grid = grids.along(drawn, span=0.1, num_points=(3, 4, 5), details={"file": "mine.npz"})
    assert grid.directions is drawn
    assert (grid.kind, grid.details, grid.shape) == ("given", {"file": "mine.npz"}, (3, 4, 5))


def test_values_of_a_box_are_those_of_its_points(x64):
    params = jax.tree.map(lambda leaf: leaf.astype("float64"), PARAMS)
    grid = grids.box(params, KEY, span=0.5, num_points=(2, 3, 5))

    def objective(point, key):
        return jnp.sum(point["w"] ** 3) - jnp.sum(point["b"] ** 2)

    data = landscapes.scan(objective, params, grid, KEY)
    assert dict(data.sizes) == {"a": 2, "b": 3, "c": 5}
    position = np.array([axis[i] for axis, i in zip(grid.axes, (1, 0, 3), strict=True)])
    moved = jax.tree.map(
        lambda leaf, units: leaf + jnp.tensordot(position, units, 1), params, grid.directions
    )
    np.testing.assert_allclose(data["value"][1, 0, 3], objective(moved, None), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grids.box(PARAMS, KEY, num_axes=0), "num_axes"),
        (lambda: grids.box(PARAMS, KEY, span=(0.1, 0.2)), "`span` must be one number or one per"),
        (lambda: grids.plane(PARAMS, KEY, num_points=(3, 3, 3)), "`num_points` must be one"),
        (lambda: grids.plane(PARAMS, KEY, span=(0.1, -0.2)), "-0.2"),
        (lambda: grids.line(PARAMS, KEY, span=float("inf")), "inf"),
        (lambda: grids.along({"w": jnp.ones((2, 3)), "b": jnp.ones((1, 3))}), r"\[1, 2\]"),
        (lambda: grids.along({"w": jnp.ones((0, 3))}), "leading axis"),
    ],
)
def test_bad_grids_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
