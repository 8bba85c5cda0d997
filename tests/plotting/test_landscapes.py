"""Lines, planes and surfaces show the values they were given, and what is missing."""

import numpy as np
import pytest
import xarray
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from fracjax.plotting import line_slice, plane_slice, surface
from fracjax.plotting.style import INFINITE_COLOR, NAN_COLOR


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def plane(values, **variables):
    values = np.asarray(values, float)
    coordinates = {name: np.arange(values.shape[i]) - 1.0 for i, name in enumerate("ab")}
    others = {name: (("a", "b"), np.asarray(array)) for name, array in variables.items()}
    return xarray.Dataset({"value": (("a", "b"), values), **others}, coords=coordinates)


def line(values, **variables):
    values = np.asarray(values, float)
    dims = ("a", "output")[: values.ndim]
    others = {name: (dims[: np.ndim(array)], array) for name, array in variables.items()}
    return xarray.Dataset(
        {"value": (dims, values), **others},
        coords={"a": np.linspace(-1, 1, len(values))},
        attrs={"directions": "filter"},
    )


def test_line_returns_its_axes_and_draws_the_values_of_the_output(axes):
    data = line([[1.0, 5.0], [np.nan, 6.0], [3.0, 7.0]])
    assert line_slice(axes, data, output=1, color="k") is axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [5.0, 6.0, 7.0])
    assert axes.get_xlabel() == "random direction (share of each filter's norm)"
    assert axes.get_legend() is None


def test_line_marks_what_it_cannot_draw_and_counts_it(axes):
    values = [1.0, np.nan, 2.0, np.inf, -np.inf, np.nan, 4.0, np.nan]
    done = np.array([True] * 7 + [False])
    line_slice(axes, line(values, done=done))
    np.testing.assert_array_equal(
        axes.lines[0].get_ydata(), [1, np.nan, 2, np.nan, np.nan, np.nan, 4, np.nan]
    )
    # No line reaches points whose neighbours are missing: they are dots.
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [1.0, 2.0, 4.0])
    assert legend(axes) == ["NaN (2 of 8)", "+∞ (1 of 8)", "−∞ (1 of 8)", "unfinished (1 of 8)"]
    marks = {mark.get_label()[:3]: mark for mark in axes.lines[2:6]}
    np.testing.assert_allclose(marks["NaN"].get_xdata(), np.linspace(-1, 1, 8)[[1, 5]])
    assert marks["NaN"].get_color() == NAN_COLOR


def test_line_band_is_the_95_percent_interval(axes):
    line_slice(axes, line([1.0, 2.0, 3.0], stderr=np.array([0.1, 0.2, 0.3])))
    (band,) = axes.collections
    edges = band.get_paths()[0].vertices
    at_one = edges[edges[:, 0] == 1.0][:, 1]
    assert at_one.min() == pytest.approx(3 - 1.96 * 0.3)
    assert at_one.max() == pytest.approx(3 + 1.96 * 0.3)
    assert legend(axes) == ["95 % interval"]


def test_a_named_variable_and_its_own_errors(axes):
    data = line([0.0, 0.0, 0.0], loss=np.array([1.0, 2.0, 3.0]), loss_stderr=np.full(3, 0.5))
    line_slice(axes, data, variable="loss")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, 2.0, 3.0])
    assert len(axes.collections) == 1
    assert axes.get_ylabel() == "loss"


def test_plane_is_not_transposed_and_masks_what_is_not_finite(axes):
    assert plane_slice(axes, plane([[0.0, 1.0, 2.0], [3.0, np.inf, 5.0]])) is axes
    drawn = axes.images[0].get_array()
    assert drawn.shape == (3, 2)  # rows run along the vertical axis, direction 2
    assert drawn[2, 0] == 2.0
    assert drawn.mask[1, 1]
    assert drawn.mask.sum() == 1
    assert axes.images[0].get_extent() == [-1.5, 0.5, -1.5, 1.5]


def test_holes_have_their_colours_and_counts(axes):
    done = np.ones((3, 2), bool)
    done[2, 1] = False
    values = [[0.0, np.nan], [np.inf, -np.inf], [4.0, np.nan]]
    plane_slice(axes, plane(values, done=done))
    assert legend(axes) == ["NaN (1 of 6)", "±∞ (2 of 6)", "unfinished (1 of 6)"]
    holes = axes.images[1].get_array()
    np.testing.assert_allclose(holes[1, 0], to_rgba(NAN_COLOR))
    np.testing.assert_allclose(holes[:, 1], [to_rgba(INFINITE_COLOR)] * 2)
    assert holes[0, 0, 3] == holes[1, 2, 3] == 0  # what is unfinished lets the hatching through
    assert axes.patch.get_hatch()


