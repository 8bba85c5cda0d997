"""Slices through a landscape: lines, planes, surfaces.

What has no finite value is never filled in: NaN and infinity have their own colours and a
count in the legend, points that were not evaluated yet are hatched.
"""

from typing import Any

import numpy as np
import xarray
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.axes3d import Axes3D

from fracjax.plotting.fields import Field, axis_label, color_scale, select
from fracjax.plotting.style import (
    DISCOUNT_COLORS,
    DIVERGING_MAP,
    INFINITE_COLOR,
    NAN_COLOR,
    SEQUENTIAL_MAP,
    UNFINISHED_COLORS,
    add_to_legend,
    image_extent,
)

__all__ = ["line_slice", "plane_slice", "surface"]

_INTERVAL = 1.96  # standard errors
_UNIFORM = 1e-6  # of the step, that the steps of an axis may differ by to be drawn as an image


def line_slice(
    axes: Axes,
    dataset: xarray.Dataset,
    *,
    variable: str = "value",
    output: int | tuple[int, ...] = 0,
    color: str = DISCOUNT_COLORS[0],
    label: str | None = None,
) -> Axes:
    """Draw the objective along one direction, with its standard errors if they are there.

    Points without a finite value are gaps, marked along the lower edge. The band is ±1.96
    standard errors.

    Args:
        axes: Where to draw.
        dataset: Result of `scan` on a line.
        variable: Name of a variable over the grid.
        output: Which one, for an objective with several.
        color: Colour of the curve.
        label: Name of the vertical axis; by default that of the variable.

    Raises:
        ValueError: If the grid is no line, or there is no such variable or output.
    """
    field = select(dataset, num_axes=1, variable=variable, output=output)
    x = field.coordinates[0]
    shown = np.where(field.finite, field.values, np.nan)
    if field.stderr is not None:
        error = _INTERVAL * field.stderr
        axes.fill_between(
            x, shown - error, shown + error, color=color, alpha=0.25, lw=0, label="95 % interval"
        )
    axes.plot(x, shown, lw=0.8, color=color)
    apart = np.pad(~field.finite, 1, constant_values=True)
    lonely = field.finite & apart[:-2] & apart[2:]
    axes.plot(x[lonely], shown[lonely], ".", ms=2, color=color)
    marks = (
        (field.nan, "NaN", NAN_COLOR, "|"),
        (field.values == np.inf, "+∞", INFINITE_COLOR, "^"),
        (field.values == -np.inf, "−∞", INFINITE_COLOR, "v"),
        (~field.done, "unfinished", UNFINISHED_COLORS[1], "|"),
    )
    for where, name, mark_color, marker in marks:
        where = where & field.done if name != "unfinished" else where
        if where.any():
            axes.plot(
                x[where],
                np.full(where.sum(), 0.0 if marker != "^" else 1.0),
                marker,
                ms=7,
                color=mark_color,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
                label=_counted(name, where),
            )
    axes.axvline(0.0, color="0.8", lw=0.8, zorder=0)
    axes.set_xlabel(axis_label(dataset, field.axes[0]), parse_math=False)
    axes.set_ylabel(variable if label is None else label, parse_math=False)
    axes.margins(x=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0)
    return axes


