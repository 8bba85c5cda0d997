"""Where training converges: planes of hyperparameters, zooms, and counts of boundaries."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from fracjax._types import Estimate
from fracjax.plotting.intervals import ends, margins
from fracjax.plotting.style import (
    DISCOUNT_COLORS,
    DIVERGING_MAP,
    FIT_COLOR,
    NAN_COLOR,
    OUTLINE,
    image_extent,
)

__all__ = [
    "boundary_counts",
    "box_counts",
    "frame_dimensions",
    "label_changes",
    "ranked_speeds",
    "trainability_frames",
    "trainability_plane",
]

_PALEST = 0.25
_COLOURS = (*DISCOUNT_COLORS, "#56B4E9", "#000000")


def ranked_speeds(
    values: np.ndarray, reference: np.ndarray | None = None, *, palest: float = _PALEST
) -> np.ndarray:
    """Spread values evenly over [-1, -palest] and [palest, 1] by rank, keeping their sign.

    Args:
        values: Such as `trainability_objective` gives: below 0 where training converged, nearer to
            0 the faster it did either. NaN stays NaN.
        reference: Values that ranks are taken among, so that frames share colours; `values`
            themselves if not given.
        palest: Smallest absolute value.
    """
    finite = np.asarray(values if reference is None else reference, float).ravel()
    ordered = np.unique(finite[np.isfinite(finite)])
    ranked = np.full(np.shape(values), np.nan)
    for sign in (-1.0, 1.0):
        own = np.sort(np.abs(ordered[np.sign(ordered) == sign]))
        chosen = np.sign(values) == sign
        if len(own):
            heights = np.linspace(palest, 1, len(own)) if len(own) > 1 else np.array([1.0])
            ranked[chosen] = sign * np.interp(np.abs(values[chosen]), own, heights)
    return ranked


def trainability_plane(
    axes: Axes,
    values: np.ndarray,
    coordinates: Sequence[np.ndarray],
    *,
    labels: tuple[str, str] = ("log10 rate of the hidden layer", "log10 rate of the readout"),
    reference: np.ndarray | None = None,
) -> AxesImage:
    """Draw how fast training converged (blue) or diverged (red), the darker the slower.

    Colours are ranks within each class, see `ranked_speeds`.

    Args:
        axes: Where to draw.
        values: First hyperparameter along the first axis, drawn to the right.
        coordinates: Along both axes.
        labels: Of both axes.
        reference: See `ranked_speeds`.
    """
    colours = mpl.colormaps[DIVERGING_MAP].with_extremes(bad=NAN_COLOR)
    first, second = (np.asarray(part, float) for part in coordinates)
    image = axes.imshow(
        ranked_speeds(values, reference).T,
        origin="lower",
        extent=image_extent(first, second),
        vmin=-1,
        vmax=1,
        cmap=colours,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    return image


def trainability_frames(
    axes: Sequence[Axes] | np.ndarray,
    frames: Sequence[xarray.Dataset],
    *,
    labels: tuple[str, str] = ("log10 rate of the hidden layer", "log10 rate of the readout"),
) -> Sequence[Axes] | np.ndarray:
    """Draw frames of a zoom, each with the outline of the next; coordinates from its centre.

    Args:
        axes: One for each frame.
        frames: Complete frames of `zoom_frames`, not necessarily all of them.
        labels: Of the first frame's axes.
    """
    for number, (one, frame) in enumerate(zip(axes, frames, strict=True)):
        centre, zoom = frame.attrs["centre"], frame.attrs["zoom"]
        around = number > 0
        places = tuple(
            frame[name].values - (middle if around else 0.0)
            for name, middle in zip("ab", centre, strict=True)
        )
        shown = labels if number == 0 else ("from the centre", "")
        trainability_plane(one, frame["value"].values, places, labels=shown)
        one.set_title(f"×{zoom:,.0f}" if zoom < 1e5 else f"×{zoom:.1e}")
        if around:
            one.ticklabel_format(style="sci", scilimits=(-2, 2))
            one.locator_params(nbins=3)
        if number + 1 < len(frames):
            width, height = (2 * half for half in frames[number + 1].attrs["half_width"])
            middle = (0.0, 0.0) if around else centre
            corner = middle[0] - width / 2, middle[1] - height / 2
            one.add_patch(Rectangle(corner, width, height, fill=False, lw=1.2, ec=OUTLINE))
    return axes


def boundary_counts(axes: Axes, estimates: Mapping[str, Estimate]) -> Axes:
    """Draw numbers of boundary pixels over resolution, with the slopes fitted to them.

    Args:
        axes: Where to draw.
        estimates: By label, of `refined_boundary_dimension`. Those without counts are left out.
    """
    for number, (label, found) in enumerate(estimates.items()):
        color = _colour(number)
        if not bool(found.ok):
            continue
        resolutions = np.asarray(found.details["resolutions"], float)
        counts = np.asarray(found.details["counts"], float)
        text = f"{label}: {_interval(found)}"
        axes.loglog(resolutions, counts, "o", ms=4, color=color, label=text, base=2)
        _slope(axes, resolutions, counts, float(found.value))
    axes.set_xlabel("pixels along an axis")
    axes.set_ylabel("boundary pixels")
    axes.legend()
    return axes


def box_counts(axes: Axes, estimates: Mapping[str, Estimate]) -> Axes:
    """Draw published box counts over the size of boxes, one line for each frame.

    Args:
        axes: Where to draw.
        estimates: By label, of `published_dimension`.
    """
    for number, (label, found) in enumerate(estimates.items()):
        color = _colour(number)
        if not bool(found.ok):
            continue
        text: str | None = f"{label}: median slope {float(found.value):.2f}"
        frames = zip(found.details["sizes"], found.details["counts"], strict=True)
        for sizes, counts in frames:
            axes.loglog(sizes, counts, "o-", ms=3, lw=0.8, color=color, label=text, alpha=0.7)
            text = None
    axes.set_xlabel("box (pixels)")
    axes.set_ylabel("boxes with an edge, not full")
    axes.legend()
    return axes


def frame_dimensions(
    axes: Axes, zooms: np.ndarray, estimates: Mapping[str, Sequence[Estimate]]
) -> Axes:
    """Draw dimensions of the frames of a zoom with their intervals.

    Args:
        axes: Where to draw.
        zooms: How far every frame is zoomed in.
        estimates: By label of the estimator, an estimate for each frame; failed ones are left out.
    """
    for number, (label, found) in enumerate(estimates.items()):
        good = np.array([bool(one.ok) for one in found])
        value, low, high = np.array([ends(one) for one in found]).reshape(-1, 3)[good].T
        shift = 1.06 ** (number - (len(estimates) - 1) / 2)
        axes.errorbar(
            np.asarray(zooms)[good] * shift,
            value,
            yerr=margins(value, low, high),
            fmt="o",
            ms=4,
            lw=1,
            capsize=2,
            color=_colour(number),
            label=label,
        )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("zoom")
    axes.set_ylabel("dimension of the boundary")
    axes.legend()
    return axes


def label_changes(
    axes: Axes,
    counts: Mapping[str, np.ndarray],
    fits: Mapping[str, Estimate] | None = None,
    published: Mapping[str, np.ndarray] | None = None,
) -> Axes:
    """Draw label changes along learning rates over the level of the grid.

    Args:
        axes: Where to draw.
        counts: By label, N_n from n = 0.
        fits: By the same labels, of `count_dimension`; some may be missing.
        published: By the same labels, published N_n.
    """
    for number, (label, found) in enumerate(counts.items()):
        color = _colour(number)
        fit = (fits or {}).get(label)
        text = label if fit is None else f"{label}: {_interval(fit)}"
        levels = np.arange(len(found))
        axes.semilogy(levels, found, "o", ms=4, color=color, label=text, base=2)
        if fit is not None and bool(fit.ok):
            used = np.asarray(fit.details["levels"])
            middle = np.mean(np.log2(np.asarray(fit.details["counts"], float)))
            line = 2.0 ** (middle + float(fit.value) * (used - used.mean()))
            axes.semilogy(used, line, "-", lw=1, color=FIT_COLOR, base=2)
        if published and label in published:
            theirs = published[label]
            axes.semilogy(
                np.arange(len(theirs)), theirs, "x", ms=5, color=color, label="published", base=2
            )
    axes.set_xlabel("level n of the grid, 2$^n$ + 1 rates")
    axes.set_ylabel("label changes")
    axes.legend()
    return axes


def _slope(axes: Axes, x: np.ndarray, y: np.ndarray, slope: float) -> None:
    middle = np.exp(np.mean(np.log(x))), np.exp(np.mean(np.log(y)))
    axes.plot(x, middle[1] * (x / middle[0]) ** slope, "-", lw=1, color=FIT_COLOR)


def _interval(estimate: Estimate) -> str:
    value, low, high = (float(getattr(estimate, name)) for name in ("value", "low", "high"))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
