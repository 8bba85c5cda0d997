"""Posterior samplers: moments beside exact ones, scores of predictions, calibration."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from fracjax._types import Estimate
from fracjax.plotting.intervals import ends, margins
from fracjax.plotting.style import DISCOUNT_COLORS, FIT_COLOR, NOISE_COLOR, curve_color

__all__ = ["moments_against_exact", "reliability_diagram", "scores_by_method"]


def moments_against_exact(
    axes: Axes,
    exact: np.ndarray,
    found: Mapping[str, Estimate],
    *,
    label: str = "posterior variance",
    relative: bool = True,
) -> Axes:
    """Set moments of a posterior by samplers beside exact ones; on the line they agree.

    Args:
        axes: Where to draw.
        exact: One moment per parameter, (k,).
        found: Estimates of shape (k,) by the sampler's name; several are drawn a little apart.
        label: What the moments are.
        relative: Whether the ratio to the exact moment is drawn, which must be positive then, over
            its logarithm. If not, moments over moments.
    """
    exact = np.asarray(exact, float)
    unit = exact if relative else np.ones_like(exact)
    if relative:
        axes.axhline(1.0, color=FIT_COLOR, lw=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        diagonal = [exact.min(), exact.max()]
        axes.plot(diagonal, diagonal, color=FIT_COLOR, lw=0.8)
    for index, (name, estimate) in enumerate(found.items()):
        apart = 1.05 ** (index - (len(found) - 1) / 2) if relative else 1.0
        value, low, high = ends(estimate)
        axes.errorbar(
            exact * apart,
            value / unit,
            yerr=margins(value, low, high) / unit,
            fmt="o",
            ms=4,
            lw=0.8,
            capsize=2,
            color=curve_color(index),
            label=name,
        )
    axes.set_xlabel(f"{label}, exact")
    axes.set_ylabel(f"{label}, by the sampler" + (" / exact" if relative else ""))
    axes.legend()
    return axes


def scores_by_method(
    axes: Axes,
    table: Mapping[str, Mapping[str, Estimate]],
    *,
    label: str,
    logarithmic: bool = False,
) -> Axes:
    """Draw one score per method and predictor, with intervals, methods from top to bottom.

    Args:
        axes: Where to draw.
        table: Scalar estimates by method and, within it, by predictor. One whose value is not
            finite is left out, and its place stays empty.
        label: Name of the score.
        logarithmic: Whether the score's axis is.
    """
    methods = list(table)
    predictors = list(dict.fromkeys(name for row in table.values() for name in row))
    for index, predictor in enumerate(predictors):
        names = [name for name in methods if predictor in table[name]]
        shift = (index + 0.5) / len(predictors) - 0.5
        places = np.array([methods.index(name) for name in names]) + 0.6 * shift
        estimates = [table[name][predictor] for name in names]
        values, low, high = np.array([ends(estimate) for estimate in estimates]).T
        bars = margins(values, low, high)
        shown = np.isfinite(values)
        axes.errorbar(
            values[shown],
            places[shown],
            xerr=bars[:, shown],
            fmt="o",
            ms=4,
            lw=1,
            capsize=2,
            color=curve_color(index),
            label=predictor,
        )
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.legend()
    return axes


def reliability_diagram(
    axes: Axes, ece: Estimate, *, color: str = DISCOUNT_COLORS[0], label: str = ""
) -> Axes:
    """Draw the accuracy of forecasts over their confidence, bin by bin.

    Error bars are 95 % of a calibrated forecaster's scatter: on the line within its bar, a bin
    shows no miscalibration. They end at 0 and 1, as shares do. Areas are in proportion to how many
    forecasts a bin holds.

    Args:
        axes: Where to draw.
        ece: The calibration error of one `calibration`.
        color: Colour of the bins.
        label: Legend entry.
    """
    members, confidence, accuracy = (
        np.asarray(ece.details[name], float) for name in ("members", "confidence", "accuracy")
    )
    full = members > 0
    members, confidence, accuracy = members[full], confidence[full], accuracy[full]
    scatter = 1.96 * np.sqrt(confidence * (1 - confidence) / members)
    axes.plot([0, 1], [0, 1], color=NOISE_COLOR, lw=0.8)
    bars = np.minimum(scatter, [accuracy, 1 - accuracy])
    axes.errorbar(confidence, accuracy, yerr=bars, fmt="none", ecolor=color, lw=0.8)
    axes.scatter(
        confidence, accuracy, s=8 + 120 * members / members.sum(), color=color, label=label
    )
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    if label:
        axes.legend()
    return axes
