"""A recorded path on one sheet: metrics, displacements, directions and changes."""

import dataclasses

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from fracjax._types import Status
from fracjax.diagnosis.path_views.views import Diffusion, PathView
from fracjax.plotting.diffusion import displacements, exponents
from fracjax.plotting.policy_paths import (
    accumulated_changes,
    detours,
    detours_by_direction,
    dimensionality_curve,
    time_courses,
)
from fracjax.plotting.style import curve_color, new_figure, style

__all__ = ["metrics_along_path", "path_displacements", "path_exponents", "path_figure"]


def path_figure(view: PathView, *, title: str = "") -> Figure:
    """Draw everything that a path shows, as far as it has come.

    Args:
        view: Of one path.
        title: Name of the run.
    """
    with style():
        figure = new_figure(12.5, 9.6 if view.layers else 3.6)
        grid = figure.subplots(3 if view.layers else 1, 3, squeeze=False)
        metrics_along_path(grid[0][0], view)
        path_displacements(grid[0][1], view.diffusion)
        path_exponents(grid[0][2], view.diffusion)
        if view.layers:
            *_, whole = view.layers.values()
            dimensionality_curve(grid[1][0], whole.svd, whole.null, label="whole network")
            detours_by_direction(grid[1][1], whole.svd, whole.null)
            time_courses(grid[1][2], whole.svd, whole.null)
            _dimensionality_by_layer(grid[2][0], view)
            _changes(list(grid[2][1:]), view)
        figure.suptitle(title)
    return figure


def metrics_along_path(axes: Axes, view: PathView) -> Axes:
    """Draw metrics over steps, each from its smallest to its largest value."""
    axes.set_title("Metrics along the path")
    axes.set_xlabel("steps")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    shown = {n: kept for n, kept in view.path.metrics.items() if np.isfinite(kept).any()}
    for index, (name, values) in enumerate(shown.items()):
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        single = len(shown) == 1
        drawn = values if single else (values - low) / (high - low if high > low else 1.0)
        label = name if single else f"{name}: {low:.3g} to {high:.3g}"
        color = curve_color(index)
        axes.plot(view.path.steps, drawn, ".-", ms=3, lw=1, color=color, label=label)
    if shown:
        axes.legend()
    else:
        _say(axes, "no metric was recorded")
    return axes


def path_displacements(axes: Axes, found: Diffusion | None) -> Axes:
    """Draw mean squared displacements over lags: of the path, of its first and last stretch."""
    axes.set_title("Mean squared displacement")
    if found is None:
        return _say(axes, "too few snapshots")
    curves = {"whole path": found.displacement}
    for index, name in ((0, "first stretch"), (-1, "last stretch")):
        if len(found.waiting_times):
            curves[name] = np.full(len(found.lags), np.nan)
            curves[name][: len(found.segment_lags)] = found.segment_displacements[index]
    exponent, fit = float(found.exponent.value), {}
    if np.isfinite(exponent):
        fitted = found.exponent.details["lags"] * found.lags[0]
        law = found.exponent.details["size"] * (found.lags / found.lags[0]) ** exponent
        inside = (found.lags >= fitted[0]) & (found.lags <= fitted[-1])
        fit[f"lag^{exponent:.3g}"] = np.where(inside, law, np.nan)
    return displacements(axes, found.lags, curves, nulls=fit)


def path_exponents(axes: Axes, found: Diffusion | None) -> Axes:
    """Draw the diffusion exponent over waiting time, hollow where it deserves no trust."""
    axes.set_title("Diffusion exponent")
    if found is None:
        return _say(axes, "too few snapshots")
    if found.segment_exponents is None:
        return _say(axes, f"whole path: {found.exponent}\ntoo short to cut into stretches")
    times = np.asarray(found.waiting_times, float)
    whole = found.exponent
    parts = dataclasses.replace(whole, details={})
    repeated = jax.tree.map(lambda part: np.full(len(times), part), parts)
    own = {"stretches of the path": found.segment_exponents}
    exponents(axes, times, own, nulls={"whole path": repeated})
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return axes


def _dimensionality_by_layer(axes: Axes, view: PathView) -> None:
    for index, (name, found) in enumerate(view.layers.items()):
        color = curve_color(index)
        dimensionality_curve(axes, found.svd, color=color, label=name)
    axes.set_title("By layer")


def _changes(pair: list[Axes], view: PathView) -> None:
    if view.path.projected:
        for axes in pair:
            _say(axes, "random projections:\nno changes of single parameters")
        return
    changes = {name: found.changes for name, found in view.layers.items() if name != "network"}
    changes = changes or {name: found.changes for name, found in view.layers.items()}
    moving = {name: one for name, one in changes.items() if int(one.status) == Status.OK}
    if not moving:
        for axes in pair:
            _say(axes, "nothing moved")
        return
    accumulated_changes(pair[0], moving)
    detours(pair[1], moving)


def _say(axes: Axes, text: str) -> Axes:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
    axes.set_xticks([])
    axes.set_yticks([])
    return axes
