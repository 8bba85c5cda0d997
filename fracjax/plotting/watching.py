"""A run as it was watched: return, exponents and what the watching cost, against steps."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from fracjax.diagnosis.watching import Record, Stretch, stretches
from fracjax.plotting.intervals import margins
from fracjax.plotting.style import (
    DISCOUNT_COLORS,
    FIT_COLOR,
    NOISE_COLOR,
    curve_color,
    new_figure,
    style,
)

__all__ = [
    "shade_stretches",
    "watch_figure",
    "watched_holder",
    "watched_lyapunov",
    "watched_return",
    "watched_share",
]

_SHADES = {
    "fractal": "#b42318",
    "discontinuous": "#9a5b00",
    "noise floor": "#57606a",
    "collapse": "#4b3b8f",
}


def watch_figure(
    records: Sequence[Record],
    *,
    title: str = "",
    budget: float | None = None,
    maximize: bool = True,
) -> Figure:
    """Draw everything that was watched; in a notebook the figure shows itself.

    Args:
        records: By rising step, such as `Watch.records` or `read_records(folder)`.
        title: Name of the run.
        budget: The budget, for its line.
        maximize: Whether the run raises the return.
    """
    parts = stretches(records, maximize=maximize)
    with style():
        figure = new_figure(9.5, 6.4)
        grid = figure.subplots(2, 2, sharex=True)
        watched_return(grid[0][0], records)
        watched_lyapunov(grid[0][1], records)
        watched_holder(grid[1][0], records)
        watched_share(grid[1][1], records, budget=budget)
        for axes in grid.ravel():
            shade_stretches(axes, parts, records)
        for axes in grid[1]:
            axes.set_xlabel("steps")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if parts:
            present = dict.fromkeys(part.kind for part in parts)
            names = ", ".join(f"{kind}" for kind in present)
            title = f"{title} (shaded: {names})" if title else f"shaded: {names}"
        figure.suptitle(title)
    return figure


def shade_stretches(axes: Axes, parts: Sequence[Stretch], records: Sequence[Record]) -> Axes:
    """Shade stretches of the run; one that lasts reaches to the last record."""
    last = records[-1].step if records else 0
    for part in parts:
        end = last if part.end is None else part.end
        axes.axvspan(part.start, end, color=_SHADES[part.kind], alpha=0.12, lw=0, zorder=0)
    return axes


def watched_return(axes: Axes, records: Sequence[Record]) -> Axes:
    """Draw the return with its interval over initial states."""
    numbers = [record.value for record in records]
    _series(axes, records, [(n.value, n.low, n.high) for n in numbers], FIT_COLOR, "return")
    axes.set_title("Return of the deterministic policy")
    return axes


def watched_lyapunov(axes: Axes, records: Sequence[Record]) -> Axes:
    """Draw the largest Lyapunov exponent per step, and the thresholds -ln γ."""
    numbers = [record.rate for record in records]
    _series(axes, records, [(n.value, n.low, n.high) for n in numbers], FIT_COLOR, "λ")
    for number, discount in enumerate(_discounts(records)):
        if 0 < discount < 1:
            label = f"−ln γ, γ = {discount:g}"
            axes.axhline(-np.log(discount), color=curve_color(number), ls="--", lw=1, label=label)
    axes.axhline(0.0, color=NOISE_COLOR, lw=0.6)
    axes.set_title("Largest Lyapunov exponent (nats per step)")
    _legend(axes)
    return axes


def watched_holder(axes: Axes, records: Sequence[Record]) -> Axes:
    """Draw measured Hölder exponents with intervals, and the law's predictions as bands."""
    for index, discount in enumerate(_discounts(records)):
        color = curve_color(index)
        found = [record.by_discount[index] for record in records]
        steps = np.array([record.step for record in records], float)
        law = np.array([_ends(finding.predicted.get("mean")) for finding in found], float)
        if np.isfinite(law[:, 0]).any():
            axes.plot(steps, law[:, 0], color=color, ls="--", lw=1)
            low, high = np.nan_to_num(law[:, 1]), np.nan_to_num(law[:, 2], nan=2.0)
            axes.fill_between(steps, low, high, color=color, alpha=0.12, lw=0)
        # What carries no trust is drawn hollow, without its interval.
        rows = [
            (n.value, n.low, n.high) if n.ok else (n.value, np.nan, np.nan)
            for n in (finding.holder for finding in found)
        ]
        label = f"γ = {discount:g}" if discount < 1 else "α"
        _series(axes, records, rows, color, label, hollow=[not f.holder.ok for f in found])
    axes.axhline(1.0, color="0.6", lw=0.8, ls=":")
    axes.set_ylim(-0.1, 2.2)
    axes.set_title("Hölder exponent α (dashed: −ln γ/λ)")
    _legend(axes)
    return axes


def watched_share(axes: Axes, records: Sequence[Record], *, budget: float | None = None) -> Axes:
    """Draw the time spent watching over training time, with and without compiling."""
    kept = [record for record in records if record.cost is not None]
    axes.set_title("Watching over training time (%)")
    if not kept:
        axes.text(0.5, 0.5, "looked at after the run", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
        return axes
    shares: dict[str, Callable] = {
        "all": lambda cost: cost.share,
        "without compiling": lambda cost: cost.share_without_compiling,
    }
    for (name, share), color in zip(shares.items(), (FIT_COLOR, NOISE_COLOR), strict=True):
        values = [100 * share(record.cost) for record in kept]
        axes.plot([record.step for record in kept], values, ".-", color=color, lw=1, label=name)
    if budget is not None:
        axes.axhline(100 * budget, color=DISCOUNT_COLORS[1], ls="--", lw=1, label="budget")
    axes.set_ylim(bottom=0.0)
    _legend(axes)
    return axes


def _discounts(records: Sequence[Record]) -> list[float]:
    return [found.discount for found in records[-1].by_discount] if records else []


def _ends(prediction: tuple[float, float, float] | None) -> tuple[float, float, float]:
    return (np.nan, np.nan, np.nan) if prediction is None else prediction


def _series(
    axes: Axes,
    records: Sequence[Record],
    rows: Sequence[tuple[float, float, float]],
    color: str,
    label: str,
    *,
    hollow: Sequence[bool] | None = None,
) -> None:
    """Draw values joined by a line, with intervals."""
    if not records:
        return
    steps = np.array([record.step for record in records], float)
    value, low, high = np.array(rows, float).T
    axes.errorbar(
        steps, value, yerr=margins(value, low, high), color=color, lw=1, elinewidth=0.8, label=label
    )
    empty = np.zeros(len(records), bool) if hollow is None else np.asarray(hollow)
    axes.plot(steps[~empty], value[~empty], "o", ms=3.5, color=color)
    axes.plot(steps[empty], value[empty], "o", ms=3.5, color=color, mfc="white")


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best")
