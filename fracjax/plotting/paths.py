"""A recorded path over the slice it was projected on."""

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from fracjax.landscapes.slices.planes import PlacedGrid
from fracjax.plotting.style import OUTLINE, RESIDUAL_MAP, add_to_legend

__all__ = ["path_on_plane"]


def path_on_plane(axes: Axes, placed: PlacedGrid) -> Axes:
    """Draw snapshots where they project to, coloured by how far off the plane they are.

    A snapshot that lies off the plane has another value than the plane shows under it: read
    the picture's values only where the points are pale. The note compares what the axes
    explain with a random walk of as many steps, which looks like a smooth curve too.

    Args:
        axes: Where to draw, best upon `plane_slice` of a scan of `placed.grid`.
        placed: Result of `principal_plane`, or of `slice_through` three points.

    Raises:
        ValueError: If the grid has not two axes.
    """
    points = np.asarray(placed.coordinates)
    if points.shape[1] != 2:
        msg = f"Argument `placed` must have two axes, but has {points.shape[1]}."
        raise ValueError(msg)
    x, y = points.T
    if placed.random_walk is not None:  # a path: snapshots have an order
        outline = [patheffects.withStroke(linewidth=2.6, foreground=OUTLINE)]
        axes.plot(x, y, color="white", lw=1.2, path_effects=outline, zorder=3)
    extent = float(np.hypot(np.ptp(x), np.ptp(y)))
    largest = float(np.max(placed.residual, initial=0.0))
    marks = axes.scatter(
        x,
        y,
        c=placed.residual,
        s=26,
        cmap=RESIDUAL_MAP,
        norm=Normalize(0.0, max(largest, 1e-3 * extent, 1e-300)),
        edgecolors=OUTLINE,
        linewidths=0.7,
        zorder=4,
    )
    bar = axes.figure.colorbar(marks, ax=axes, location="bottom", shrink=0.85, aspect=40)
    bar.set_label(f"distance off the plane (change per parameter); the path is {extent:.2g} wide")
    if placed.random_walk is not None:
        ends = [
            *axes.plot(*points[0], "s", ms=8, mfc="gold", mec=OUTLINE, zorder=5),
            *axes.plot(*points[-1], "*", ms=12, mfc="gold", mec=OUTLINE, zorder=5),
        ]
        for end, name in zip(ends, ("first snapshot", "last snapshot"), strict=True):
            end.set_label(name)
        add_to_legend(axes, ends)
    text = f"axes explain {_shares(placed.explained)} of squared distances"
    if placed.random_walk is not None:
        text += f"\na random walk of {len(points) - 1} steps: {_shares(placed.random_walk)}"
    axes.annotate(
        text,
        (0.02, 0.02),
        xycoords="axes fraction",
        fontsize=8,
        bbox={"boxstyle": "round", "fc": "white", "ec": "none", "alpha": 0.85},
        zorder=6,
    )
    return axes


def _shares(shares: np.ndarray) -> str:
    return " + ".join(f"{100 * share:.0f} %" for share in np.ravel(shares))
