"""Gradient descent with large steps: bifurcations, phases, basins, the ellipse, the edge."""

import math
from collections.abc import Mapping

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

from fracjax._types import Estimate, Status
from fracjax.curvature import Descent
from fracjax.plotting.intervals import ends
from fracjax.plotting.style import (
    DIVERGING_MAP,
    FIT_COLOR,
    NAN_COLOR,
    NOISE_COLOR,
    SEQUENTIAL_MAP,
    curve_color,
    image_extent,
)
from fracjax.systems.training_maps.ellipse import ellipse_point
from fracjax.systems.training_maps.phases import Phase

__all__ = [
    "basin_picture",
    "bifurcation_diagram",
    "ellipse_and_orbit",
    "exponents_over_step_size",
    "phase_diagram",
    "sharpness_over_threshold",
]

_PHASE_COLORS = {
    Phase.UNDECIDED: "#FFFFFF",
    Phase.MONOTONE: "#56B4E9",
    Phase.CATAPULT: "#0072B2",
    Phase.PERIODIC: "#F0E442",
    Phase.CHAOTIC: "#D55E00",
    Phase.DIVERGENT: "#444444",
}


def bifurcation_diagram(
    axes: Axes,
    step_sizes: np.ndarray,
    orbits: np.ndarray,
    *,
    thresholds: Mapping[str, float] | None = None,
    label: str = "x",
) -> Axes:
    """Draw where orbits are, after their transients, over the step size.

    Args:
        axes: Where to draw.
        step_sizes: μ, (n,).
        orbits: States, (n, steps).
        thresholds: Step sizes to mark, by name.
        label: Name of the states.
    """
    sizes = np.broadcast_to(np.asarray(step_sizes)[:, None], np.shape(orbits))
    # Drawn as an image in files that scale, too: there are too many points.
    axes.plot(sizes.ravel(), np.ravel(orbits), ",", color=FIT_COLOR, alpha=0.35, rasterized=True)
    _mark(axes, thresholds, named=True)
    axes.set_xlim(np.min(step_sizes), np.max(step_sizes))
    axes.set_xlabel("effective step size μ")
    axes.set_ylabel(label)
    return axes


def _mark(axes: Axes, thresholds: Mapping[str, float] | None, *, named: bool) -> None:
    for number, (name, place) in enumerate((thresholds or {}).items()):
        axes.axvline(
            place, color=curve_color(number), lw=0.9, ls="--", label=name if named else None
        )
    if thresholds and named:
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)


def exponents_over_step_size(
    axes: Axes,
    step_sizes: np.ndarray,
    estimates: Mapping[str, Estimate],
    *,
    thresholds: Mapping[str, float] | None = None,
    least: float = -1.5,
) -> Axes:
    """Draw exponents with their intervals over the step size.

    Args:
        axes: Where to draw.
        step_sizes: μ, (n,).
        estimates: Exponents (n,) by name; those that are not finite are gaps.
        thresholds: Step sizes to mark, as in the diagram above.
        least: Lower end of the axis: superstable cycles have no bound.
    """
    axes.axhline(0.0, color=NOISE_COLOR, lw=0.8)
    for number, (name, found) in enumerate(estimates.items()):
        value, low, high = ends(found)
        shade = curve_color(number)
        shown = np.where(np.isfinite(value), value, np.nan)
        axes.plot(step_sizes, shown, lw=0.8, color=shade, label=name)
        axes.fill_between(step_sizes, low, high, color=shade, alpha=0.25, lw=0)
    _mark(axes, thresholds, named=False)
    axes.set_ylim(bottom=least)
    axes.set_xlim(np.min(step_sizes), np.max(step_sizes))
    axes.set_xlabel("effective step size μ")
    axes.set_ylabel("exponent (nats per step)")
    axes.legend()
    return axes


def phase_diagram(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    phases: np.ndarray,
    *,
    boundaries: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    labels: tuple[str, str] = ("effective step size μ", "imbalance"),
) -> AxesImage:
    """Colour a plane by what gradient descent does.

    Args:
        axes: Where to draw.
        x: Evenly spaced coordinates, (n,).
        y: Evenly spaced coordinates, (m,).
        phases: Codes of `Phase`, (n, m).
        boundaries: Curves (x, y) that theory gives, by name.
        labels: Names of the axes.
    """
    codes = sorted(_PHASE_COLORS)
    colors = ListedColormap([_PHASE_COLORS[code] for code in codes])
    image = axes.imshow(
        np.asarray(phases, float).T,
        origin="lower",
        extent=image_extent(x, y),
        aspect="auto",
        cmap=colors,
        norm=BoundaryNorm(np.arange(-0.5, len(codes)), len(codes)),
        interpolation="nearest",
    )
    lines = []
    for number, (name, curve) in enumerate((boundaries or {}).items()):
        style = ("-", "--", ":")[number % 3]
        axes.plot(*curve, "-", color="white", lw=2.4)  # seen on all colours
        lines += axes.plot(*curve, style, color="black", lw=1.1, label=name)
    seen = [code for code in codes if np.any(np.asarray(phases) == code)]
    patches = [
        Patch(facecolor=_PHASE_COLORS[code], edgecolor=NOISE_COLOR, label=code.label)
        for code in seen
    ]
    axes.legend(handles=[*patches, *lines], loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4)
    axes.set_xlim(image_extent(x, y)[:2])
    axes.set_ylim(image_extent(x, y)[2:])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    return image


