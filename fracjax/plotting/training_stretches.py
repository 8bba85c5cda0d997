"""Training runs with their rough stretches, and slices of the landscape at ever closer looks."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

from fracjax._types import Estimate
from fracjax.plotting.style import (
    DISCOUNT_COLORS,
    FIT_COLOR,
    NAN_COLOR,
    NOISE_COLOR,
    curve_color,
)

__all__ = [
    "contingency",
    "null_counts",
    "returns_and_stretches",
    "variance_and_laws",
    "zoomed_line",
]


def returns_and_stretches(
    axes: Axes,
    steps: np.ndarray,
    returns: Estimate,
    rough: Bool[np.ndarray, " snapshots"],
    failed: Bool[np.ndarray, " stretches"],
    *,
    unknown: Bool[np.ndarray, " snapshots"] | None = None,
    color: str = DISCOUNT_COLORS[0],
) -> Axes:
    """Draw the returns of one training run; what follows a rough snapshot is shaded.

    Args:
        axes: Where to draw.
        steps: Environment steps of the snapshots.
        returns: Returns with intervals, (snapshots,).
        rough: Whether the return is rough around each snapshot.
        failed: Whether the stretch after each but the last snapshot fails; drawn in its ends'
            colour of failures.
        unknown: Snapshots of which roughness is not known, hatched.
        color: Colour of the returns.
    """
    ends = np.append(steps[1:], steps[-1])
    for start, end, one in zip(steps, ends, rough, strict=True):
        if one and end > start:
            axes.axvspan(start, end, color=DISCOUNT_COLORS[4], alpha=0.35, lw=0, zorder=0)
    if unknown is not None:
        for start, end, one in zip(steps, ends, unknown, strict=True):
            if one and end > start:
                band = axes.axvspan(start, end, facecolor="none", edgecolor=NOISE_COLOR, zorder=0)
                band.set(hatch="////", lw=0)
    value = np.asarray(returns.value)
    errors = np.abs(np.stack([value - returns.low, returns.high - value]))
    axes.errorbar(steps, value, yerr=errors, fmt=".-", ms=4, lw=1, capsize=1.5, color=color)
    for index in np.flatnonzero(failed):
        axes.plot(steps[index : index + 2], value[index : index + 2], "-", color=NAN_COLOR, lw=2.5)
    axes.margins(x=0.02)
    axes.ticklabel_format(style="sci", axis="x", scilimits=(0, 0))
    return axes


def contingency(axes: Axes, tables: Mapping[str, np.ndarray]) -> Axes:
    """Draw the share of stretches that fail after rough and after other snapshots.

    Args:
        axes: Where to draw.
        tables: By label, counts [[rough and failed, rough and not], [other…, other…]].
    """
    for place, table in enumerate(tables.values()):
        for side, (row, color) in enumerate(
            zip(np.asarray(table), (DISCOUNT_COLORS[4], NOISE_COLOR), strict=True)
        ):
            count = int(row.sum())
            share = row[0] / count if count else 0.0
            error = (share * (1 - share) / count) ** 0.5 if count else 0.0
            x = place + (side - 0.5) * 0.4
            axes.bar(x, share, 0.36, yerr=1.96 * error, color=color, capsize=2, ecolor=FIT_COLOR)
            axes.annotate(
                f"{int(row[0])}/{count}",
                (x, 0),
                (0, -3),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=7,
            )
    axes.bar(0, 0, color=DISCOUNT_COLORS[4], label="after a rough snapshot (α below 1)")
    axes.bar(0, 0, color=NOISE_COLOR, label="after another")
    axes.set_xticks(range(len(tables)), list(tables))
    axes.tick_params(axis="x", length=0, pad=14)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("share of stretches that fail")
    axes.legend()
    return axes


def null_counts(
    axes: Axes, nulls: Mapping[str, Float[np.ndarray, " counts"]], observed: int
) -> Axes:
    """Draw how many failures would follow rough snapshots by chance, and how many do.

    Args:
        axes: Where to draw.
        nulls: By label, probabilities of 0, 1, ….
        observed: The count found.
    """
    longest = max(len(null) for null in nulls.values())
    for number, (label, null) in enumerate(nulls.items()):
        place = np.arange(len(null)) + (number - (len(nulls) - 1) / 2) * 0.4
        axes.bar(place, null, 0.38, color=curve_color(number), alpha=0.6, label=label)
    axes.axvline(observed, color=FIT_COLOR, lw=1.5, label=f"found: {observed}")
    axes.set_xlim(-0.7, max(longest, observed + 1) - 0.3)
    axes.set_xlabel("failures that follow rough snapshots")
    axes.set_ylabel("probability")
    axes.legend()
    return axes


def zoomed_line(
    axes: Axes, offsets: np.ndarray, values: np.ndarray, *, color: str = DISCOUNT_COLORS[0]
) -> Axes:
    """Draw one slice of a return on axes of its own width and height."""
    shown = np.where(np.isfinite(values), values, np.nan)
    axes.plot(offsets, shown, lw=0.7, color=color)
    axes.margins(x=0)
    axes.ticklabel_format(style="sci", axis="both", scilimits=(-2, 3), useOffset=True)
    return axes


def variance_and_laws(
    axes: Axes,
    estimates: Mapping[str, Estimate],
    predicted: Mapping[str, float],
    *,
    colors: Sequence[str] = DISCOUNT_COLORS,
) -> Axes:
    """Draw the variance of the return over the scale of perturbations, and two laws beside it.

    Dashed is slope 2, of a smooth return; dotted is the slope that the Lyapunov exponent
    predicts. Both go through the measured variance at the largest scale.

    Args:
        axes: Where to draw.
        estimates: By label, scalar results of `perturbation_exponent`.
        predicted: By the same labels, slopes 2α.
        colors: Of the labels; they begin again after the last.
    """
    for (label, estimate), color in zip(estimates.items(), itertools.cycle(colors), strict=False):
        scales = np.asarray(estimate.details["scales"])
        variance = np.asarray(estimate.details["variance"])
        shown = variance > 0
        slope = 2 * float(estimate.value)
        law = predicted[label]
        text = f"{label}: slope {slope:.2f} ± {2 * float(estimate.stderr):.2f}, law {law:.2f}"
        axes.loglog(scales[shown], variance[shown], "o", ms=4, color=color, label=text)
        if shown.any():
            top = int(np.argmax(scales * shown))
            for exponent, style in ((2.0, "--"), (law, ":")):
                guide = variance[top] * (scales / scales[top]) ** exponent
                axes.loglog(scales, guide, style, color=color, lw=1, alpha=0.7, zorder=0)
    axes.set_xlabel("σ of the perturbation, per parameter")
    axes.set_ylabel("variance of the return")
    axes.legend()
    return axes
