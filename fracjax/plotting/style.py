"""Colours and axes that all figures share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["DISCOUNT_COLORS", "FIT_COLOR", "NOISE_COLOR", "label_scale_axis", "new_figure", "style"]

# Colour-blind safe (Okabe and Ito), strong on white.
DISCOUNT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
FIT_COLOR = "#222222"
NOISE_COLOR = "#999999"

_SETTINGS: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
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


def label_scale_axis(axes: Axes) -> None:
    """Name the horizontal axis of a scaling plot."""
    axes.set_xlabel("scale (root mean square change per parameter)")
