"""Frames of a zoom side by side."""

from collections.abc import Sequence

import numpy as np
import xarray
from matplotlib.figure import Figure

from fracjax.plotting.fields import axis_label
from fracjax.plotting.movies import colour_picture
from fracjax.plotting.style import DISCOUNT_COLORS, new_figure, style

__all__ = ["zoom_figure"]

_COLUMNS = 3


def zoom_figure(frames: Sequence[xarray.Dataset], *, title: str) -> Figure:
    """Draw frames of a zoom, planes by colour and lines as curves, with 95 % intervals.

    Every frame has colours of its own (its values' ranks), as the same structure at ever
    smaller heights is what a fractal shows.

    Args:
        frames: Complete frames of `fracjax.landscapes.zoom_frames`.
        title: Heading.

    Raises:
        ValueError: If there are no frames.
    """
    if not frames:
        msg = "Argument `frames` must hold at least one frame."
        raise ValueError(msg)
    rows, columns = -(-len(frames) // _COLUMNS), min(_COLUMNS, len(frames))
    with style():
        figure = new_figure(3.4 * columns, 3.6 * rows + 0.3)
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, frame in zip(grid.ravel(), frames, strict=False):
            values, half = frame["value"].values, frame.attrs["half_width"]
            if values.ndim == 2:
                extent = (-half[0], half[0], -half[1], half[1])
                place.imshow(colour_picture(values), extent=extent, aspect="auto")
            else:
                offset = frame["a"].values - frame.attrs["centre"][0]
                shown = np.where(np.isfinite(values), values, np.nan)
                place.plot(offset, shown, lw=0.6, color=DISCOUNT_COLORS[0])
                place.margins(x=0)
            place.ticklabel_format(style="sci", scilimits=(-2, 3))
            place.set_title(_heading(frame))
        for place in grid.ravel()[len(frames) :]:
            place.set_axis_off()
        figure.suptitle(title)
        _label_axes(figure, frames[0])
    return figure


def _label_axes(figure: Figure, frame: xarray.Dataset) -> None:
    """Name the axes once for all frames, which share their centre."""
    centre = ", ".join(f"{at:.4g}" for at in frame.attrs["centre"])
    along = f"{axis_label(frame, 'a')}, from the centre at ({centre})"
    if frame["value"].ndim == 2:
        figure.supxlabel(f"{along}\ncolours: ranks of the values, in every frame its own")
        figure.supylabel(f"{axis_label(frame, 'b')}, from the centre")
    else:
        figure.supxlabel(along)
        figure.supylabel("value")


def _heading(frame: xarray.Dataset) -> str:
    attributes = frame.attrs
    heading = f"×{attributes['zoom']:g}"
    if attributes["status"] != "ok":
        return f"{heading}: {attributes['status'].replace('_', ' ')}"
    value, status = attributes["graph_dimension"], attributes["graph_dimension_status"]
    if status != "ok":
        return f"{heading}, dimension: {status.replace('_', ' ')}"
    low, high = attributes["graph_dimension_low"], attributes["graph_dimension_high"]
    return f"{heading}, graph dimension {value:.2f} [{low:.2f}, {high:.2f}]"
