"""Curvature: spectral densities, eigenvalues of blocks, sharpness, convergence of traces."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from fracjax._types import Estimate, Status
from fracjax.curvature import Eigenpairs, Sharpness, SpectralDensity
from fracjax.plotting.intervals import ends, margins, points_by_trust
from fracjax.plotting.style import FIT_COLOR, NOISE_COLOR, curve_color

__all__ = ["eigenvalues", "sharpness_and_threshold", "spectral_densities", "trace_convergence"]


def spectral_densities(
    axes: Axes, densities: Mapping[str, SpectralDensity], *, least: float = 1e-6
) -> Axes:
    """Draw densities of eigenvalues with their 95 % bands, in logarithm.

    Args:
        axes: Where to draw.
        densities: By name, all on the same kind of axis.
        least: Smallest density shown: tails of the kernel lie below it. In the unit of the
            largest.

    Raises:
        ValueError: If linear and logarithmic axes are mixed.
    """
    kinds = sorted({density.axis for density in densities.values()})
    if len(kinds) != 1:
        msg = f"Argument `densities` must have one kind of axis, but has {kinds}."
        raise ValueError(msg)
    highest = 0.0
    for number, (name, found) in enumerate(densities.items()):
        grid = np.asarray(found.grid, float)
        value, low, high = ends(found.density)
        shade = curve_color(number)
        axes.plot(grid, value, lw=1.2, color=shade, label=name)
        axes.fill_between(grid, np.maximum(low, 1e-300), high, color=shade, alpha=0.25, lw=0)
        highest = max(highest, np.nanmax(value, initial=0.0))
    axes.set_yscale("log")
    if highest > 0:
        axes.set_ylim(least * highest, 3 * highest)
    log = kinds == ["log"]
    axes.set_xlabel("ln(|eigenvalue| + floor)" if log else "eigenvalue")
    axes.set_ylabel("share of eigenvalues per unit")
    axes.legend()
    return axes


def eigenvalues(axes: Axes, pairs: Mapping[str, Eigenpairs]) -> Axes:
    """Draw eigenvalues of blocks beside one another, with residuals as bars.

    Hollow points have not converged.

    Args:
        axes: Where to draw.
        pairs: By name of the block.
    """
    axes.axhline(0.0, color=NOISE_COLOR, lw=0.7, ls=":")
    for place, found in enumerate(pairs.values()):
        values, residuals = np.asarray(found.values, float), np.asarray(found.residuals, float)
        good = np.asarray(found.status) == Status.OK
        there = np.full(len(values), place)
        points_by_trust(axes, there, values, residuals, good=good, color=curve_color(place))
    axes.set_xticks(range(len(pairs)), pairs)
    axes.set_ylabel("eigenvalue")
    return axes


def sharpness_and_threshold(
    axes: Axes,
    steps: np.ndarray,
    curves: Mapping[str, Sharpness],
    *,
    learning_rate: float | None = None,
) -> Axes:
    """Draw the sharpness along runs, and the level 2/η beyond which a quadratic diverges.

    Args:
        axes: Where to draw.
        steps: Steps made before each record, (records,).
        curves: By name, see `descent_sharpness` and `sharpness_along`.
        learning_rate: η of gradient descent; no level without.
    """
    if learning_rate is not None:
        axes.axhline(
            2 / learning_rate,
            color=FIT_COLOR,
            lw=1,
            ls="--",
            label=f"2/η = {2 / learning_rate:.3g}",
        )
    for number, (name, found) in enumerate(curves.items()):
        value = np.asarray(found.value, float)
        bad = np.asarray(found.status) == Status.NOT_CONVERGED
        shade = curve_color(number)
        axes.plot(steps, value, lw=1.2, color=shade, label=name)
        axes.plot(np.asarray(steps)[bad], value[bad], "o", ms=3, mfc="none", color=shade)
    axes.set_xlabel("step")
    axes.set_ylabel("sharpness")
    axes.set_ylim(bottom=0)
    axes.legend()
    return axes


def trace_convergence(
    axes: Axes,
    estimates: Mapping[str, Sequence[Estimate]],
    *,
    truth: float | None = None,
) -> Axes:
    """Draw estimates of a trace with intervals over the number of products spent.

    Args:
        axes: Where to draw.
        estimates: By name of the method, see `trace`: any number of budgets each.
        truth: The trace, if it is known.
    """
    if truth is not None:
        axes.axhline(truth, color=FIT_COLOR, lw=1, ls="--", label="exact")
    names = len(estimates)
    for number, (name, found) in enumerate(estimates.items()):
        products = np.array([int(each.details["num_products"]) for each in found], float)
        value, low, high = np.array([ends(each) for each in found]).reshape(-1, 3).T
        axes.errorbar(
            products * 1.04 ** (number - (names - 1) / 2),  # beside each other
            value,
            yerr=margins(value, low, high),
            fmt="o-",
            ms=3,
            lw=0.8,
            color=curve_color(number),
            capsize=2,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_xlabel("products with the matrix")
    axes.set_ylabel("trace")
    axes.legend()
    return axes
