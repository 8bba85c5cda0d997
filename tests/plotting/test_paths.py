"""A path over its plane, and how far off it lies."""

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from fracjax.landscapes import principal_plane, slice_through
from fracjax.plotting import path_on_plane


def texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_snapshots_lie_where_they_project_to_and_their_colour_is_the_distance():
    walk = np.random.default_rng(0).standard_normal((12, 50)).cumsum(axis=0)
    placed = principal_plane([jnp.asarray(row) for row in walk])
    axes = Figure().subplots()
    assert path_on_plane(axes, placed) is axes
    (marks,) = axes.collections
    np.testing.assert_allclose(marks.get_offsets(), placed.coordinates)
    np.testing.assert_allclose(marks.get_array(), placed.residual)
    low, high = marks.get_clim()
    assert low == 0.0
    assert high == pytest.approx(placed.residual.max())
    assert texts(axes) == ["first snapshot", "last snapshot"]
    note = axes.texts[0].get_text()
    shares = " + ".join(f"{100 * share:.0f} %" for share in placed.explained)
    null = " + ".join(f"{100 * share:.0f} %" for share in placed.random_walk)
    assert f"axes explain {shares}" in note
    assert f"a random walk of 11 steps: {null}" in note


def test_rounding_off_the_plane_is_not_drawn_as_far_off():
    points = [jnp.zeros(9), jnp.zeros(9).at[0].set(1.0), jnp.zeros(9).at[1].set(1.0)]
    placed = slice_through(points)
    axes = Figure().subplots()
    path_on_plane(axes, placed)
    # Three points in their own plane: nothing reaches a hundredth of the colours.
    assert placed.residual.max() < 0.01 * axes.collections[0].get_clim()[1]
    assert axes.get_legend() is None  # no path: no first and last
    assert "random walk" not in axes.texts[0].get_text()


def test_a_line_is_no_plane():
    placed = slice_through([jnp.zeros(3), jnp.ones(3)])
    with pytest.raises(ValueError, match="`placed` must have two axes, but has 1"):
        path_on_plane(Figure().subplots(), placed)
