"""How exponents converge, and what they predict."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from fracjax.diagnosis import Chaos, DiscountDiagnosis
from fracjax.plotting.intervals import ends, margins
from fracjax.plotting.style import NOISE_COLOR, curve_color

__all__ = ["convergence_trace", "exponents_against_discount"]

# Ratio between neighbouring points of one discount: at least so much, and of the axis' range.
_APART = 1.05
_APART_OF_WIDTH = 0.04
# Of legends: thresholds cross the whole width, and pass behind the words.
_OPAQUE: dict[str, Any] = {"frameon": True, "framealpha": 1, "edgecolor": "none"}


def convergence_trace(
    axes: Axes, chaos: Chaos, *, dt: float, discounts: Sequence[float] = ()
) -> Axes:
    """Draw the running mean of the largest exponent over the initial states.

    Faint lines are single initial states, which the mean leaves out where their growth is not
    finite, as the exponent does; dashed lines are -ln γ / dt, above which a return discounted by
    γ is predicted to lose its gradient.

    Args:
        axes: Where to draw.
        chaos: Exponents of a closed loop.
        dt: Seconds per step.
        discounts: Discount factors whose thresholds to draw.
    """
    growth = np.where(chaos.alive, chaos.growth, 0.0)
    time = np.maximum(np.cumsum(chaos.alive, axis=1), 1)
    running = np.cumsum(growth, axis=1) / (time * dt)
    seconds = dt * np.arange(1, running.shape[1] + 1)
    thin = slice(max(1, running.shape[1] // 200), None)
    for state in running[:24]:
        axes.plot(seconds[thin], state[thin], color="0.85", lw=0.6, zorder=0)
    usable = np.isfinite(growth).all(axis=1)
    counted = np.cumsum(chaos.alive[usable].sum(axis=0))
    total = np.cumsum(growth[usable].sum(axis=0))
    mean = total / (np.where(counted > 0, counted, np.nan) * dt)
    axes.plot(seconds[thin], mean[thin], color="black", lw=1.5, label="mean over initial states")
    spectrum = chaos.spectrum
    low, high = float(spectrum.low[0]), float(spectrum.high[0])
    axes.axhspan(low, high, color="0.5", alpha=0.2, lw=0, label="95 % interval")
    for number, discount in enumerate(discounts):
        threshold = -np.log(discount) / dt
        label = f"−ln γ / dt, γ = {discount:g}"
        axes.axhline(threshold, color=curve_color(number), ls="--", lw=1, label=label)
    finite = mean[thin][np.isfinite(mean[thin])]
    if finite.size:
        ceiling = max(high, finite.max(), *(-np.log(d) / dt for d in discounts), 0.0)
        floor = min(low, finite.min(), 0.0)
        room = 0.25 * max(ceiling - floor, 1e-3)
        if np.isfinite([floor, ceiling]).all():
            axes.set_ylim(floor - room, ceiling + room)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("largest exponent (nats/s)")
    axes.legend(**_OPAQUE)
    return axes


def exponents_against_discount(axes: Axes, findings: Sequence[DiscountDiagnosis]) -> Axes:
    """Compare measured with predicted exponents at every discount.

    A fractal's exponent moves with -ln γ, a jump's does not.

    Args:
        axes: Where to draw.
        findings: One finding per discount.
    """
    ordered = sorted(findings, key=lambda finding: -np.log(finding.discount))
    x = np.array([-np.log(finding.discount) for finding in ordered])
    apart = max(_APART, (x[-1] / x[0]) ** _APART_OF_WIDTH)
    markers = {"mean": "s", "second moment": "^", "worst": "v"}
    for place, (name, marker) in enumerate(markers.items()):
        rows = np.array([finding.predictions[name] for finding in ordered], float)
        axes.errorbar(
            x * apart ** (1 + place),
            rows[:, 0],
            yerr=margins(*rows.T),
            fmt=marker,
            ms=4,
            lw=0.8,
            color=NOISE_COLOR,
            mfc="white",
            label=f"predicted, {name} exponent",
        )
    value, low, high = np.array([ends(finding.holder) for finding in ordered]).T
    bars = margins(value, low, high)
    axes.errorbar(x, value, yerr=bars, fmt="o", color="black", capsize=3, label="measured")
    axes.axhline(1.0, color="0.6", lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.set_ylim(-0.1, 2.2)
    axes.set_xticks(x, [f"{finding.discount:g}" for finding in ordered])
    axes.minorticks_off()
    axes.set_xlabel("discount γ (on a scale of −ln γ)")
    axes.set_ylabel("Hölder exponent α")
    axes.legend(**_OPAQUE)
    return axes
