"""Pictures of a policy's path show the numbers they were given, and the walk beside them."""

import dataclasses

import numpy as np
import pytest
from matplotlib.legend import Legend

from fracjax import Status
from fracjax.learning.policy_paths.changes import PathChanges
from fracjax.learning.policy_paths.temporal_svd import TemporalSvd
from fracjax.learning.policy_paths.walk_nulls import Band, WalkNull
from fracjax.plotting import policy_paths
from fracjax.plotting.style import new_figure

SHARES = (0.5, 0.8)


@pytest.fixture
def found():
    courses = np.linspace(-1, 1, 30).reshape(10, 3)
    return TemporalSvd(
        singular_values=np.array([3.0, 2.0, 1.0]),
        information=np.array([0.5, 0.8, 1.0]),
        dimensionality=np.array([1, 2]),
        courses=courses,
        detour=np.array([1.0, np.inf, 3.0]),
        final=np.ones(3),
        num_resolved=np.asarray(3),
        stride=np.asarray(25.0),
        status=np.asarray(int(Status.OK)),
        shares=SHARES,
    )


@pytest.fixture
def null(found):
    def band(value):
        return Band(value - 1, value, value + 1)

    fields = {
        name: band(np.asarray(getattr(found, name), float))
        for name in ("information", "dimensionality", "courses", "detour", "final")
    }
    return WalkNull(**fields, level=0.95, walk="shuffled")


def changes(values):
    values = np.asarray(values, float)
    return PathChanges(
        accumulated=values,
        final=values / 2,
        detour=values,
        detour_median=np.median(values),
        gini=np.asarray(0.25),
        top_share=np.asarray(0.3),
        effective_steps=np.asarray(100.0),
        stride=np.asarray(1.0),
        status=np.asarray(int(Status.OK)),
    )


def test_dimensionality_stands_beside_its_walk(axes, found, null):
    policy_paths.dimensionality_curve(axes, found, null)
    walk, path = axes.lines
    np.testing.assert_array_equal(path.get_ydata(), [1, 2])
    assert walk.get_label() == "steps in random order"
    edges = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (edges.min(), edges.max()) == (0, 3)


def test_endless_detours_are_arrows(axes, found, null):
    policy_paths.detours_by_direction(axes, found, null)
    low, high = axes.lines
    np.testing.assert_array_equal(low.get_xdata(), [1, 3])
    np.testing.assert_array_equal(high.get_xdata(), [2])
    assert high.get_marker() == "^"
    assert axes.get_legend()._loc == Legend.codes["lower right"]  # at the top it hides arrows
    assert len(axes.collections[0].get_segments()) == 3


def test_courses_run_over_optimiser_steps(axes, found, null):
    policy_paths.time_courses(axes, found, null, count=2)
    assert len(axes.lines) == 4  # two courses, two medians
    np.testing.assert_array_equal(axes.lines[1].get_xdata()[-1], 25 * 9)
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), found.courses[:, 0])
    policy_paths.time_courses(axes, found)
    assert len(axes.lines) == 7


def covered(axes):
    """Whether a legend lies over a point, an end of a bar or a corner of a band."""
    axes.figure.draw_without_rendering()
    box = axes.get_legend().get_window_extent()
    points = [line.get_xydata() for line in axes.lines]
    points += [path.vertices for found in axes.collections for path in found.get_paths()]
    places = axes.transData.transform(np.concatenate(points))
    return any(box.contains(*place) for place in places)


@pytest.mark.parametrize("high", [1.5, 30.0])
def test_no_legend_covers_a_direction_or_a_course(found, null, high):
    """Four directions with detours anywhere, and courses that fill their range."""
    figure = new_figure(4.1, 2.9)
    left = figure.subplots()
    detour = np.array([1.0, high, high, high])
    several = dataclasses.replace(found, detour=detour)
    ends = Band(np.full(4, 1.0), detour, np.full(4, 60.0))
    policy_paths.detours_by_direction(left, several, dataclasses.replace(null, detour=ends))
    assert not covered(left)
    right = new_figure(4.1, 2.9).subplots()
    courses = high * np.cos(np.outer(np.arange(40), np.arange(1.0, 5.0)))
    wide = Band(courses - 0.1, courses, courses + 0.1)
    policy_paths.time_courses(
        right,
        dataclasses.replace(found, courses=courses),
        dataclasses.replace(null, courses=wide),
    )
    assert not covered(right)


def test_distributions_of_changes(axes):
    values = np.arange(1.0, 11.0)
    policy_paths.accumulated_changes(axes, {"first": changes(values)})
    drawn, walk = axes.lines
    np.testing.assert_allclose(drawn.get_xdata(), values / 5.5)
    assert drawn.get_ydata()[-1] == 1
    assert "Gini 0.25" in drawn.get_label()
    middle = np.interp(1.0, walk.get_xdata(), walk.get_ydata())
    assert middle == pytest.approx(0.5)


def test_detours_leave_out_what_hardly_moved(axes):
    one = changes(np.arange(1.0, 11.0))
    one = dataclasses.replace(one, detour=np.arange(10.0, 0.0, -1.0))
    policy_paths.detours(axes, {"first": one})
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), np.arange(1.0, 9.0))
    assert axes.get_xscale() == "log"


def test_every_seed_has_its_line(axes):
    returns = {"without": np.ones((3, 4)), "with": 2 * np.ones((3, 4))}
    policy_paths.learning_curves(axes, np.arange(4), returns)
    assert len(axes.lines) == 8
    np.testing.assert_array_equal(axes.lines[-1].get_ydata(), 2)
