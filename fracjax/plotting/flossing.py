"""Gradient flossing: success against delay, what happens along training, and spectra."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fracjax._types import Estimate
from fracjax.plotting.intervals import ends, margins
from fracjax.plotting.style import NOISE_COLOR, SEQUENTIAL_MAP, curve_color, curve_marker

__all__ = [
    "condition_growth",
    "exponents_along_training",
    "runs_along_training",
    "spectra_of_networks",
    "success_against_delay",
]


def success_against_delay(
    axes: Axes,
    delays: Sequence[int],
    rates: Mapping[str, Estimate],
    *,
    label: str = "share of seeds that succeed",
) -> Axes:
    """Draw success rates with their intervals; conditions are set a little apart.

    Args:
        axes: Where to draw.
        delays: Delays, (d,).
        rates: Estimates of shape (d,), by condition.
        label: Name of the rate.
    """
    places = np.asarray(delays, float)
    apart = 0.12 * np.min(np.diff(places)) if len(places) > 1 else 0.0
    for index, (name, estimate) in enumerate(rates.items()):
        value, low, high = ends(estimate)
        color = curve_color(index)
        axes.errorbar(
            places + apart * (index - (len(rates) - 1) / 2),
            value,
            yerr=margins(value, low, high),
            color=color,
            marker=curve_marker(index),
            ms=4,
            lw=1.2,
            elinewidth=0.7,
            capsize=2,
            label=name,
        )
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel("delay (steps)")
    axes.set_ylabel(label)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=4)  # covers nothing
    return axes


def runs_along_training(
    axes: Axes,
    updates: np.ndarray,
    tables: Mapping[str, np.ndarray],
    *,
    label: str,
    reference: tuple[str, float] | None = None,
) -> Axes:
    """Draw all seeds as thin lines, and their median as a thick one, by condition.

    Args:
        axes: Where to draw.
        updates: Updates of the task, (looks,).
        tables: Arrays (seeds, looks), by condition; gaps where a run has no finite number.
        label: Name of the numbers.
        reference: Name and height of a line to compare with, chance for example.
    """
    if reference is not None:
        axes.axhline(reference[1], color=NOISE_COLOR, lw=0.8, ls="--", label=reference[0])
    places = np.asarray(updates, float)
    for index, (name, table) in enumerate(tables.items()):
        color = curve_color(index)
        rows = np.where(np.isfinite(table), table, np.nan)
        axes.plot(places, rows.T, color=color, lw=0.6, alpha=0.35)
        known = np.isfinite(rows).any(axis=0)
        middle = np.full(len(places), np.nan)
        middle[known] = np.nanmedian(rows[:, known], axis=0)
        axes.plot(places, middle, color=color, lw=1.8, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlabel("updates of the task")
    axes.set_ylabel(label)
    axes.legend()
    return axes


def exponents_along_training(
    axes: Axes, updates: np.ndarray, exponents: np.ndarray, *, title: str = ""
) -> Axes:
    """Draw the exponents of one run, or medians of many, the first of them brightest.

    Args:
        axes: Where to draw.
        updates: Updates of the task, (looks,).
        exponents: (looks, k), nats per step.
        title: Title.
    """
    number = exponents.shape[1]
    colors = mpl.colormaps[SEQUENTIAL_MAP](np.linspace(0.9, 0.05, number))
    axes.axhline(0, color=NOISE_COLOR, lw=0.8, ls="--")
    for row, color in zip(np.asarray(exponents, float).T, colors, strict=True):
        axes.plot(updates, np.where(np.isfinite(row), row, np.nan), color=color, lw=1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlabel("updates of the task")
    axes.set_ylabel("exponents (nats per step)")
    axes.set_title(title)
    return axes


def spectra_of_networks(axes: Axes, spectra: Mapping[str, np.ndarray], *, num_flossed: int) -> Axes:
    """Draw spectra of exponents, all seeds thin and their mean with marks.

    Args:
        axes: Where to draw.
        spectra: (seeds, n) exponents in nats per step, by condition.
        num_flossed: How many of the first were flossed; a line marks the last.
    """
    axes.axhline(0, color=NOISE_COLOR, lw=0.8, ls="--")
    axes.axvline(num_flossed + 0.5, color=NOISE_COLOR, lw=0.8, ls=":")
    for index, (name, table) in enumerate(spectra.items()):
        color = curve_color(index)
        places = np.arange(1, table.shape[1] + 1)
        axes.plot(places, np.asarray(table, float).T, color=color, lw=0.5, alpha=0.35)
        axes.plot(places, table.mean(axis=0), color=color, marker="o", ms=2.5, lw=1, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlabel("exponent, from the first")
    axes.set_ylabel("nats per step")
    axes.legend()
    return axes


def condition_growth(axes: Axes, points: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Axes:
    """Draw the growth of ln κ against the gap of exponents, with the law's line.

    Args:
        axes: Where to draw.
        points: λ_1 − λ_m and growth of ln κ, both in nats per step, by condition.
    """
    highest = max(float(np.max(gaps)) for gaps, _ in points.values())
    axes.plot([0, highest], [0, highest], color=NOISE_COLOR, lw=0.8, ls="--", label="law: equal")
    for index, (name, (gaps, growth)) in enumerate(points.items()):
        color = curve_color(index)
        axes.plot(gaps, growth, curve_marker(index), color=color, ms=3.5, label=name)
    axes.set_xlabel("λ_1 − λ_m (nats per step)")
    axes.set_ylabel("growth of ln κ (nats per step)")
    axes.legend()
    return axes
