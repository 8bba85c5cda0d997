"""Whole figures of scans."""

import numpy as np
import pytest
import xarray

from fracjax.plotting import fractality_figure, mark_cliffs, scan_figure
from fracjax.plotting.fields import is_resolved


def scan(shape, outputs=(), **variables):
    axes = tuple("abcdef"[: len(shape)])
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    values = sum((i + 1) * part for i, part in enumerate(grid))
    if outputs:
        values = np.stack([(k + 1) * values for k in range(*outputs)], axis=-1)
    dims = (*axes, "output") if outputs else axes
    return xarray.Dataset(
        {"value": (dims, values), **{k: (axes, v) for k, v in variables.items()}},
        coords={axis: np.linspace(-1, 1, n) for axis, n in zip(axes, shape, strict=True)},
        attrs={"directions": "gaussian"},
    )


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title(loc="left") and axes.get_visible()]


def titles(figure):
    return [axes.get_title(loc="left") for axes in panels(figure)]


@pytest.mark.parametrize("shape", [(9,), (9, 7)])
def test_one_panel_per_discount(shape):
    figure = scan_figure(scan(shape, (2,)), (0.99, 0.9), title="pendulum")
    assert titles(figure) == ["γ = 0.99", "γ = 0.9"]
    assert figure.get_suptitle() == "pendulum"
    first, second = panels(figure)
    if len(shape) == 1:
        drawn = [axes.lines[0].get_ydata() for axes in (first, second)]
        assert first.get_ylabel() == "return"
    else:
        drawn = [axes.images[0].get_array() for axes in (first, second)]
    np.testing.assert_allclose(drawn[1], 2 * drawn[0])


def test_every_pair_of_axes_through_the_middle():
    data = scan((5, 7, 3))
    figure = scan_figure(data, title="box")
    assert titles(figure) == ["value, c = 0", "value, b = 0", "value, a = 0"]
    drawn = panels(figure)[1].images[0].get_array()
    np.testing.assert_allclose(drawn, data["value"].values[:, 3, :].T)
    assert panels(figure)[1].get_ylabel() == "random direction 3 (change per parameter)"


def test_named_variables_and_what_qualifies_them():
    data = scan((5, 5))
    data = data.assign(
        lyapunov=data["value"], stderr=data["value"], lyapunov_status=data["value"].astype(int)
    )
    figure = scan_figure(data, title="maps")
    assert titles(figure) == ["value", "lyapunov"]
    assert panels(figure)[1].images[0].get_clim() == (-3.0, 3.0)
    assert titles(scan_figure(data, title="maps", variables=["stderr"])) == ["stderr"]


def test_more_panels_than_a_page_holds_are_refused():
    with pytest.raises(ValueError, match=r"24 panels, but these are 25 \(25 outputs, 1 slices\)"):
        scan_figure(scan((3, 3), (25,)), title="many")


def test_contours_only_where_the_grid_resolves_the_plane():
    rng = np.random.default_rng(0)
    a, b = np.meshgrid(np.linspace(-3, 3, 41), np.linspace(-3, 3, 41), indexing="ij")
    smooth, noise = np.cos(a + b), rng.standard_normal((41, 41))
    assert is_resolved(smooth)
    assert is_resolved(np.where(rng.random((41, 41)) < 0.02, np.nan, smooth))
    assert not is_resolved(noise)
    assert not is_resolved(noise.cumsum(0).cumsum(1)[:4])
    assert not is_resolved(noise.cumsum(0))
    assert not is_resolved(np.full((9, 9), np.nan))


def cliffs(**coordinates):
    count = len(coordinates["a"])
    return xarray.Dataset(
        {"kind": ("cliff", np.array(["jump", "steep", "jump"][:count]))},
        coords={name: ("cliff", values) for name, values in coordinates.items()},
    )


def test_fractality_maps_stand_side_by_side_with_the_cliffs():
    returns, coarse = scan((9, 9), (2,)), scan((3, 3))
    found = cliffs(a=[0.1, 0.2, 0.3], b=[0.0, 0.5, -0.5])
    figure = fractality_figure(
        returns,
        coarse,
        coarse.rename(value="alpha"),
        title="pendulum",
        variables=("value", "value", "alpha"),
        output=1,
        cliffs=found,
    )
    first, second, third = panels(figure)
    np.testing.assert_allclose(first.images[0].get_array(), returns["value"].values[..., 1].T)
    assert sum(second.images[0].get_clim()) == 0  # λ diverges around 0
    assert sum(third.images[0].get_clim()) == 2  # α around 1
    assert third.images[0].cmap(0.0)[0] > third.images[0].cmap(0.0)[2]  # rough is red
    for axes in (first, second, third):
        jumps = next(mark for mark in axes.lines if mark.get_label() == "cliff, jump (2)")
        np.testing.assert_array_equal(jumps.get_xdata(), [0.1, 0.3])
        np.testing.assert_array_equal(jumps.get_ydata(), [0.0, -0.5])
        assert len(axes.get_legend().get_texts()) == 2


def test_cliffs_join_the_legend_of_the_holes():
    data = scan((5, 5))
    data["value"].values[0, 0] = np.nan
    figure = scan_figure(data, title="", cliffs={"value": cliffs(a=[0.5], b=[0.5])})
    texts = [text.get_text() for text in panels(figure)[0].get_legend().get_texts()]
    assert texts == ["NaN (1 of 25)", "cliff, jump (1)"]


def test_cliffs_of_a_line_are_marked_along_its_edge():
    figure = scan_figure(scan((5,)), title="")
    (axes,) = panels(figure)
    assert mark_cliffs(axes, cliffs(a=[0.25])) is axes
    np.testing.assert_array_equal(axes.lines[-1].get_xdata(), [0.25])


def test_outputs_by_discount_are_named_so_and_rough_is_red():
    data = scan((5, 5), (2,))
    data = data.assign(holder=data["value"], exponent=data["value"].isel(output=0))
    figure = scan_figure(data, (0.9, 0.99), title="")
    assert titles(figure) == [
        "γ = 0.9",
        "γ = 0.99",
        "holder, γ = 0.9",
        "holder, γ = 0.99",
        "exponent",
    ]
    holder, exponent = panels(figure)[2].images[0], panels(figure)[4].images[0]
    assert sum(holder.get_clim()) == 2
    assert sum(exponent.get_clim()) == 0
    red, blue = 0, 2
    assert holder.cmap(0.0)[red] > holder.cmap(0.0)[blue]
    assert exponent.cmap(1.0)[red] > exponent.cmap(1.0)[blue]
    # Three discounts do not belong to two outputs.
    assert titles(scan_figure(data[["value"]], (0.9, 0.99, 1.0), title="")) == [
        "value_0",
        "value_1",
    ]
