"""Colours and axes that all figures share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "DISCOUNT_COLORS",
    "DIVERGING_MAP",
    "FIT_COLOR",
    "INFINITE_COLOR",
    "NAN_COLOR",
    "NOISE_COLOR",
    "OUTLINE",
    "RESIDUAL_MAP",
    "SEQUENTIAL_MAP",
    "UNFINISHED_COLORS",
    "add_to_legend",
    "curve_color",
    "curve_marker",
    "image_extent",
    "label_scale_axis",
    "new_figure",
    "style",
]

# Colour-blind safe (Okabe and Ito), strong on white.
DISCOUNT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v")
FIT_COLOR = "#222222"
NOISE_COLOR = "#999999"
# Equal steps of the value look equal; also in grey and to the colour-blind.
SEQUENTIAL_MAP = "viridis"
DIVERGING_MAP = "RdBu_r"
# In neither of the maps.
NAN_COLOR = "#FF2D9B"
INFINITE_COLOR = "#000000"
UNFINISHED_COLORS = ("#EEEEEE", "#BBBBBB")
RESIDUAL_MAP = "Reds"
OUTLINE = "#111111"

_SETTINGS: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "agg.path.chunksize": 20000,  # a line of many points is drawn in pieces, or not at all
    "figure.dpi": 110,
    "savefig.dpi": 140,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style, leaving the caller's Matplotlib settings alone."""
    with mpl.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Make a figure without pyplot: no global state, no display needed."""
    return Figure(figsize=(width, height), layout="constrained")


def curve_color(number: int) -> str:
    """Colour of the n-th curve of a figure; colours begin again after the last."""
    return DISCOUNT_COLORS[number % len(DISCOUNT_COLORS)]


def curve_marker(number: int) -> str:
    """Marker of the n-th curve of a figure; markers begin again after the last."""
    return _MARKERS[number % len(_MARKERS)]


def image_extent(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Edges of an image whose pixels are centred at evenly spaced points, two or more a side."""
    dx, dy = (x[-1] - x[0]) / (len(x) - 1) / 2, (y[-1] - y[0]) / (len(y) - 1) / 2
    return float(x[0] - dx), float(x[-1] + dx), float(y[0] - dy), float(y[-1] + dy)


def label_scale_axis(axes: Axes) -> None:
    """Name the horizontal axis of a scaling plot."""
    axes.set_xlabel("scale (root mean square change per parameter)")


def add_to_legend(axes: Axes, handles: Sequence[Artist]) -> None:
    """Put entries into the legend below a plane, which covers none of it."""
    before = axes.get_legend()
    entries = [*(before.legend_handles if before is not None else []), *handles]
    shown = [entry for entry in entries if entry is not None]
    if shown:
        axes.legend(
            handles=shown,
            loc="upper left",
            bbox_to_anchor=(0.0, -0.14),
            borderaxespad=0,
            handlelength=1.2,
        )
