"""Estimates with their intervals: ends, lengths of error bars, hollow points without trust."""

import numpy as np
from matplotlib.axes import Axes

from fracjax._types import Estimate

__all__ = ["ends", "margins", "points_by_trust"]


def ends(estimate: Estimate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, lower and upper end of an estimate or a batch, as arrays."""
    value, low, high = (
        np.asarray(part, float) for part in (estimate.value, estimate.low, estimate.high)
    )
    return value, low, high


def margins(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Lengths of error bars below and above, (2, …); none where an end is not finite."""
    with np.errstate(invalid="ignore"):  # ∞ - ∞
        lengths = np.stack([value - low, high - value])
    return np.where(np.isfinite(lengths), np.maximum(lengths, 0), 0.0)


def points_by_trust(
    axes: Axes,
    x: np.ndarray,
    value: np.ndarray,
    bars: np.ndarray,
    *,
    good: np.ndarray,
    color: str,
) -> None:
    """Draw points with error bars, hollow where the estimate does not deserve trust.

    Args:
        axes: Where to draw.
        x: Places, (k,).
        value: Values, (k,); what is not finite is left out.
        bars: Lengths of error bars, (k,) or (2, k).
        good: Which statuses are OK, (k,).
        color: Colour of all of them.
    """
    for part, face in ((good, color), (~good, "none")):
        axes.errorbar(
            x[part],
            value[part],
            yerr=bars[..., part],
            fmt="o",
            ms=4,
            mfc=face,
            color=color,
            lw=0.8,
            capsize=2,
        )
