"""Plasticity: losses along a run, gradient cosines, and what interventions change."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from fracjax._types import Estimate
from fracjax.plotting.intervals import ends, margins
from fracjax.plotting.style import (
    DIVERGING_MAP,
    FIT_COLOR,
    NAN_COLOR,
    NOISE_COLOR,
    curve_color,
    curve_marker,
)

__all__ = ["changes_by_intervention", "cosine_matrix", "estimates_along_runs"]


def estimates_along_runs(
    axes: Axes,
    found: Mapping[str, tuple[np.ndarray, Estimate]],
    *,
    along: str,
    label: str,
    logarithmic: tuple[bool, bool] = (False, False),
    reference: tuple[str, float] | None = None,
) -> Axes:
    """Draw estimates with their intervals against whole numbers: steps, tasks, widths.

    Args:
        axes: Where to draw.
        found: Places (k,) and estimates of shape (k,), by name. One whose value is not finite is
            left out, and so are ends of an interval that are.
        along: Name of the places.
        label: Name of the estimates.
        logarithmic: Whether the horizontal and the vertical axis are.
        reference: Name and height of a line to compare with.
    """
    if reference is not None:
        axes.axhline(reference[1], color=NOISE_COLOR, lw=0.8, ls="--", label=reference[0])
    for index, (name, (places, estimate)) in enumerate(found.items()):
        places = np.asarray(places, float)
        value, low, high = ends(estimate)
        shown = np.isfinite(value)
        color = curve_color(index)
        mark = curve_marker(index)
        axes.plot(places[shown], value[shown], color=color, marker=mark, ms=3.5, lw=1.2, label=name)
        known = shown & np.isfinite(low) & np.isfinite(high)
        if logarithmic[1]:
            low = np.maximum(low, 1e-3 * value)  # an interval down to zero has no logarithm
        axes.fill_between(
            places[known], low[known], high[known], color=color, alpha=0.18, linewidth=0
        )
    for axis, name, chosen in zip((axes.xaxis, axes.yaxis), ("x", "y"), logarithmic, strict=True):
        if chosen:
            getattr(axes, f"set_{name}scale")("log")
            if name == "x":
                axis.set_major_formatter(ScalarFormatter())
                axis.set_minor_formatter(NullFormatter())
    if not logarithmic[0]:  # steps, tasks
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(along)
    axes.set_ylabel(label)
    axes.legend()
    return axes


def cosine_matrix(
    axes: Axes, matrix: np.ndarray, order: np.ndarray | None = None, *, title: str = ""
) -> AxesImage:
    """Show cosines between gradients of single samples: red together, blue against each other.

    Args:
        axes: Where to draw.
        matrix: C_k, (k, k).
        order: Order of rows and columns, of `cluster_order` for example.
        title: Title.
    """
    table = np.ma.masked_invalid(np.asarray(matrix, float))
    if order is not None:
        table = table[np.ix_(order, order)]
    colors = mpl.colormaps[DIVERGING_MAP].with_extremes(bad=NAN_COLOR)
    image = axes.imshow(table, cmap=colors, vmin=-1, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title)
    return image


def changes_by_intervention(
    axes: Axes,
    table: Mapping[str, Mapping[str, Estimate]],
    *,
    label: str,
    reference: float | None = 0.0,
) -> Axes:
    """Draw numbers with their intervals, interventions from top to bottom.

    Args:
        axes: Where to draw.
        table: Scalar estimates by intervention and, within it, by problem or moment.
        label: Name of the numbers.
        reference: Where a line is drawn: no change.
    """
    names = list(table)
    kinds = list(dict.fromkeys(kind for row in table.values() for kind in row))
    if reference is not None:
        axes.axvline(reference, color=FIT_COLOR, lw=0.8)
    for index, kind in enumerate(kinds):
        shift = 0.6 * ((index + 0.5) / len(kinds) - 0.5)
        rows = [(place, row[kind]) for place, row in enumerate(table.values()) if kind in row]
        shown = [(place, each) for place, each in rows if np.isfinite(float(each.value))]
        values, low, high = np.array([ends(each) for _, each in shown]).reshape(-1, 3).T
        axes.errorbar(
            values,
            np.array([place for place, _ in shown]) + shift,
            xerr=margins(values, low, high),
            fmt=curve_marker(index),
            ms=4,
            lw=1,
            capsize=2,
            color=curve_color(index),
            label=kind,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(label)
    if len(kinds) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)  # covers nothing
    return axes
