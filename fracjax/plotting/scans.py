"""Whole figures of scans: returns by discount, and maps of how fractal they are."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fracjax.landscapes.exports.tables import AXES, Column, columns, grid_axes
from fracjax.plotting.fields import centre_of, heading, is_resolved, is_wanted, position, select
from fracjax.plotting.landscapes import line_slice, plane_slice
from fracjax.plotting.style import OUTLINE, add_to_legend, curve_color, new_figure, style

__all__ = ["fractality_figure", "mark_cliffs", "scan_figure"]

_CONTOURS = 8
_MAX_PANELS = 24
_CLIFF_MARKERS = {"jump": "x", "steep": "1", "unresolved": "+"}


def scan_figure(
    dataset: xarray.Dataset,
    discounts: Sequence[float] = (),
    *,
    title: str,
    variables: Sequence[str] | None = None,
    cliffs: Mapping[str, xarray.Dataset | None] | None = None,
) -> Figure:
    """Draw a scan, one panel per output of every variable.

    Lines are curves, planes are maps. Of a grid with more axes every pair of axes is drawn, the
    others held at their middle point. Contour lines are added where the grid resolves the
    landscape.

    Args:
        dataset: Result of `landscapes.scan` or `open_scan`.
        discounts: Discount factors that outputs were measured at; `value` is the return then.
        title: Heading.
        variables: Which variables to draw; all but standard errors and statuses if not given.
        cliffs: Results of `landscapes.analysis.cliffs` to mark, by output ("value", "value_0"),
            on a line or plane.

    Raises:
        ValueError: If there are more panels than a page holds; choose `variables`.
    """
    axes = grid_axes(dataset)
    chosen = [column for column in columns(dataset) if is_wanted(column, dataset, variables)]
    slices: list[tuple[str, ...]] = [axes]
    if len(axes) > 2:
        slices = list(itertools.combinations(axes, 2))
    if not 0 < len(chosen) * len(slices) <= _MAX_PANELS:
        msg = (
            f"Argument `variables` must choose 1 to {_MAX_PANELS} panels, but these are"
            f" {len(chosen) * len(slices)} ({len(chosen)} outputs, {len(slices)} slices)."
        )
        raise ValueError(msg)
    with style():
        panels = [(column, kept) for column in chosen for kept in slices]
        wide = 1 if len(axes) == 1 else min(len(chosen), 3) if len(axes) == 2 else len(slices)
        high = -(-len(panels) // wide)
        width, height = (8.0, 2.4) if len(axes) == 1 else (5.0, 4.3)
        figure = new_figure(width * wide, height * high + 0.4)
        grid = figure.subplots(high, wide, squeeze=False)
        for spare in grid.flat[len(panels) :]:
            spare.set_visible(False)
        for index, (panel, (column, kept)) in enumerate(zip(grid.flat, panels, strict=False)):
            _panel(panel, dataset, column, kept, discounts, index)
            found = (cliffs or {}).get(column.name)
            if found is not None and len(axes) < 3:
                mark_cliffs(panel, found)
        figure.suptitle(title, parse_math=False)
    return figure


def _panel(
    axes: Axes,
    dataset: xarray.Dataset,
    column: Column,
    kept: tuple[str, ...],
    discounts: Sequence[float],
    place: int,
) -> None:
    """Draw one slice of one output."""
    middle = {axis: dataset.sizes[axis] // 2 for axis in grid_axes(dataset) if axis not in kept}
    part = dataset.isel(middle, drop=True)
    name = heading(column, dataset, discounts)
    label = name.partition(",")[0] if name != column.name else column.variable
    if len(kept) == 1:
        color = curve_color(place)
        line_slice(
            axes,
            part,
            variable=column.variable,
            output=column.index,
            color=color,
            label=label,
        )
    else:
        centre, reverse = centre_of(column.variable)
        contours = _CONTOURS if centre is None and is_resolved(column.of(part).values) else 0
        plane_slice(
            axes,
            part,
            variable=column.variable,
            output=column.index,
            centre=centre,
            reverse=reverse,
            contours=contours,
            label=label,
        )
    held = [f"{axis} = {position(dataset[axis].values, at):.3g}" for axis, at in middle.items()]
    axes.set_title(", ".join([name.removeprefix("return, "), *held]), parse_math=False)


def fractality_figure(
    returns: xarray.Dataset,
    exponents: xarray.Dataset,
    holder: xarray.Dataset,
    *,
    title: str,
    variables: tuple[str, str, str] = ("value", "value", "value"),
    output: int = 0,
    cliffs: xarray.Dataset | None = None,
) -> Figure:
    """Draw return, largest Lyapunov exponent λ and Hölder exponent α of a plane side by side.

    The maps may have grids of their own. λ diverges around 0: red is chaotic, blue forgets its
    start. α diverges around 1: red is rougher than a line, with no gradient to estimate, blue
    is smooth.

    Args:
        returns: Scan of the return.
        exponents: Scan, or map, of λ.
        holder: Scan, or map, of α.
        title: Heading.
        variables: Names of the three variables.
        output: Which output of the return, where it has several.
        cliffs: Result of `landscapes.analysis.cliffs` of the return; marked in all three.

    Raises:
        ValueError: If a map is no plane or lacks its variable.
    """
    with style():
        figure = new_figure(14.4, 4.6)
        panels = figure.subplots(1, 3)
        first, second, third = panels
        chosen = select(returns, num_axes=2, variable=variables[0], output=output)
        plane_slice(
            first,
            returns,
            variable=variables[0],
            output=output,
            label="return",
            contours=_CONTOURS if is_resolved(chosen.values) else 0,
        )
        plane_slice(
            second, exponents, variable=variables[1], centre=0.0, label="λ (nats per unit of time)"
        )
        plane_slice(third, holder, variable=variables[2], centre=1.0, label="α", reverse=True)
        headings = ("return", "largest Lyapunov exponent", "Hölder exponent")
        for axes, name in zip(panels, headings, strict=True):
            axes.set_title(name)
            if cliffs is not None:
                mark_cliffs(axes, cliffs)
        figure.suptitle(title, parse_math=False)
    return figure


def mark_cliffs(axes: Axes, cliffs: xarray.Dataset) -> Axes:
    """Mark where cliffs were found on a line or plane.

    Args:
        axes: Where to draw, upon `line_slice` or `plane_slice`.
        cliffs: Result of `landscapes.analysis.cliffs`: coordinates along `cliff`, and the
            `kind` of each.
    """
    names = [name for name in AXES if name in cliffs.coords]
    kinds = cliffs["kind"].values
    halo = [patheffects.withStroke(linewidth=2.6, foreground="white")]
    marks = []
    for kind in dict.fromkeys(kinds.tolist()):
        where = kinds == kind
        label = f"cliff, {kind} ({int(where.sum()):,})"
        x = cliffs[names[0]].values[where]
        look: dict[str, Any] = {
            "ls": "none",
            "color": OUTLINE,
            "ms": 4,
            "mew": 1.1,
            "zorder": 3,
            "label": label,
        }
        look["marker"] = _CLIFF_MARKERS.get(kind, "+")
        if len(names) == 1:  # along the upper edge, as a line has no second coordinate
            edge = axes.get_xaxis_transform()
            marks += axes.plot(x, np.full(len(x), 0.97), transform=edge, **look)
        else:
            y = cliffs[names[1]].values[where]
            marks += axes.plot(x, y, path_effects=halo, **look)
    if len(names) > 1:
        add_to_legend(axes, marks)
    elif marks:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0)
    return axes
