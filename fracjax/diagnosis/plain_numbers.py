"""Numbers and estimates as JSON holds them: null for what is not finite."""

import math
from typing import Any

import numpy as np

from fracjax._types import Estimate, Status

__all__ = ["plain_estimate", "plain_number", "plain_numbers"]


def plain_number(value: Any) -> float | None:
    """Give None for what is not finite: JSON has no NaN."""
    found = float(value)
    return found if math.isfinite(found) else None


def plain_numbers(values: Any) -> list[float | None]:
    """Do the same for an array of any shape, in one list."""
    return [plain_number(value) for value in np.ravel(np.asarray(values, float))]


def plain_estimate(estimate: Estimate, factor: float = 1.0) -> dict[str, Any]:
    """Give a scalar estimate without its details, times a positive factor."""
    names = ("value", "stderr", "low", "high")
    numbers = {name: plain_number(factor * float(getattr(estimate, name))) for name in names}
    return {**numbers, "status": Status(int(estimate.status)).label}