def plane_slice(
    axes: Axes,
    dataset: xarray.Dataset,
    *,
    variable: str = "value",
    output: int | tuple[int, ...] = 0,
    centre: float | None = None,
    contours: int = 0,
    label: str | None = None,
    reverse: bool = False,
) -> Axes:
    """Draw the objective over a plane.

    Colours are perceptually uniform, or diverge around `centre`. They span the values, or
    their 1st to 99th percentiles where a few points would take all the colours; the colour
    bar says which.

    Args:
        axes: Where to draw.
        dataset: Result of `scan` on a plane.
        variable: Name of a variable over the grid.
        output: Which one, for an objective with several.
        centre: Value of the middle, white colour, such as 0 for a Lyapunov exponent and 1
            for a Hölder exponent.
        contours: How many contour lines to draw. They mislead where the landscape is rough at
            the spacing of the grid.
        label: Name of the colour bar; by default that of the variable.
        reverse: Give low values the colours of high ones: red for what is below the centre.

    Raises:
        ValueError: If the grid is no plane, or there is no such variable or output.
    """
    field = select(dataset, num_axes=2, variable=variable, output=output)
    scale = color_scale(field.values[field.finite], centre=centre)
    colors = colormaps[DIVERGING_MAP if scale.diverging else SEQUENTIAL_MAP]
    image = _cells(
        axes,
        field,
        np.ma.masked_array(field.values, ~field.finite),
        cmap=colors.reversed() if reverse else colors,
        norm=Normalize(scale.low, scale.high),
    )
    extend = ("neither", "min", "max", "both")[scale.below + 2 * scale.above]
    # Inside the axes' own frame, so that it is as high as the plane whatever its proportions.
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.04, 1.0)), extend=extend)
    name = variable if label is None else label
    bar.set_label(f"{name}\n({scale.note})" if scale.note else name, parse_math=False)
    if contours and field.finite.any():
        levels = np.linspace(scale.low, scale.high, contours + 2)[1:-1]
        shown = np.ma.masked_array(field.values, ~field.finite)
        axes.contour(
            *field.coordinates, shown.T, levels, colors="white", linewidths=0.6, linestyles="solid"
        )
    _mark_holes(axes, field)
    if all(axis.min() <= 0 <= axis.max() for axis in field.coordinates):
        axes.plot(0, 0, "+", color="white" if centre is None else "black", ms=8)
    _frame(axes, field)
    axes.set_xlabel(axis_label(dataset, field.axes[0]), parse_math=False)
    axes.set_ylabel(axis_label(dataset, field.axes[1]), parse_math=False)
    return axes


def surface(
    axes: Axes3D,
    dataset: xarray.Dataset,
    *,
    variable: str = "value",
    output: int | tuple[int, ...] = 0,
    centre: float | None = None,
    label: str | None = None,
    every: int = 1,
) -> Axes3D:
    """Draw the objective over a plane as a surface; holes are left where it is not finite.

    Where the colours end at percentiles, the vertical axis ends half their range beyond, and
    what lies further out is left out; the picture says how many points that are.

    For a picture on paper; `surface_html` can be turned.

    Args:
        axes: Three-dimensional axes: `figure.add_subplot(projection="3d")`.
        dataset: Result of `scan` on a plane.
        variable: Name of a variable over the grid.
        output: Which one, for an objective with several.
        centre: Value of the middle colour of a diverging map.
        label: Name of the vertical axis; by default that of the variable.
        every: Draw every so many points along both axes. What is left out is stated in the
            picture.

    Raises:
        ValueError: If the grid is no plane, there is no such variable or output, or `every`
            is not positive.
    """
    if every < 1:
        msg = f"Argument `every` must be positive, but is {every}."
        raise ValueError(msg)
    whole = select(dataset, num_axes=2, variable=variable, output=output)
    field = select(
        dataset.isel({axis: slice(None, None, every) for axis in whole.axes}),
        num_axes=2,
        variable=variable,
        output=output,
    )
    scale = color_scale(field.values[field.finite], centre=centre)
    mapping = ScalarMappable(
        Normalize(scale.low, scale.high), DIVERGING_MAP if scale.diverging else SEQUENTIAL_MAP
    )
    beyond = np.zeros(field.values.shape, bool)
    if scale.note:
        reach = 0.5 * (scale.high - scale.low)
        inside = (field.values >= scale.low - reach) & (field.values <= scale.high + reach)
        beyond = field.finite & ~inside
    heights = np.where(field.finite & ~beyond, field.values, np.nan)
    corners = np.stack([heights[:-1, :-1], heights[1:, :-1], heights[:-1, 1:], heights[1:, 1:]])
    x, y = np.meshgrid(*field.coordinates, indexing="ij")
    axes.plot_surface(
        x,
        y,
        heights,
        facecolors=mapping.to_rgba(_mean_of_finite(corners)),
        rstride=1,
        cstride=1,
        linewidth=0,
        antialiased=False,
        shade=False,
    )
    axes.set_xlabel(axis_label(dataset, field.axes[0]).replace(" (", "\n("), labelpad=10)
    axes.set_ylabel(axis_label(dataset, field.axes[1]).replace(" (", "\n("), labelpad=10)
    axes.set_zlabel(variable if label is None else label, parse_math=False)
    notes = [
        _counted(name, where)
        for name, where in (
            ("NaN", field.nan),
            ("±∞", field.infinite),
            ("unfinished", ~field.done),
            ("beyond the vertical axis", beyond),
        )
        if where.any()
    ]
    if notes:
        notes = ["holes:", *notes]
    if every > 1:
        rows, columns = whole.values.shape
        notes.append(f"one point in {every} along both axes of {rows} × {columns}")
    axes.text2D(
        0.0, 1.0, "\n".join(notes), transform=axes.transAxes, color="0.35", va="top", size=8
    )
    axes.set_box_aspect(None, zoom=0.84)  # labels of three-dimensional axes have no layout
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(5))
    return axes


