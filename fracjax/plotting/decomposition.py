"""Decompositions into subnetworks: fits, owners, interventions, frequencies, and returns."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from fracjax._types import Estimate
from fracjax.plotting.intervals import ends, margins
from fracjax.plotting.style import (
    DISCOUNT_COLORS,
    FIT_COLOR,
    NAN_COLOR,
    NOISE_COLOR,
    SEQUENTIAL_MAP,
    curve_color,
)

__all__ = [
    "activation_frequencies",
    "coefficient_scatter",
    "intervention_curves",
    "loss_curves",
    "owner_matrix",
    "return_curves",
    "top_outputs",
]

_MOST_LABELS = 24
_MOST_NUMBERS = 10  # side by side in a panel a third of a page wide
_TOP_MARK = "o"


def loss_curves(
    axes: Axes,
    losses: Mapping[str, Float[Array | np.ndarray, "*runs epochs"]],
    *,
    reference: tuple[str, float] | None = None,
) -> Axes:
    """Draw the unexplained share of the gradients along fits: one thin line per run, and medians.

    Epochs are logarithmic: what decides happens in the first few.

    Args:
        axes: Where to draw.
        losses: Losses per epoch by name, of one run or of several.
        reference: Name and height of a line to compare with, a published error for example.
    """
    for index, (name, runs) in enumerate(losses.items()):
        table = np.atleast_2d(np.asarray(runs, float))
        color = curve_color(index)
        dash = "-" if index < len(DISCOUNT_COLORS) else "--"
        epochs = np.arange(1, table.shape[1] + 1)
        axes.plot(
            epochs, table.T, color=color, lw=0.4, alpha=0.3 if len(table) > 1 else 1.0, ls=dash
        )
        axes.plot(epochs, np.median(table, axis=0), color=color, lw=1.4, ls=dash, label=name)
    if reference is not None:
        axes.axhline(reference[1], color=FIT_COLOR, lw=0.8, ls=":", label=reference[0])
    axes.set_xscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("unexplained share of squared gradients")
    axes.set_ylim(bottom=0)
    axes.legend()
    return axes


def owner_matrix(
    axes: Axes,
    cosines: Float[Array | np.ndarray, "subnetworks features"],
    *,
    features: Sequence[str] | None = None,
    label: str = "|cos|",
    by_owner: bool = True,
) -> AxesImage:
    """Show how parallel every subnetwork is to every true feature; a diagonal is perfect.

    Args:
        axes: Where to draw.
        cosines: |cos|, or shares, in [0, 1].
        features: Their names; numbers by default.
        label: Name of the numbers, in the title.
        by_owner: Put subnetworks into the order of the features they own.
    """
    table = np.asarray(cosines, float)
    order = np.arange(len(table))
    if by_owner:
        filled = np.nan_to_num(table, nan=-1.0)
        owned = np.argmax(filled, axis=1)
        order = np.lexsort((-filled.max(axis=1), owned))
    colors = mpl.colormaps[SEQUENTIAL_MAP].with_extremes(bad=NAN_COLOR)
    shown = np.ma.masked_invalid(table[order])
    image = axes.imshow(shown, cmap=colors, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    if features is None:
        _label(axes, "x", [str(place) for place in range(table.shape[1])], most=_MOST_NUMBERS)
    else:
        _label(axes, "x", list(features))
    _label(axes, "y", [str(place) for place in order])
    axes.set_xlabel("feature")
    axes.set_ylabel("subnetwork")
    axes.set_title(label)
    return image


def intervention_curves(
    axes: Axes,
    sizes: Float[Array | np.ndarray, " sizes"],
    changes: Float[Array | np.ndarray, "subnetworks sizes outputs"],
    own: Int[Array | np.ndarray, " subnetworks"],
) -> Axes:
    """Draw how outputs change along every subnetwork: its own output against all others.

    Args:
        axes: Where to draw.
        sizes: δ, ascending.
        changes: Median changes of the outputs; what is NaN has a gap.
        own: Index of every subnetwork's own output, of `selectivity`. Signs are arbitrary:
            curves are turned so that the own output rises to the right.
    """
    sizes, table = np.asarray(sizes, float), np.asarray(changes, float)
    own = np.asarray(own)
    for index in range(len(table)):
        left, right = np.nan_to_num(table[index, [0, -1], own[index]])
        turned = table[index] if right >= left else table[index, ::-1]
        others = np.delete(turned, own[index], axis=1)
        axes.plot(
            sizes,
            others,
            color=NOISE_COLOR,
            lw=0.5,
            alpha=0.6,
            label="other outputs" if index == 0 else None,
        )
        axes.plot(
            sizes,
            turned[:, own[index]],
            color=DISCOUNT_COLORS[0],
            lw=1.2,
            label="own output" if index == 0 else None,
        )
    handles, names = axes.get_legend_handles_labels()
    first = {name: handle for handle, name in zip(handles, names, strict=True)}
    axes.legend(list(first.values()), list(first))
    axes.set_xlabel("δ along a subnetwork, in the amplifying sign")
    axes.set_ylabel("median change of an output")
    return axes


def coefficient_scatter(
    axes: Axes,
    coefficients: Float[Array | np.ndarray, "subnetworks outputs"],
    products: Float[Array | np.ndarray, "subnetworks outputs"],
    *,
    pooled: float,
    each: Float[Array | np.ndarray, " subnetworks"],
    ceiling: float,
) -> Axes:
    """Draw subnetworks' encoder times decoder against the true coefficients of their inputs.

    Products have an arbitrary scale per subnetwork: each is divided by its largest magnitude for
    the picture, and the pooled r is that of the unscaled ones.

    Args:
        axes: Where to draw.
        coefficients: True coefficients of the input that a subnetwork owns.
        products: Those of the subnetwork.
        pooled: r over all points, unscaled. r² is written apart from it.
        each: r of every subnetwork.
        ceiling: r of the network's own product with the coefficients.
    """
    truth, table = np.asarray(coefficients, float), np.asarray(products, float)
    scales = np.nanmax(np.abs(table), axis=1, keepdims=True)
    scaled = table / np.where(scales > 0, scales, 1)
    for index, (across, up) in enumerate(zip(truth, scaled, strict=True)):
        color = curve_color(index)
        axes.plot(across, up, ls="none", marker="o", ms=3, alpha=0.8, color=color)
    lines = (
        f"pooled r = {pooled:.2f}, r² = {pooled**2:.2f}",
        f"median r of one subnetwork = {float(np.nanmedian(np.asarray(each))):.2f}",
        f"r of the network itself = {ceiling:.2f}",
    )
    axes.set_title("\n".join(lines), fontsize=8)
    axes.set_xlabel("true coefficient")
    axes.set_ylabel("product of subnetwork, scaled")
    return axes


def activation_frequencies(
    axes: Axes,
    frequency: Float[Array | np.ndarray, " subnetworks"],
    *,
    threshold: float = 0.0,
) -> Axes:
    """Draw in which share of samples each subnetwork is used, most used first; mark dead ones.

    Args:
        axes: Where to draw.
        frequency: Shares.
        threshold: The largest share of a dead one.
    """
    shares = np.sort(np.asarray(frequency, float))[::-1]
    places = np.arange(len(shares))
    dead = shares <= threshold
    axes.bar(places[~dead], shares[~dead], width=0.85, color=DISCOUNT_COLORS[0], label="used")
    if dead.any():
        axes.plot(
            places[dead],
            np.zeros(dead.sum()),
            ls="none",
            marker="x",
            ms=5,
            color=DISCOUNT_COLORS[1],
            clip_on=False,
            label=f"dead ({dead.sum()} of {len(shares)})",
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("subnetwork, by frequency")
    axes.set_ylabel("share of samples that use it")
    if dead.any():
        axes.legend()
    return axes


def top_outputs(
    axes: Axes,
    scores: Float[Array | np.ndarray, "subnetworks outputs"],
    names: Sequence[str],
    *,
    chosen: Sequence[int] | None = None,
    label: str = "share of the largest",
) -> AxesImage:
    """Show what every subnetwork concerns, as a table of heat: tokens, digits, actions.

    Every row is divided by its largest score; a mark stands on that entry.

    Args:
        axes: Where to draw.
        scores: Nonnegative, e.g. mean attributions by class, or mean |velocities| of outputs.
        names: Of the columns.
        chosen: Subnetworks to show, in this order; all by default, by what they concern most.
        label: Title.
    """
    table = np.asarray(scores, float)
    if chosen is None:
        chosen = list(np.argsort(np.argmax(np.nan_to_num(table), axis=1), kind="stable"))
    rows = table[list(chosen)]
    largest = np.nan_to_num(rows).max(axis=1, keepdims=True)
    shown = np.ma.masked_invalid(rows / np.where(largest > 0, largest, np.nan))
    colors = mpl.colormaps[SEQUENTIAL_MAP].with_extremes(bad=NAN_COLOR)
    image = axes.imshow(shown, cmap=colors, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    known = np.flatnonzero(~np.ma.getmaskarray(shown).all(axis=1))
    axes.plot(
        np.argmax(np.nan_to_num(rows[known]), axis=1),
        known,
        ls="none",
        marker=_TOP_MARK,
        ms=3,
        color=DISCOUNT_COLORS[1],
    )
    _label(axes, "x", list(names))
    _label(axes, "y", [str(place) for place in chosen])
    axes.set_ylabel("subnetwork")
    axes.set_title(label)
    return image


def return_curves(
    axes: Axes,
    sizes: Float[Array | np.ndarray, " sizes"],
    subnetworks: Estimate,
    nulls: Float[Array | np.ndarray, "nulls sizes"],
    *,
    along: str = "δ",
    linear_within: float | None = None,
    null_name: str = "random directions, 5 to 95 %",
) -> Axes:
    """Draw the change of the return along subnetworks, over the band of random directions.

    Args:
        axes: Where to draw.
        sizes: δ, or the divergence of the outputs that both were moved by, with a sign.
        subnetworks: Changes, (subnetworks, sizes), with intervals over episodes.
        nulls: Changes along random directions at the same places.
        along: Name of the horizontal axis.
        linear_within: Draw larger changes than this, or the nearest power of ten, by their
            logarithms; all are linear if not given. Far out random directions ruin a policy, which
            hides everything near.
        null_name: Name of the band.
    """
    places = np.asarray(sizes, float)
    band = np.nanquantile(np.asarray(nulls, float), [0.05, 0.5, 0.95], axis=0)
    axes.fill_between(places, band[0], band[2], color=NOISE_COLOR, alpha=0.3, lw=0, label=null_name)
    axes.plot(places, band[1], color=NOISE_COLOR, lw=1.0, ls="--")
    values, low, high = ends(subnetworks)
    for index in range(len(values)):
        color = curve_color(index)
        shown = np.isfinite(values[index])
        bars = margins(values[index], low[index], high[index])
        drawn = axes.errorbar(
            places[shown],
            values[index][shown],
            yerr=bars[:, shown],
            color=color,
            lw=0.8,
            elinewidth=0.5,
            alpha=0.8,
            label="subnetworks" if index == 0 else None,
        )
        for bar in drawn.lines[2]:
            bar.set_alpha(0.3)
    axes.axhline(0, color=FIT_COLOR, lw=0.6)
    if linear_within is not None and linear_within > 0:
        # A power of ten, so that no tick but 0 stands in the linear part.
        axes.set_yscale("symlog", linthresh=10.0 ** round(math.log10(linear_within)))
    axes.set_xlabel(along)
    axes.set_ylabel("change of the return")
    axes.legend()
    return axes


def _label(axes: Axes, which: str, names: Sequence[str], most: int = _MOST_LABELS) -> None:
    """Name rows or columns, or every so many of them where there are too many to be read."""
    step = -(-len(names) // most)
    places = range(0, len(names), step)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(list(places), [names[place] for place in places])
    axis.set_tick_params(labelsize=7)
