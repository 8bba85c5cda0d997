"""What the table of known values is compared with: numbers, errors, degrees of freedom."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Key

__all__ = ["Measure", "Numbers", "averaged", "over_lines"]


class Numbers(NamedTuple):
    """One quantity of a system: a number, or several.

    Attributes:
        values: The numbers, () or (k,).
        errors: Their standard errors.
        degrees: Degrees of freedom of the errors.
    """

    values: np.ndarray
    errors: np.ndarray
    degrees: float = math.inf


Measure = Callable[[Key, bool], dict[str, Numbers]]


def averaged(values: Array | np.ndarray) -> Numbers:
    """Mean over independent members, along the leading axis; errors are from their spread."""
    values = np.asarray(values)
    count = len(values)
    errors = values.std(axis=0, ddof=1) / count**0.5
    return Numbers(np.asarray(values.mean(axis=0)), np.asarray(errors), count - 1.0)


def over_lines(estimate: Estimate, num_lines: int) -> Numbers:
    """One estimate, whose error is from the spread between independent lines."""
    return Numbers(np.asarray(estimate.value), np.asarray(estimate.stderr), num_lines - 1.0)
