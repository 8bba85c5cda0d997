"""Figures of trainability: what is drawn where, and in which colour."""

import numpy as np
import pytest
import xarray
from matplotlib.figure import Figure

from fracjax.landscapes.refinement.published_box_counts import label_edges, published_dimension
from fracjax.landscapes.refinement.resolution_refinement import refined_boundary_dimension
from fracjax.learning.trainability.one_dimensional import count_dimension
from fracjax.plotting import trainability


@pytest.fixture
def axes():
    return Figure().subplots(1, 4)


def disc(side=256):
    axis = np.linspace(-1, 1, side + 1)
    return axis[:, None] ** 2 + axis**2 < 0.5


def test_ranks_keep_signs_and_spread_evenly():
    values = np.array([[-100.0, -3.0, -1.0], [5.0, 2.0, np.nan]])
    found = trainability.ranked_speeds(values)
    np.testing.assert_allclose(found[0], [-1, -0.625, -0.25])
    np.testing.assert_allclose(found[1, :2], [1, 0.25])
    assert np.isnan(found[1, 2])
    # Among another frame's values.
    among = trainability.ranked_speeds(np.array([-2.0, 50.0]), values)
    np.testing.assert_allclose(among, [-0.4375, 1.0])


def test_a_plane_has_its_first_hyperparameter_to_the_right(axes):
    values = np.where(np.arange(5)[:, None] < 2, -1.0, 1.0) * np.arange(1, 4)
    image = trainability.trainability_plane(axes[0], values, (np.arange(5.0), np.arange(3.0)))
    drawn = np.asarray(image.get_array())
    assert drawn.shape == (3, 5)
    assert (drawn[:, :2] < 0).all()
    assert (drawn[:, 2:] > 0).all()
    assert image.get_extent() == [-0.5, 4.5, -0.5, 2.5]


def test_frames_outline_the_next(axes):
    def frame(zoom):
        half = 1 / zoom
        places = 0.3 + np.linspace(-half, half, 9)
        values = np.where(disc(8), -1.0, 1.0)
        attributes = {"zoom": zoom, "centre": (0.3, 0.3), "half_width": (half, half)}
        return xarray.Dataset(
            {"value": (("a", "b"), values)}, coords={"a": places, "b": places}, attrs=attributes
        )

    trainability.trainability_frames(axes[:2], [frame(1.0), frame(4.0)])
    (outline,) = axes[0].patches
    assert outline.get_bbox().bounds == pytest.approx((0.05, 0.05, 0.5, 0.5))
    assert not axes[1].patches
    assert axes[1].get_xlim()[0] == pytest.approx(-0.25 - 0.5 / 16)


def test_counts_are_drawn_with_their_fits(axes):
    inside = disc()
    refined = refined_boundary_dimension(inside)
    boxes = published_dimension([label_edges(np.where(inside, -1.0, 1.0))] * 2)
    nothing = refined_boundary_dimension(np.zeros((257, 257), bool))
    trainability.boundary_counts(axes[0], {"disc": refined, "nothing": nothing})
    points, line = axes[0].lines
    np.testing.assert_allclose(points.get_ydata(), refined.details["counts"])
    slope = np.polyfit(np.log(line.get_xdata()), np.log(line.get_ydata()), 1)[0]
    assert slope == pytest.approx(float(refined.value))
    trainability.box_counts(axes[1], {"disc": boxes})
    assert len(axes[1].lines) == 2
    trainability.frame_dimensions(
        axes[2], np.array([1.0, 2.0]), {"refinement": [refined, nothing], "boxes": [boxes, boxes]}
    )
    assert len(axes[2].containers) == 2
    counts = np.array([1, 1, 2, 4, 9])
    fit = count_dimension(counts, first=1)
    trainability.label_changes(axes[3], {"a": counts}, {"a": fit}, {"a": counts})
    assert len(axes[3].lines) == 3