def test_axes_with_uneven_steps_are_drawn_where_they_are(axes):
    data = plane([[0.0, 1.0], [3.0, np.nan], [6.0, 7.0]]).assign_coords(a=[0.0, 1.0, 10.0])
    plane_slice(axes, data)
    cells = axes.collections[0]
    np.testing.assert_allclose(cells.get_coordinates()[0, :, 0], [-0.5, 0.5, 5.5, 14.5])
    assert cells.get_array()[0, 2] == 6.0
    assert axes.get_aspect() == "auto"


def test_few_extreme_points_do_not_take_the_colours_and_the_bar_says_so(axes):
    values = np.linspace(0, 1, 400).reshape(20, 20)
    values[0, 0] = -1000.0
    plane_slice(axes, plane(values))
    low, high = axes.images[0].get_clim()
    assert low == pytest.approx(np.percentile(values, 1))
    assert high == pytest.approx(np.percentile(values, 99))
    bar = axes.images[0].colorbar
    assert "percentiles 1 and 99" in bar.ax.get_ylabel()
    assert bar.extend == "both"


def test_colours_span_the_values_where_nothing_is_extreme(axes):
    plane_slice(axes, plane(np.linspace(0, 1, 400).reshape(20, 20)), label="loss")
    assert axes.images[0].get_clim() == (0.0, 1.0)
    assert axes.images[0].colorbar.ax.get_ylabel() == "loss"
    assert axes.images[0].colorbar.extend == "neither"


def test_diverging_colours_have_the_centre_in_the_middle(axes):
    plane_slice(axes, plane([[-1.0, 0.0], [2.0, 3.0]]), centre=0.0)
    image = axes.images[0]
    assert image.get_clim() == (-3.0, 3.0)
    middle = np.array(image.cmap(0.5)[:3])
    assert middle.min() > 0.95  # white
    low, high = image.cmap(0.0), image.cmap(1.0)
    assert low[2] > low[0]  # below the centre is blue
    assert high[0] > high[2]
    plane_slice(axes, plane([[-1.0, 0.0], [2.0, 3.0]]), centre=0.0, reverse=True)
    assert axes.images[1].cmap(0.0)[0] > axes.images[1].cmap(0.0)[2]


@pytest.mark.parametrize("fill", [3.0, np.nan])
def test_a_plane_without_any_range_is_drawn(axes, fill):
    plane_slice(axes, plane(np.full((3, 3), fill)), contours=4)
    axes.figure.draw_without_rendering()


def test_surface_has_a_face_for_every_cell_with_four_values():
    axes = Figure().add_subplot(projection="3d")
    values = np.arange(30.0).reshape(6, 5)
    values[0, 0] = np.nan
    values[5, 4] = np.inf
    assert surface(axes, plane(values)) is axes
    axes.figure.draw_without_rendering()
    (faces,) = axes.collections
    drawn = [np.isfinite(path.vertices).all() for path in faces.get_paths()]
    visible = faces.get_facecolor()[:, 3] > 0
    assert visible.sum() == 5 * 4 - 2
    assert np.all(np.array(drawn)[visible])
    note = axes.texts[0].get_text()
    assert "NaN (1 of 30)" in note
    assert "±∞ (1 of 30)" in note


def test_surface_leaves_out_points_only_if_told_and_says_so():
    axes = Figure().add_subplot(projection="3d")
    surface(axes, plane(np.arange(63.0).reshape(9, 7)), every=2)
    assert "one point in 2 along both axes of 9 × 7" in axes.texts[0].get_text()
    axes.figure.draw_without_rendering()
    assert len(axes.collections[0].get_facecolor()) == 4 * 3
    with pytest.raises(ValueError, match="`every`"):
        surface(axes, plane(np.zeros((3, 3))), every=0)


def test_what_cannot_be_drawn_is_named(axes):
    with pytest.raises(ValueError, match=r"must have 2 axes .* has 1"):
        plane_slice(axes, line([1.0, 2.0]))
    with pytest.raises(ValueError, match="`variable` must be one of value, but is 'loss'"):
        plane_slice(axes, plane(np.zeros((2, 2))), variable="loss")
    with pytest.raises(ValueError, match="`output` must be below 2, but is 2"):
        line_slice(axes, line(np.zeros((3, 2))), output=2)


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("gaussian", "random direction 2 (change per parameter)"),
        ("filter", "random direction 2 (share of each filter's norm)"),
        ("principal components", "principal component 2 (change per parameter)"),
        ("gradient and random", "random direction (change per parameter)"),
        ("hessian eigenvectors", "Hessian eigenvector 2 (change per parameter)"),
        ("mine", "mine direction 2 (unit of the direction)"),
    ],
)
def test_axes_are_called_by_how_their_directions_were_made(axes, kind, label):
    data = plane(np.zeros((2, 2)))
    data.attrs["directions"] = kind
    plane_slice(axes, data)
    assert axes.get_ylabel() == label
