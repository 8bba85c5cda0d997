"""Exponents of closed loops, and what they have to do with returns under disturbance."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from fracjax._types import Estimate, Status
from fracjax.learning import ClosedLoopExponents, Regime, SizeScan
from fracjax.plotting.intervals import ends, margins
from fracjax.plotting.style import DISCOUNT_COLORS, FIT_COLOR, NOISE_COLOR, curve_color

__all__ = [
    "curves_by_exponent",
    "exponent_bars",
    "exponents_against_size",
    "push_band",
    "return_curve",
    "tangents_against_recipe",
    "tolerance_against_exponent",
]


def exponent_bars(
    axes: Axes,
    estimates: Mapping[str, Mapping[str, Estimate]],
    *,
    zero: float = 0.0,
    label: str = "largest exponent (nats/step)",
) -> Axes:
    """Draw one exponent per agent and task, with intervals.

    Args:
        axes: Where to draw.
        estimates: Scalar estimates by agent and, within it, by task.
        zero: What cannot be told from zero (`neutral_growth`), shaded.
        label: Name and unit of the exponent.
    """
    tasks = list(dict.fromkeys(task for row in estimates.values() for task in row))
    width = 0.8 / max(len(estimates), 1)
    for index, (agent, row) in enumerate(estimates.items()):
        color = curve_color(index)
        places = [tasks.index(task) + (index + 0.5) * width - 0.4 for task in row]
        values, errors = _with_errors(list(row.values()))
        axes.bar(places, values, 0.9 * width, color=color, alpha=0.75, label=agent)
        axes.errorbar(places, values, yerr=errors, fmt="none", ecolor=FIT_COLOR, lw=1, capsize=2)
    axes.axhline(0.0, color=FIT_COLOR, lw=0.8)
    if zero > 0:
        band = axes.axhspan(-zero, zero, color=NOISE_COLOR, alpha=0.25, lw=0, zorder=0)
        band.set_label("zero, at this length")
    turned = max((len(task) for task in tasks), default=0) * len(tasks) > 60
    axes.set_xticks(range(len(tasks)), tasks, rotation=25 if turned else 0)
    axes.set_ylabel(label)
    axes.legend()
    return axes


def exponents_against_size(axes: Axes, scan: SizeScan, *, unit: str = "step") -> Axes:
    """Draw exponents by finite perturbations over their size, and by tangents as lines.

    Dashed lines are the tangents' exponents. Crosses are exponents whose status is not OK: at
    `AT_NOISE_FLOOR` they are upper bounds. Shaded sizes are those below the distance that nothing
    at all grew to: there the machine is measured.

    Args:
        axes: Where to draw.
        scan: Result of `size_scan` for one policy.
        unit: What the exponents are per.
    """
    sizes = np.asarray(scan.sizes, float)
    shown = sizes > 0
    value, low, high = (part[shown] for part in ends(scan.perturbations.spectrum))
    good = np.asarray(scan.perturbations.spectrum.status)[shown] == Status.OK
    for index in range(value.shape[1]):
        color = curve_color(index)
        axes.errorbar(
            sizes[shown],
            value[:, index],
            yerr=margins(value[:, index], low[:, index], high[:, index]),
            fmt="o",
            ms=4,
            color=color,
            capsize=2,
            label=f"λ{index + 1}",
        )
        axes.plot(sizes[shown][~good[:, index]], value[~good[:, index], index], "kx", ms=6)
        axes.axhline(float(scan.tangents.spectrum.value[index]), color=color, ls="--", lw=1)
    floor = float(np.nanmax(np.asarray(scan.perturbations.control)))
    axes.set_xscale("log")
    if floor > 0 and shown.any():
        left = min(axes.get_xlim()[0], floor)
        axes.axvspan(left, floor, color=NOISE_COLOR, alpha=0.25, lw=0, label="rounding")
    axes.set_xlabel("size of the perturbations")
    axes.set_ylabel(f"exponents (nats/{unit})")
    axes.legend(title="dashed: tangents")
    return axes


def return_curve(
    axes: Axes,
    sizes: np.ndarray,
    curve: Estimate,
    *,
    color: str = DISCOUNT_COLORS[0],
    label: str = "",
    name: str = "standard deviation of observation noise",
) -> Axes:
    """Draw returns over the size of a disturbance with their interval as a band.

    Args:
        axes: Where to draw.
        sizes: Sizes of the disturbance.
        curve: Result of `summarize_curve`.
        color: Colour of the line.
        label: Legend entry.
        name: Name of the horizontal axis.
    """
    sizes = np.asarray(sizes, float)
    low, high = np.asarray(curve.low, float), np.asarray(curve.high, float)
    axes.fill_between(sizes, low, high, color=color, alpha=0.2, lw=0)
    axes.plot(sizes, np.asarray(curve.value, float), "o-", ms=4, lw=1.2, color=color, label=label)
    axes.set_xlabel(name)
    axes.set_ylabel("return (interquartile mean)")
    if label:
        axes.legend()
    return axes


def push_band(axes: Axes, sizes: np.ndarray, returns: np.ndarray) -> Axes:
    """Draw the return after one push over the size of the push, every size on its own.

    A smooth loop gives lines; in a chaotic one the returns fill a band from the smallest
    sizes on.

    Args:
        axes: Where to draw.
        sizes: Sizes of the push.
        returns: Returns, (sizes, states): one colour per initial state.
    """
    returns = np.asarray(returns, float)
    dots = {"ls": "none", "marker": ".", "ms": 2} if len(sizes) > 100 else {"lw": 1}
    for index in range(returns.shape[1]):
        color = curve_color(index)
        axes.plot(np.asarray(sizes, float), returns[:, index], color=color, **dots)
    axes.set_xlabel("size of one push of the state")
    axes.set_ylabel("return")
    return axes


def tolerance_against_exponent(
    axes: Axes,
    exponents: Sequence[ClosedLoopExponents],
    tolerated: Sequence[Estimate],
    *,
    labels: Sequence[str] = (),
    zero: float = 0.0,
    unit: str = "step",
) -> Axes:
    """Set the disturbance that policies tolerate beside their largest exponent.

    Colours tell the regime. Policies that tolerate every size that was tried stand at the top
    edge, as arrows.

    Args:
        axes: Where to draw.
        exponents: One result of `closed_loop_exponents` per policy.
        tolerated: One result of `tolerated_size` per policy.
        labels: Names of the policies, if they shall be shown.
        zero: What cannot be told from zero (`neutral_growth`), shaded.
        unit: What the exponents are per.
    """
    x, x_error = _with_errors([found.largest for found in exponents])
    y, y_error = _with_errors(list(tolerated))
    finite = y[np.isfinite(y)]
    top = 1.15 * finite.max() if finite.size else 1.0
    seen: set[Regime] = set()
    for index, found in enumerate(exponents):
        regime = Regime(int(found.regime))
        endless = np.isposinf(y[index])
        axes.errorbar(
            x[index],
            top if endless else y[index],
            xerr=x_error[:, index : index + 1],
            yerr=None if endless else y_error[:, index : index + 1],
            fmt="^" if endless else "o",
            ms=5,
            lw=0.8,
            color=curve_color(int(regime)),
            label=None if regime in seen else regime.label,
        )
        seen.add(regime)
    for place, height, text in zip(x, y, labels, strict=False):
        height = top if np.isposinf(height) else height
        axes.annotate(text, (place, height), (4, 4), textcoords="offset points", fontsize=7)
    if zero > 0:
        axes.axvspan(-zero, zero, color=NOISE_COLOR, alpha=0.25, lw=0, zorder=0)
    axes.set_xlabel(f"largest exponent (nats/{unit})")
    axes.set_ylabel("size of disturbance tolerated")
    axes.legend()
    return axes


def curves_by_exponent(
    axes: Axes,
    sizes: np.ndarray,
    returns: np.ndarray,
    exponents: np.ndarray,
    *,
    name: str = "standard deviation of observation noise",
    label: str = "largest exponent (nats/step)",
) -> Axes:
    """Draw one curve of returns per agent, its largest exponent as the colour.

    The colours are symmetric around zero: what decays is blue, what grows is red.

    Args:
        axes: Where to draw; it shares its place with a bar of colours.
        sizes: Sizes of the disturbance.
        returns: Mean return of every agent, (agents, sizes).
        exponents: One per agent; agents without a finite one are drawn in grey.
        name: Name of the horizontal axis.
        label: Name and unit of the exponent.
    """
    exponents, returns = np.asarray(exponents, float), np.asarray(returns, float)
    finite = exponents[np.isfinite(exponents)]
    limit = float(np.abs(finite).max()) if finite.size else 1.0
    colors = ScalarMappable(Normalize(-limit, limit), "RdBu_r")
    for curve, exponent in zip(returns, exponents, strict=True):
        color = colors.to_rgba(exponent) if np.isfinite(exponent) else NOISE_COLOR
        axes.plot(np.asarray(sizes, float), curve, "-", lw=1.2, color=color)
    if axes.figure is not None:
        axes.figure.colorbar(colors, ax=axes, label=label)
    axes.set_facecolor("0.9")  # pale curves are the neutral ones
    axes.set_xlabel(name)
    axes.set_ylabel("return")
    return axes


def tangents_against_recipe(
    axes: Axes,
    tangents: Sequence[Estimate],
    perturbations: Sequence[Estimate],
    *,
    labels: Sequence[str] = (),
    unit: str = "step",
) -> Axes:
    """Set exponents by tangents beside the same by finite perturbations.

    On the line both agree. Crosses are exponents by perturbations whose status is not OK.

    Args:
        axes: Where to draw.
        tangents: Scalar estimates.
        perturbations: Estimates of the same.
        labels: Names, if they shall be shown.
        unit: What the exponents are per.
    """
    x, x_error = _with_errors(tangents)
    y, y_error = _with_errors(perturbations)
    good = np.array([int(estimate.status) == Status.OK for estimate in perturbations], bool)
    diagonal = [np.nanmin([x, y]), np.nanmax([x, y])]
    axes.plot(diagonal, diagonal, color=FIT_COLOR, lw=0.8)
    axes.errorbar(x, y, xerr=x_error, yerr=y_error, fmt="none", ecolor=NOISE_COLOR, lw=0.8)
    axes.plot(x[good], y[good], "o", ms=4, color=DISCOUNT_COLORS[0])
    axes.plot(x[~good], y[~good], "kx", ms=5, label="not measured, says its status")
    for place, height, text in zip(x, y, labels, strict=False):
        axes.annotate(text, (place, height), (4, 4), textcoords="offset points", fontsize=7)
    axes.set_xlabel(f"by tangents (nats/{unit})")
    axes.set_ylabel(f"by the paper's recipe (nats/{unit})")
    if not good.all():
        axes.legend()
    return axes


def _with_errors(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray]:
    """Values, and their distances from the ends of finite intervals."""
    value, low, high = np.array([ends(estimate) for estimate in estimates]).reshape(-1, 3).T
    return value, margins(value, low, high)
