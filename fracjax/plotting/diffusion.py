"""Diffusion of paths: displacements, exponents and distributions, with their nulls beside them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from fracjax._types import Estimate, Status
from fracjax.plotting.intervals import ends, margins, points_by_trust
from fracjax.plotting.style import DISCOUNT_COLORS, FIT_COLOR, NOISE_COLOR, curve_color

__all__ = [
    "displacement_densities",
    "displacements",
    "exponents",
    "published_beside_ours",
    "stability_indices",
]

_NULL_STYLES = ("--", ":", "-.")


def displacements(
    axes: Axes,
    lags: np.ndarray,
    curves: Mapping[str, np.ndarray],
    *,
    nulls: Mapping[str, np.ndarray] | None = None,
    windows: Sequence[tuple[int, int]] = (),
) -> Axes:
    """Draw mean squared displacements over the lag, with those of simpler processes.

    Args:
        axes: Where to draw.
        lags: In steps.
        curves: By name, values at the lags (lags,), or of several runs (runs, lags), drawn as
            their geometric mean with the band between lowest and highest.
        nulls: Likewise; drawn broken and grey.
        windows: Windows of lags that exponents were fitted in, shaded.
    """
    for low, high in windows:
        axes.axvspan(low, high, color=NOISE_COLOR, alpha=0.15, lw=0)
    drawn = [(name, values, False) for name, values in curves.items()]
    drawn += [(name, values, True) for name, values in (nulls or {}).items()]
    shown = [0, 0]
    for name, values, is_null in drawn:
        table = np.atleast_2d(np.asarray(values, float))
        with np.errstate(divide="ignore"):
            middle = np.exp(np.log(table).mean(axis=0))
        number, shown[is_null] = shown[is_null], shown[is_null] + 1
        if is_null:
            style = _NULL_STYLES[number % len(_NULL_STYLES)]
            axes.plot(lags, middle, style, lw=1.2, color=FIT_COLOR, label=name)
            continue
        shade = curve_color(number)
        style = "-" if number < len(DISCOUNT_COLORS) else ".-"  # colours begin again
        axes.plot(lags, middle, style, lw=1.5, color=shade, label=name)
        if len(table) > 1:
            axes.fill_between(
                lags, table.min(axis=0), table.max(axis=0), color=shade, alpha=0.2, lw=0
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("lag τ, steps")
    axes.set_ylabel("mean squared displacement")
    axes.legend()
    return axes


def exponents(
    axes: Axes,
    positions: np.ndarray,
    estimates: Mapping[str, Estimate],
    *,
    nulls: Mapping[str, Estimate] | None = None,
    label: str = "waiting time t_w, steps",
) -> Axes:
    """Draw exponents with intervals, those of nulls as bands; lines at 0, 1 and 2.

    Hollow points are estimates whose status is not OK: curves that bend, or mean squares that few
    steps hold.

    Args:
        axes: Where to draw.
        positions: Waiting times, or whatever the exponents are drawn against.
        estimates: By name, batches with one entry per position.
        nulls: Likewise; drawn as bands between low and high.
        label: Name of the horizontal axis.
    """
    for level in (0.0, 1.0, 2.0):
        axes.axhline(level, color=NOISE_COLOR, lw=0.7, ls=":")
    x = np.asarray(positions, float)
    for number, (name, estimate) in enumerate((nulls or {}).items()):
        value, low, high = ends(estimate)
        style = _NULL_STYLES[number % len(_NULL_STYLES)]
        axes.fill_between(x, low, high, color=NOISE_COLOR, alpha=0.25, lw=0)
        axes.plot(x, value, style, lw=1, color=FIT_COLOR, label=name)
    for number, (name, estimate) in enumerate(estimates.items()):
        shade = curve_color(number)
        value, low, high = ends(estimate)
        good = np.asarray(estimate.status) == Status.OK
        axes.plot(x, value, "-", lw=0.8, color=shade, label=name)
        points_by_trust(axes, x, value, margins(value, low, high), good=good, color=shade)
    axes.set_xlabel(label)
    axes.set_ylabel("diffusion exponent")
    axes.legend()
    return axes


def displacement_densities(
    axes: Axes, edges: np.ndarray, densities: Mapping[str, np.ndarray]
) -> Axes:
    """Draw densities of displacements over a Gaussian, in logarithm.

    Args:
        axes: Where to draw.
        edges: Edges of the bins, in root mean square displacements.
        densities: By name, see `fracjax.estimators.diffusion.distributions`.
    """
    edges = np.asarray(edges, float)
    fine = np.linspace(edges[0], edges[-1], 200)
    gaussian = np.exp(-(fine**2) / 2) / np.sqrt(2 * np.pi)
    axes.plot(fine, gaussian, "--", lw=1.2, color=FIT_COLOR, label="Gaussian")
    middles = (edges[1:] + edges[:-1]) / 2
    smallest = gaussian.min()
    for number, (name, density) in enumerate(densities.items()):
        values = np.asarray(density, float)
        shade = curve_color(number)
        seen = values > 0
        if seen.any():
            smallest = min(smallest, values[seen].min())
        axes.plot(middles[seen], values[seen], "o-", ms=3, lw=0.8, color=shade, label=name)
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(smallest, 1e-7) / 2)
    axes.set_xlabel("displacement / its root mean square")
    axes.set_ylabel("density")
    axes.legend()
    return axes


def stability_indices(axes: Axes, names: Sequence[str], estimates: Sequence[Estimate]) -> Axes:
    """Draw stability indices with intervals over one another; a line at 2, where Gaussians are.

    Args:
        axes: Where to draw.
        names: One per estimate.
        estimates: Single estimates; hollow where the status is not OK.
    """
    axes.axvline(2.0, color=NOISE_COLOR, lw=0.8, ls=":")
    for height, estimate in enumerate(estimates):
        value, low, high = (float(part) for part in (estimate.value, estimate.low, estimate.high))
        shade = curve_color(height)
        face = shade if int(estimate.status) == Status.OK else "none"
        spread = [[max(value - low, 0)], [max(min(high, 10.0) - value, 0)]]
        axes.errorbar(value, height, xerr=spread, fmt="o", mfc=face, color=shade, capsize=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("stability index α (2: Gaussian)")
    return axes


def published_beside_ours(
    axes: Axes,
    published: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ours: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Axes:
    """Draw exponents at long lags over exponents at short lags: other networks, and ours.

    Args:
        axes: Where to draw.
        published: By name, exponents 1 and 2; hollow squares.
        ours: Likewise; points.
    """
    axes.axvline(1.0, color=NOISE_COLOR, lw=0.7, ls=":")
    axes.axhline(1.0, color=NOISE_COLOR, lw=0.7, ls=":")
    for number, (name, (short, long)) in enumerate(published.items()):
        shade = (FIT_COLOR, NOISE_COLOR)[number % 2]
        label = f"{name} (other networks)"
        axes.plot(short, long, "s", ms=5, mfc="none", color=shade, label=label)
    for number, (name, (short, long)) in enumerate(ours.items()):
        shade = curve_color(number)
        axes.plot(short, long, "o", ms=4, color=shade, label=name)
    axes.set_xlabel("exponent 1, short lags")
    axes.set_ylabel("exponent 2, long lags")
    axes.legend()
    return axes
