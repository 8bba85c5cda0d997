"""Gravity wells: escape times with their law, paths on the simplex, survival, drift, starts."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from fracjax._types import Estimate
from fracjax.plotting.intervals import ends
from fracjax.plotting.style import (
    FIT_COLOR,
    NOISE_COLOR,
    SEQUENTIAL_MAP,
    curve_color,
    curve_marker,
)

__all__ = [
    "escape_times",
    "probability_and_gap",
    "quality_along_updates",
    "simplex_paths",
    "start_grid",
    "survival_by_spread",
]

_LINES = ("-", "--", ":", "-.")
_HEIGHT = 3**0.5 / 2


def escape_times(
    axes: Axes,
    found: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    laws: Mapping[str, float] | None = None,
) -> Axes:
    """Draw escape times against 1/(η Δ π) with lines T = c/(η Δ π).

    Args:
        axes: Where to draw.
        found: 1/(η Δ π) and T, by name.
        laws: Constants c, by name.
    """
    first, last = np.inf, 0.0
    for index, (name, (along, times)) in enumerate(found.items()):
        along, times = np.asarray(along, float), np.asarray(times, float)
        color = curve_color(index)
        axes.plot(along, times, curve_marker(index), color=color, ms=4, mfc="none", label=name)
        first, last = min(first, along.min()), max(last, along.max())
    for (name, constant), dash in zip((laws or {}).items(), itertools.cycle(_LINES), strict=False):
        axes.plot(
            [first, last],
            [constant * first, constant * last],
            dash,
            color=FIT_COLOR,
            lw=0.9,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("1/(η Δ π₁(a*))")
    axes.set_ylabel("updates until π(a*) > .1")
    axes.legend()
    return axes


def simplex_paths(
    axes: Axes, paths: Mapping[str, np.ndarray], *, names: Sequence[str] = ("a*", "a₂", "a₃")
) -> Axes:
    """Draw policies over three arms on the simplex, the first arm at the top.

    Args:
        axes: Where to draw.
        paths: Probabilities (n, 3) by name; a dot marks where each begins.
        names: Of the arms.
    """
    corners = np.array([[0.5, _HEIGHT], [0.0, 0.0], [1.0, 0.0]])
    outline = np.vstack([corners, corners[:1]])
    axes.plot(*outline.T, color=FIT_COLOR, lw=0.8)
    level = np.array([[0.1, 0.9, 0.0], [0.1, 0.0, 0.9]]) @ corners
    axes.plot(*level.T, color=NOISE_COLOR, lw=0.8, ls="--", label="π(a*) = .1")
    for index, (name, path) in enumerate(paths.items()):
        places = np.asarray(path, float) @ corners
        color = curve_color(index)
        axes.plot(*places.T, color=color, lw=1.2, label=name)
        axes.plot(*places[0], "o", color=color, ms=4)
    shifts = ((0, 4, "bottom"), (-4, -4, "top"), (4, -4, "top"))
    for corner, name, (right, up, anchor) in zip(corners, names, shifts, strict=True):
        axes.annotate(name, corner, (right, up), textcoords="offset points", ha="center", va=anchor)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.legend(loc="upper left", bbox_to_anchor=(-0.1, 1.0))
    return axes


def survival_by_spread(
    axes: Axes,
    times: np.ndarray,
    curves: Mapping[str, Estimate],
    *,
    limit: float | None = None,
) -> Axes:
    """Draw shares of starts that are still in their well, with intervals.

    Args:
        axes: Where to draw.
        times: Updates, positive.
        curves: P(T > t) at them, by name.
        limit: Where runs were censored.
    """
    times = np.asarray(times, float)
    if limit is not None:
        axes.axvline(limit, color=NOISE_COLOR, lw=0.8, ls="--", label="censored")
    for index, (name, curve) in enumerate(curves.items()):
        value, low, high = ends(curve)
        color = curve_color(index)
        axes.plot(times, value, color=color, lw=1.2, label=name)
        axes.fill_between(times, low, high, color=color, alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    axes.set_ylim(0, None)
    axes.set_xlabel("updates")
    axes.set_ylabel("share of starts not yet out")
    axes.legend(loc="upper right", bbox_to_anchor=(0.93, 1.0))
    return axes


def probability_and_gap(
    axes: Sequence[Axes] | np.ndarray,
    runs: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    inequality: float | None = None,
    until: float | None = None,
) -> Sequence[Axes] | np.ndarray:
    """Draw the best arm's probability, and below it the gap of the rewards Δ_eff.

    Args:
        axes: Two, above each other.
        runs: Steps, π(a*) and Δ_eff by name.
        inequality: Height of .9 Δ, which the paper's inequality compares the gap with.
        until: Where the lower panel ends.
    """
    upper, lower = axes
    upper.axhline(0.1, color=NOISE_COLOR, lw=0.8, ls="--", label="π(a*) = .1")
    if inequality is not None:
        lower.axhline(inequality, color=NOISE_COLOR, lw=0.8, ls="--", label=".9 Δ")
    for index, (name, (steps, probability, gap)) in enumerate(runs.items()):
        color = curve_color(index)
        dash = ("-", "--", ":", "-.", "-")[index % 5]
        upper.plot(steps, probability, dash, color=color, lw=1.2, label=name)
        shown = np.asarray(steps) <= (np.inf if until is None else until)
        lower.plot(np.asarray(steps)[shown], np.asarray(gap)[shown], color=color, lw=1.0)
    upper.set_yscale("log")
    upper.set_ylabel("π(a*)")
    lower.set_ylabel("Δ_eff(t)")
    lower.set_xlabel("updates")
    upper.legend()
    if inequality is not None:
        lower.legend(loc="upper right")
    return axes


def quality_along_updates(
    axes: Axes, runs: Mapping[str, np.ndarray], *, label: str = "quality of the model"
) -> Axes:
    """Draw medians over seeds with the band of their middle four fifths.

    Args:
        axes: Where to draw.
        runs: (seeds, points) by name.
        label: Of the vertical axis.
    """
    for index, (name, values) in enumerate(runs.items()):
        low, middle, high = np.quantile(np.asarray(values, float), (0.1, 0.5, 0.9), axis=0)
        steps = np.arange(len(middle))
        color = curve_color(index)
        axes.plot(steps, middle, color=color, lw=1.3, label=name)
        axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_xlabel("updates of the sampler")
    axes.set_ylabel(label)
    axes.legend()
    return axes


def start_grid(
    axes: Axes,
    means: Sequence[float],
    spreads: Sequence[float],
    values: np.ndarray,
    *,
    texts: Sequence[Sequence[str]] | None = None,
    title: str = "",
) -> AxesImage:
    """Show a number in [0, 1] for crossed means and spreads of a start.

    Args:
        axes: Where to draw.
        means: Means, the columns.
        spreads: Spreads, the rows.
        values: (spreads, means).
        texts: What is written into each field; the value if not given.
        title: Title.
    """
    values = np.asarray(values, float)
    image = axes.imshow(values, cmap=SEQUENTIAL_MAP, vmin=0, vmax=1, aspect="auto")
    for row in range(len(spreads)):
        for column in range(len(means)):
            height = values[row, column]
            text = f"{height:.2f}" if texts is None else texts[row][column]
            ink = "black" if height > 0.6 else "white"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(means)), [f"{mean:g}" for mean in means])
    axes.set_yticks(range(len(spreads)), [f"{spread:g}" for spread in spreads])
    axes.set_xlabel("mean distance of the start")
    axes.set_ylabel("spread")
    axes.set_title(title)
    return image
