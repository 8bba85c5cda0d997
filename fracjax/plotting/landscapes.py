"""Slices through a landscape."""

import numpy as np
import xarray
from matplotlib.axes import Axes

__all__ = ["line_slice", "plane_slice"]


def _output(dataset: xarray.Dataset, output: int) -> np.ndarray:
    value = dataset["value"]
    return value.isel(output=output).values if "output" in value.dims else value.values


def line_slice(axes: Axes, dataset: xarray.Dataset, *, output: int = 0, color: str) -> Axes:
    """Draw the objective along one direction; points without a finite value are gaps.

    Args:
        axes: Where to draw.
        dataset: Result of `scan` on a line.
        output: Which output, for an objective with several.
        color: Colour of the curve.
    """
    values = _output(dataset, output)
    axes.plot(
        dataset["a"].values, np.where(np.isfinite(values), values, np.nan), lw=0.8, color=color
    )
    axes.axvline(0.0, color="0.8", lw=0.8, zorder=0)
    axes.set_xlabel("step along a random direction (relative to filter norm)")
    axes.set_ylabel("return")
    axes.margins(x=0)
    return axes


def plane_slice(axes: Axes, dataset: xarray.Dataset, *, output: int = 0) -> Axes:
    """Draw the objective over a plane; points without a finite value are left white.

    Args:
        axes: Where to draw.
        dataset: Result of `scan` on a plane.
        output: Which output, for an objective with several.
    """
    values = _output(dataset, output)
    a, b = dataset["a"].values, dataset["b"].values
    masked = np.ma.masked_invalid(values.T)
    image = axes.pcolormesh(a, b, masked, shading="nearest", cmap="viridis", rasterized=True)
    axes.figure.colorbar(image, ax=axes, shrink=0.85)
    axes.plot(0, 0, "+", color="white", ms=8)
    axes.set_aspect("equal")
    axes.set_xlabel("direction 1")
    axes.set_ylabel("direction 2")
    return axes