def basin_picture(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    *,
    step_size: float | None = None,
    label: str,
    centre: float | None = None,
) -> AxesImage:
    """Colour initial states by where they go; those without a value, which diverge, are pink.

    Args:
        axes: Where to draw.
        x: First coordinates of the initial states, evenly spaced, (n,).
        y: Second coordinates, (m,).
        values: (n, m), NaN where there is none.
        step_size: μ below 2, to draw the ellipse of.
        label: Name of the values.
        centre: Middle of a diverging colour map; a sequential one without.
    """
    name = SEQUENTIAL_MAP if centre is None else DIVERGING_MAP
    table = np.ma.masked_invalid(np.asarray(values, float))
    low = high = None
    if centre is not None and table.count():
        reach = float(np.max(np.abs(table - centre))) or 1.0
        low, high = centre - reach, centre + reach
    image = axes.imshow(
        table.T,
        origin="lower",
        extent=image_extent(x, y),
        cmap=mpl.colormaps[name].with_extremes(bad=NAN_COLOR),
        interpolation="nearest",
        vmin=low,
        vmax=high,
    )
    axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.04, 1.0)), label=label)
    if step_size is not None:
        axes.plot(*_ellipse(step_size), color=FIT_COLOR, lw=0.9)
    axes.set_xlim(image_extent(x, y)[:2])
    axes.set_ylim(image_extent(x, y)[2:])
    axes.set_xlabel("x")
    axes.set_ylabel("y")
    return image


def _ellipse(step_size: float) -> np.ndarray:
    angle = jnp.linspace(0, 2 * math.pi, 721)
    return np.asarray(ellipse_point(angle, step_size))


def ellipse_and_orbit(
    axes: Axes, step_size: float, orbits: Mapping[str, np.ndarray], *, reach: float | None = None
) -> Axes:
    """Draw the invariant ellipse, the minima x y = 1 and orbits.

    Minima that are stable, whose sharpness is below 2/μ, are drawn thick.

    Args:
        axes: Where to draw.
        step_size: μ below 2.
        orbits: States (steps, 2), by name.
        reach: Half the width of the picture; by default a little more than the ellipse.
    """
    curve = _ellipse(step_size)
    reach = 1.1 * float(np.max(np.abs(curve))) if reach is None else reach
    axes.plot(*curve, color=FIT_COLOR, lw=1.2, label="E = 0")
    x = np.geomspace(1 / reach, reach, 401)
    stable = x**2 + x**-2 < 2 / step_size
    for sign in (1, -1):
        axes.plot(sign * x, sign / x, color=NOISE_COLOR, lw=0.8)
        if np.any(stable):
            axes.plot(sign * x[stable], sign / x[stable], color=NOISE_COLOR, lw=3)
    for number, (name, orbit) in enumerate(orbits.items()):
        orbit = np.asarray(orbit)
        axes.plot(orbit[:, 0], orbit[:, 1], ".", ms=3, color=curve_color(number), label=name)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_xlabel("x")
    axes.set_ylabel("y")
    axes.legend(loc="upper left")
    return axes


def sharpness_over_threshold(axes: Axes, runs: Mapping[str, Descent]) -> Axes:
    """Draw the sharpness along runs in units of their thresholds, of which 1 is the edge.

    Records that have not converged are hollow points.

    Args:
        axes: Where to draw.
        runs: By name.
    """
    axes.axhline(1.0, color=FIT_COLOR, lw=1, ls="--", label="edge of stability")
    for number, (name, run) in enumerate(runs.items()):
        ratio = np.asarray(run.sharpness.value, float) / float(run.threshold)
        steps = np.asarray(run.steps)
        shade = curve_color(number)
        axes.plot(steps, ratio, lw=1.1, color=shade, label=name)
        bad = np.asarray(run.sharpness.status) == Status.NOT_CONVERGED
        axes.plot(steps[bad], ratio[bad], "o", ms=3, mfc="none", color=shade)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel("sharpness / threshold")
    axes.legend()
    return axes
