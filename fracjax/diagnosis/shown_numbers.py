"""Numbers as a reader sees them, the same in terminal and page."""

import math
from collections.abc import Mapping
from typing import Any

from fracjax._types import significant_digits

__all__ = ["CAP", "bound", "cap_of", "interval_digits", "is_at_least", "predicts_smooth"]

CAP = 2.0  # the most that second differences, and so predictions, see


def is_at_least(low: float | None, cap: float) -> bool:
    """Whether an exponent is only known to be at least `cap`.

    That is where the lower end, too, shows as the most that its differences see: a function that
    is smoother still gives the same.
    """
    return low is not None and math.isfinite(low) and float(f"{low:.3g}") >= cap


def bound(cap: float) -> str:
    """Print such an exponent."""
    return f"≥ {cap:g}"


def cap_of(holder: Mapping[str, Any]) -> float:
    """The most that the differences behind a stored Hölder exponent see."""
    return float(holder.get("difference_order", CAP))


def predicts_smooth(predicted: Mapping[str, Any]) -> bool:
    """Whether a stored prediction is that nothing rough is there."""
    return predicted["low"] is not None and predicted["low"] >= CAP


def interval_digits(value: float, low: float, high: float) -> int:
    """Digits that show a value's 95 % interval as `Estimate` prints it."""
    return significant_digits(value, (high - low) / 4)
