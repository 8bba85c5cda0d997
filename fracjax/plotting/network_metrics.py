"""Metrics of a network along its training: units, ranks, norms, by layer."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from fracjax.learning.paths.series import Series
from fracjax.plotting.style import DISCOUNT_COLORS, curve_color, new_figure, style

__all__ = ["layer_curves", "metrics_figure", "named_curves"]

_TITLES = {
    "dead_units": "Units that are 0 on the whole batch",
    "dormant_units_0.025": "τ-dormant units, τ = .025",
    "dormant_units_0.1": "τ-dormant units, τ = .1",
    "zero_activations": "Activations that are 0",
    "duplicate_units": "Units that do the same as another",
    "effective_rank": "Effective rank of the features",
    "srank": "srank of the features",
    "stable_rank": "Stable rank of the features",
    "feature_rank": "Feature rank",
}
_SHARES = ("units", "activations")
_DECADE = 10.0
_NORMS = ("weight_norm", "gradient_norm", "update_norm")


def layer_curves(axes: Axes, series: Series, metric: str) -> Axes:
    """Draw one metric of every layer against steps; over seeds thin lines and their mean.

    Args:
        axes: Where to draw.
        series: Result of `load_series`.
        metric: Such as `dead_units` or `effective_rank`.

    Raises:
        ValueError: If no layer has it.
    """
    names = [name for name in series.values if name.startswith(f"{metric}/")]
    if not names:
        known = sorted({name.partition("/")[0] for name in series.values if "/" in name})
        msg = f"Argument `metric` must be one of {known}, but is {metric!r}."
        raise ValueError(msg)
    labels = [name.removeprefix(f"{metric}/") for name in names]
    _draw(axes, series, names, labels)
    if any(word in metric for word in _SHARES):
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel("share")
    else:
        axes.set_ylim(bottom=0)
        axes.set_ylabel("rank" if "rank" in metric else metric.replace("_", " "))
    axes.set_title(_TITLES.get(metric, metric.replace("_", " ")))
    return axes


def named_curves(axes: Axes, series: Series, names: Sequence[str]) -> Axes:
    """Draw numbers of the whole run against steps, such as norms or a loss.

    The vertical axis is logarithmic if they are positive and span a factor of ten.

    Args:
        axes: Where to draw.
        series: Result of `load_series`.
        names: Which; those that are not there are passed over.
    """
    there = [name for name in names if name in series.values]
    _draw(axes, series, there, [name.replace("_", " ") for name in there])
    found = np.concatenate([np.ravel(series.values[name]) for name in there] or [np.ones(1)])
    found = found[np.isfinite(found)]
    if found.size and found.min() > 0 and found.max() > _DECADE * found.min():
        axes.set_yscale("log")
    elif found.size and found.min() >= 0:
        axes.set_ylim(bottom=0)
    return axes


def metrics_figure(
    series: Series,
    *,
    title: str = "",
    metrics: Sequence[str] = ("dead_units", "dormant_units_0.025", "effective_rank"),
) -> Figure:
    """Draw a run at a glance: three metrics by layer, and the norms of the network.

    Args:
        series: Result of `load_series`, finished or not.
        title: Name of the run.
        metrics: Which metrics of layers.
    """
    with style():
        figure = new_figure(9.5, 6.4)
        columns = max(-(-(len(metrics) + 1) // 2), 1)
        grid = np.ravel(figure.subplots(2, columns, sharex=True, squeeze=False))
        for axes, metric in zip(grid, metrics, strict=False):
            layer_curves(axes, series, metric)
        last = named_curves(grid[len(metrics)], series, _NORMS)
        last.set_title("Norms of the network")
        for axes in grid[len(metrics) + 1 :]:
            axes.set_visible(False)
        for axes in grid[-columns:]:
            axes.set_xlabel("steps")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        figure.suptitle(title)
    return figure


def _draw(axes: Axes, series: Series, names: Sequence[str], labels: Sequence[str]) -> None:
    styles = ("-", "--", ":")
    for index, (name, label) in enumerate(zip(names, labels, strict=True)):
        color = curve_color(index)
        line = styles[index // len(DISCOUNT_COLORS) % len(styles)]
        values = np.atleast_2d(np.asarray(series.values[name], float))
        marker = "." if len(series) < 3 else None  # one point makes no line
        if len(values) > 1:
            axes.plot(series.steps, values.T, line, lw=0.5, alpha=0.5, color=color)
        axes.plot(
            series.steps, values.mean(axis=0), line, lw=1.5, color=color, label=label, marker=marker
        )
    if names:
        axes.legend()
