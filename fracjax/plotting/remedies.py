"""Landscapes and exponents before and after a remedy."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from fracjax._types import Estimate
from fracjax.plotting.style import NOISE_COLOR, curve_color

__all__ = ["before_and_after", "exponent_pairs", "roughness_curves", "training_curves"]


def before_and_after(
    axes: Axes, offsets: np.ndarray, slices: Mapping[str, np.ndarray], *, name: str = "return"
) -> Axes:
    """Draw slices of landscapes along one line, each from its mean in units of its deviation.

    Args:
        axes: Where to draw.
        offsets: Places on the line.
        slices: Values by label, from before to after; drawn above each other.
        name: Name of the values.
    """
    offsets = np.asarray(offsets, float)
    for number, (label, values) in enumerate(slices.items()):
        values = np.asarray(values, float)
        spread = np.nanstd(values)
        height = (values - np.nanmean(values)) / (spread if spread > 0 else 1.0)
        color = curve_color(number)
        text = f"{label} (SD {spread:.2g})"
        axes.plot(offsets, height - 5.0 * number, lw=0.7, color=color, label=text)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 2))
    axes.set_xlabel("place on a line\n(root mean square change per parameter)")
    axes.set_ylabel(f"{name}, in its own SD")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2, borderaxespad=0)
    return axes


def exponent_pairs(
    axes: Axes,
    labels: Sequence[str],
    measured: Sequence[Sequence[float]] | np.ndarray,
    predicted: Sequence[Sequence[float]] | np.ndarray | None = None,
    *,
    name: str = "Hölder exponent α",
    cap: float = 2.0,
) -> Axes:
    """Draw one value per policy under every setting of a remedy, policies joined by lines.

    Args:
        axes: Where to draw.
        labels: Settings, from before to after.
        measured: Values (policies, settings); NaN where there is none.
        predicted: What the law says, drawn as crosses; capped.
        name: Name of the values.
        cap: The most that a prediction may be drawn as.
    """
    table = np.asarray(measured, float)
    x = np.arange(len(labels), dtype=float)
    for number, row in enumerate(table):
        color = curve_color(number)
        axes.plot(x, row, "o-", ms=4, lw=0.8, color=color, label="measured" if not number else None)
    if predicted is not None:
        law = np.minimum(np.asarray(predicted, float), cap)
        shift = 0.08
        for number, row in enumerate(law):
            color = curve_color(number)
            axes.plot(
                x + shift, row, "x", ms=5, color=color, label="-ln γ/λ" if not number else None
            )
        axes.legend()
    axes.set_xticks(x, labels)
    axes.set_ylabel(name)
    axes.set_xlim(-0.4, len(labels) - 0.6)
    return axes


def roughness_curves(
    axes: Axes,
    scales: np.ndarray,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    laws: Mapping[str, np.ndarray] | None = None,
    *,
    marks: Mapping[str, float] | None = None,
    name: str = "mean squared second difference",
) -> Axes:
    """Draw mean squared second differences, or their ratios, over the step, beside laws.

    Args:
        axes: Where to draw.
        scales: Steps δ.
        curves: Values and standard errors by label.
        laws: What the law says, by the same labels.
        marks: Steps to mark, by name.
        name: Name of the values.
    """
    for number, (label, (values, errors)) in enumerate(curves.items()):
        color = curve_color(number)
        axes.errorbar(
            scales,
            values,
            yerr=1.96 * np.asarray(errors),
            fmt="o",
            ms=4,
            lw=1,
            capsize=2,
            color=color,
            label=label,
        )
        if laws is not None and label in laws:
            axes.plot(scales, laws[label], "-", lw=1, color=color)
    for number, (label, place) in enumerate((marks or {}).items()):
        line = (":", "--", "-.")[number % 3]
        axes.axvline(place, color=NOISE_COLOR, lw=0.9, ls=line, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("step δ")
    axes.set_ylabel(name)
    axes.legend(title="lines: law" if laws else None)
    return axes


def training_curves(
    axes: Axes, curves: Mapping[str, Estimate], *, name: str = "reward per step"
) -> Axes:
    """Draw interquartile means over updates with their intervals as bands.

    Args:
        axes: Where to draw.
        curves: Estimates of shape (updates,) by label.
        name: Name of the values.
    """
    for number, (label, curve) in enumerate(curves.items()):
        color = curve_color(number)
        updates = np.arange(len(curve.value))
        axes.fill_between(updates, curve.low, curve.high, color=color, alpha=0.2, lw=0)
        axes.plot(updates, curve.value, lw=1, color=color, label=label)
    axes.set_xlabel("update")
    axes.set_ylabel(name)
    axes.legend()
    return axes
