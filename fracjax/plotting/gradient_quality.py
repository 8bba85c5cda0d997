"""What gradient estimators deliver, against the scale of smoothing."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from fracjax._types import Estimate, Status
from fracjax.learning.gradient_estimates.quality import GradientQuality
from fracjax.plotting.intervals import ends, margins, points_by_trust
from fracjax.plotting.style import FIT_COLOR, NOISE_COLOR, curve_color

__all__ = ["against_smoothing", "cosines_between_scales"]

_LABELS = {
    "variance": "standard deviation of one sample",
    "norm": "length of the mean gradient",
    "signal_to_noise": "signal / noise of one sample",
    "samples_needed": "samples for signal = noise",
    "bias": "|mean - true| / |true|",
    "projection": "mean · true / |true|²",
    "cosine": "cosine with the true gradient",
}
_SIGNED = ("projection", "cosine")


def against_smoothing(
    axes: Axes,
    qualities: Mapping[str, GradientQuality],
    quantity: str,
    scales: Mapping[str, np.ndarray] | np.ndarray,
    *,
    laws: Mapping[str, np.ndarray] | None = None,
    label: str = "smoothing σ, per parameter",
) -> Axes:
    """Draw one quantity of several estimators over the scale of smoothing, with intervals.

    Hollow points are estimates whose status is not OK: for `norm`, `signal_to_noise` and
    `samples_needed` the samples show no gradient, and for `samples_needed` an open upper end
    is drawn far up, and an arrow stands at the lower end of an infinite one. The variance is
    drawn as a standard deviation.

    Args:
        axes: Where to draw.
        qualities: By estimator, one batch of results, one entry per scale.
        quantity: Attribute of `GradientQuality`.
        scales: Scales of all estimators, or of each.
        laws: Exact values, by the same names, drawn as dashed lines.
        label: Name of the horizontal axis.
    """
    signed = quantity in _SIGNED
    axes.set_xscale("log")
    axes.set_yscale("linear" if signed else "log")
    for number, (name, quality) in enumerate(qualities.items()):
        color = curve_color(number)
        estimate = getattr(quality, quantity)
        if estimate is None:
            continue
        x = np.asarray(scales[name] if isinstance(scales, Mapping) else scales, float)
        _points(axes, x, estimate, quantity, color, name)
        if laws is not None and name in laws:
            law = np.asarray(laws[name], float)
            law = np.sqrt(law) if quantity == "variance" else law
            axes.plot(x, np.where((law > 0) | signed, law, np.nan), "--", lw=1, color=color)
    if signed:
        axes.axhline(1.0, color=NOISE_COLOR, lw=0.8, ls=":")
        axes.axhline(0.0, color=FIT_COLOR, lw=0.8)
    axes.set_xlabel(label)
    axes.set_ylabel(_LABELS[quantity])
    axes.legend()
    return axes


def _points(
    axes: Axes, x: np.ndarray, estimate: Estimate, quantity: str, color: str, name: str
) -> None:
    value, low, high = map(np.atleast_1d, ends(estimate))
    if quantity == "variance":
        value, low, high = (np.sqrt(np.maximum(part, 0)) for part in (value, low, high))
    good = np.atleast_1d(np.asarray(estimate.status)) == Status.OK
    shown = np.isfinite(value) & ((value > 0) | (quantity in _SIGNED))
    # A value of zero with an upper end stands at that end.
    bound = ~shown & np.isfinite(high) & (high > 0)
    with np.errstate(invalid="ignore"):
        below = np.where(shown & np.isfinite(low), value - low, 0)
        above = np.where(shown, np.where(np.isfinite(high), high, 1e3 * value) - value, 0)
    if quantity not in _SIGNED:
        below = np.minimum(below, 0.999 * value, where=shown, out=np.zeros_like(below))
    axes.plot(x[shown], value[shown], "-", lw=1, color=color, label=name)
    bars = np.stack([below, above])[:, shown]
    points_by_trust(axes, x[shown], value[shown], bars, good=good[shown], color=color)
    axes.plot(x[bound], high[bound], "v", ms=4, mfc="none", color=color)
    # Infinitely many, as far as seen: at least so many.
    least = ~np.isfinite(value) & np.isfinite(low) & (low > 0)
    axes.plot(x[least], low[least], "^", ms=5, mfc="none", color=color)


def cosines_between_scales(
    axes: Axes,
    scales: np.ndarray,
    cosines: Mapping[str, Estimate],
    *,
    ratio: float,
    label: str = "smoothing σ, per parameter",
) -> Axes:
    """Draw the cosine between gradients smoothed at σ and at `ratio` · σ.

    One means that there is a gradient which both scales see; far below one, what is called the
    gradient depends on the scale at which it is looked for.

    Args:
        axes: Where to draw.
        scales: The smaller scales.
        cosines: By place, cosines at every scale.
        ratio: Ratio of the two scales.
        label: Name of the horizontal axis.
    """
    for number, (name, estimate) in enumerate(cosines.items()):
        color = curve_color(number)
        value, low, high = ends(estimate)
        good = np.asarray(estimate.status) == Status.OK
        x = np.asarray(scales, float)
        axes.plot(x, value, "-", lw=1, color=color, label=name)
        points_by_trust(axes, x, value, margins(value, low, high), good=good, color=color)
    axes.set_xscale("log")
    axes.axhline(1.0, color=NOISE_COLOR, lw=0.8, ls=":")
    axes.axhline(0.0, color=FIT_COLOR, lw=0.8)
    axes.set_ylim(-1.05, 1.1)
    axes.set_xlabel(label)
    axes.set_ylabel(f"cosine of gradients at σ and {ratio:g} σ")
    axes.legend()
    return axes
