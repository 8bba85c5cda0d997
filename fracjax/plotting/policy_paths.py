"""How a policy moved while it learned, each picture with the random walk beside it."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter
from scipy import special

from fracjax.learning.policy_paths.changes import PathChanges
from fracjax.learning.policy_paths.temporal_svd import TemporalSvd
from fracjax.learning.policy_paths.walk_nulls import Band, WalkNull
from fracjax.learning.policy_paths.walks import coordinate_detour_cdf
from fracjax.plotting.style import DISCOUNT_COLORS, FIT_COLOR, NOISE_COLOR, curve_color

__all__ = [
    "accumulated_changes",
    "detours",
    "detours_by_direction",
    "dimensionality_curve",
    "learning_curves",
    "time_courses",
]

_TALLEST = 50.0  # detours above are drawn as arrows: they have no bound
_ROOM = 0.2  # detours are at least 1; below is the legend
_HEADROOM = 0.6  # of the courses' range, for a legend of three rows


def dimensionality_curve(
    axes: Axes,
    found: TemporalSvd,
    null: WalkNull | None = None,
    *,
    color: str = DISCOUNT_COLORS[0],
    label: str = "path",
) -> Axes:
    """Draw D(β), the directions that hold a share β of the singular values, over β.

    Args:
        axes: Where to draw.
        found: Decomposition of one path.
        null: Its random walk, drawn as a band.
        color: Colour of the path.
        label: Legend entry.
    """
    shares = np.asarray(found.shares)
    if null is not None:
        _draw_band(axes, shares, null.dimensionality, null)
    values = np.asarray(found.dimensionality, float)
    axes.plot(shares, values, "o-", ms=4, lw=1.2, color=color, label=label)
    axes.set_xlabel("share β of the singular values")
    axes.set_ylabel("directions D(β)")
    axes.legend()
    return axes


def detours_by_direction(
    axes: Axes,
    found: TemporalSvd,
    null: WalkNull | None = None,
    *,
    color: str = DISCOUNT_COLORS[0],
    label: str = "path",
) -> Axes:
    """Draw the detour of every time course; those above 50 as arrows at the top.

    Args:
        axes: Where to draw.
        found: Decomposition of one path.
        null: Its random walk, drawn as bars from the lower to the upper end of the band.
        color: Colour of the path.
        label: Legend entry.
    """
    values = np.asarray(found.detour, float)
    index = np.arange(1, values.size + 1)
    if null is not None:
        low, high = (np.minimum(np.asarray(x, float), _TALLEST) for x in _ends(null.detour))
        axes.vlines(index, low, high, color=NOISE_COLOR, lw=6, alpha=0.5, label=_name(null))
    tall = values > _TALLEST
    axes.plot(index[~tall], values[~tall], "o", ms=5, color=color, label=label)
    axes.plot(index[tall], np.full(tall.sum(), _TALLEST), "^", ms=6, color=color)
    axes.set_yscale("log")
    axes.set_ylim(_ROOM, 1.3 * _TALLEST)
    axes.set_xlabel("direction k")
    axes.set_ylabel("detour of its time course")
    axes.legend(loc="lower right")  # where no detour can be
    return axes


def time_courses(
    axes: Axes, found: TemporalSvd, null: WalkNull | None = None, *, count: int = 4
) -> Axes:
    """Draw the coordinates of the path along its first directions, over time.

    Args:
        axes: Where to draw.
        found: Decomposition of one path.
        null: Its random walk, drawn as a band and a dashed line in the colour of the course.
        count: How many courses.
    """
    courses = np.asarray(found.courses, float)
    time = float(np.asarray(found.stride)) * np.arange(courses.shape[0])
    for index in range(min(count, courses.shape[1])):
        color = curve_color(index)
        if null is not None:
            low, high = (np.asarray(end, float)[:, index] for end in _ends(null.courses))
            middle = np.asarray(null.courses.median, float)[:, index]
            axes.fill_between(time, low, high, color=color, alpha=0.15, lw=0)
            axes.plot(time, middle, "--", lw=0.8, color=color)
        axes.plot(time, courses[:, index], lw=1.2, color=color, label=f"k = {index + 1}")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("coordinate of the snapshot")
    low, high = axes.dataLim.intervaly
    if high > low:
        edge = 0.05 * (high - low)
        axes.set_ylim(low - edge, high + edge + _HEADROOM * (high - low))
    title = None if null is None else f"dashed: {_name(null)}"
    axes.legend(title=title, ncols=2, loc="upper center")
    return axes


def accumulated_changes(axes: Axes, changes: Mapping[str, PathChanges]) -> Axes:
    """Draw how accumulated change is distributed over parameters, by layer.

    Change is divided by its mean in the layer. Dashed is a walk with steps of the path's
    lengths in all parameters alike.

    Args:
        axes: Where to draw.
        changes: Result of `path_changes` by layer.
    """
    for index, (name, one) in enumerate(changes.items()):
        color = curve_color(index)
        values = np.sort(np.asarray(one.accumulated, float))
        values = values / values.mean() if values.mean() > 0 else values
        shares = np.arange(1, values.size + 1) / values.size
        label = f"{name}, Gini {float(one.gini):.2f}"
        axes.step(values, shares, where="post", lw=1.2, color=color, label=label)
        spread = np.sqrt((np.pi / 2 - 1) / float(one.effective_steps))
        grid = np.linspace(max(1 - 4 * spread, 0), 1 + 4 * spread, 100)
        axes.plot(grid, special.ndtr((grid - 1) / spread), "--", lw=0.8, color=color)
    axes.set_xlim(0, 3)
    axes.set_xlabel("accumulated change of a parameter / mean")
    axes.set_ylabel("share of parameters")
    axes.legend(title="dashed: random walk")
    return axes


def detours(
    axes: Axes, changes: Mapping[str, PathChanges], *, kept: float = 0.8, longest: float = 200.0
) -> Axes:
    """Draw how detours are distributed over parameters, by layer, beside those of a walk.

    Args:
        axes: Where to draw.
        changes: Result of `path_changes` by layer.
        kept: Share of the parameters, those with most accumulated change, that is drawn; the
            paper's .8.
        longest: Right end of the axis; longer detours are cut off.
    """
    for index, (name, one) in enumerate(changes.items()):
        color = curve_color(index)
        order = np.argsort(np.asarray(one.accumulated, float))
        order = order[order.size - max(round(kept * order.size), 1) :]
        values = np.sort(np.asarray(one.detour, float)[order])
        values = values[~np.isnan(values)]  # of parameters that never moved
        if not values.size:
            continue
        shares = np.arange(1, values.size + 1) / values.size
        axes.step(values, shares, where="post", lw=1.2, color=color, label=name)
        grid = np.geomspace(1, longest, 200)
        null = coordinate_detour_cdf(grid, float(one.effective_steps))
        axes.plot(grid, null, "--", lw=0.8, color=color)
    axes.plot([], [], "--", lw=0.8, color=FIT_COLOR, label="random walk")
    axes.set_xscale("log")
    axes.set_xlim(1, longest)
    axes.set_xlabel("detour of a parameter")
    axes.set_ylabel("share of parameters")
    axes.legend()
    return axes


def _draw_band(axes: Axes, places: np.ndarray, band: Band, null: WalkNull) -> None:
    low, high = (np.asarray(end, float) for end in _ends(band))
    axes.fill_between(places, low, high, color=NOISE_COLOR, alpha=0.35, lw=0)
    middle = np.asarray(band.median, float)
    axes.plot(places, middle, "--", lw=0.9, color=NOISE_COLOR, label=_name(null))


def _ends(band: Band) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(band.low), np.asarray(band.high)


def _name(null: WalkNull) -> str:
    names = {
        "free": "random walk",
        "drifting": "random walk with the net drift",
        "shuffled": "steps in random order",
    }
    return names[null.walk]


def learning_curves(axes: Axes, steps: np.ndarray, returns: Mapping[str, np.ndarray]) -> Axes:
    """Draw returns along training: every seed as a thin line, their mean as a thick one.

    Args:
        axes: Where to draw.
        steps: Optimiser steps of the evaluations.
        returns: (seeds, evaluations) by name.
    """
    for index, (name, values) in enumerate(returns.items()):
        color = curve_color(index)
        curves = np.asarray(values, float)
        axes.plot(np.asarray(steps), curves.T, lw=0.6, alpha=0.6, color=color)
        axes.plot(np.asarray(steps), curves.mean(axis=0), lw=1.8, color=color, label=name)
    axes.set_xlabel("optimiser steps of the policy")
    axes.set_ylabel("return of an episode")
    axes.legend()
    return axes