def _mean_of_finite(corners: np.ndarray) -> np.ndarray:
    """Mean over the leading axis; NaN where any is, as such a face is not drawn."""
    known = np.isfinite(corners).all(axis=0)
    return np.where(known, np.where(known, corners, 0.0).mean(axis=0), np.nan)


def _counted(name: str, where: np.ndarray) -> str:
    return f"{name} ({int(where.sum()):,} of {where.size:,})"


def _cells(axes: Axes, field: Field, shown: np.ndarray, **settings: Any) -> Any:
    """Colour one cell per point: as an image where the axes are uniform, which is faster."""
    a, b = field.coordinates
    if all(_is_uniform(axis) for axis in (a, b)):
        cells = shown.swapaxes(0, 1)
        return axes.imshow(cells, origin="lower", extent=image_extent(a, b), **settings)
    return axes.pcolormesh(
        a, b, shown.swapaxes(0, 1), shading="nearest", rasterized=True, **settings
    )


def _is_uniform(axis: np.ndarray) -> bool:
    steps = np.diff(axis)
    return len(axis) > 1 and steps[0] > 0 and bool(np.ptp(steps) <= _UNIFORM * steps[0])


def _mark_holes(axes: Axes, field: Field) -> None:
    """Colour NaN and infinity, hatch what is unfinished, and say how many there are."""
    handles: list[Artist] = []
    colors = np.zeros((*field.values.shape, 4))
    for where, name, color in (
        (field.nan, "NaN", NAN_COLOR),
        (field.infinite, "±∞", INFINITE_COLOR),
    ):
        if where.any():
            colors[where] = to_rgba(color)
            handles.append(Patch(color=color, label=_counted(name, where)))
    if handles:
        _cells(axes, field, colors, zorder=1.5)
    if not field.done.all():
        # Cells that nothing was drawn on let the background through.
        face, edge = UNFINISHED_COLORS
        look: dict[str, Any] = {"facecolor": face, "edgecolor": edge, "hatch": "////", "lw": 0}
        axes.patch.set(**look)
        handles.append(Patch(**look, label=_counted("unfinished", ~field.done)))
    add_to_legend(axes, handles)


def _frame(axes: Axes, field: Field) -> None:
    """Show the whole grid, in its own proportions unless they are extreme."""
    widths = [np.ptp(axis) for axis in field.coordinates]
    axes.set_aspect("equal" if max(widths) <= 3 * min(widths) else "auto")
