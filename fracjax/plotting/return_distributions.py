"""Returns after one update: their distribution, and their spread against the update's size."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from fracjax._types import Estimate
from fracjax.learning.return_distributions.distribution import ReturnDistribution
from fracjax.plotting.style import DISCOUNT_COLORS, FIT_COLOR, curve_color

__all__ = ["return_histogram", "spread_against_size"]


def return_histogram(
    axes: Axes,
    returns: np.ndarray,
    found: ReturnDistribution,
    *,
    before: float | None = None,
    color: str = DISCOUNT_COLORS[0],
    bins: int = 60,
) -> Axes:
    """Draw the returns after many independent updates, with the numbers of their left tail.

    Args:
        axes: Where to draw.
        returns: Sample of returns.
        found: Its summary.
        before: Return before the update.
        color: Colour of the bars.
        bins: Bars.
    """
    returns = np.asarray(returns, float)
    axes.hist(returns[np.isfinite(returns)], bins=bins, color=color, alpha=0.75, lw=0)
    if before is not None:
        axes.axvline(before, color=FIT_COLOR, lw=1, label="before the update")
    axes.axvline(
        float(found.tail_mean.value),
        color=FIT_COLOR,
        lw=1,
        ls="--",
        label="mean of the worst share",
    )
    left = float(found.left_tail.value)
    lines = [
        f"SD {float(found.deviation.value):.3g}, skewness {float(found.skewness.value):.2g}",
        f"outliers on the left {100 * float(found.outliers.value):.2g} %",
    ]
    if np.isfinite(left):
        lines.append(f"left-tail probability {100 * left:.2g} %")
    axes.text(0.02, 0.98, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=8)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("return after one update")
    axes.set_ylabel("updates")
    axes.legend(loc="center left")
    return axes


def spread_against_size(
    axes: Axes,
    sizes: Mapping[str, np.ndarray],
    exponents: Mapping[str, Estimate],
    *,
    holder: Mapping[str, float] | None = None,
) -> Axes:
    """Draw the standard deviation of returns after an update over the update's size.

    Args:
        axes: Where to draw.
        sizes: By name, sizes of the updates.
        exponents: Results of `spread_exponent` by the same names.
        holder: Hölder exponents measured around the same places: dashed lines of that slope, 1
            where there is a gradient.
    """
    for number, (name, estimate) in enumerate(exponents.items()):
        color = curve_color(number)
        x = np.asarray(sizes[name], float)
        deviation = np.asarray(estimate.details["deviation"], float)
        error = 1.96 * np.asarray(estimate.details["deviation_stderr"], float)
        slope = float(estimate.value)
        axes.errorbar(
            x,
            deviation,
            yerr=np.minimum(error, 0.9 * deviation),
            fmt="o-",
            ms=4,
            lw=1,
            capsize=2,
            color=color,
            label=f"{name}: slope {slope:.2f}",
        )
        if holder is not None and np.isfinite(holder.get(name, np.nan)):
            alpha = min(holder[name], 1.0)
            middle = len(x) // 2
            law = deviation[middle] * (x / x[middle]) ** alpha
            axes.plot(
                x, law, "--", lw=1, color=color, label=f"min(1, Hölder exponent) = {alpha:.2f}"
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("spread of the updates (root mean square per parameter)")
    axes.set_ylabel("SD of the return after one update")
    axes.legend()
    return axes
