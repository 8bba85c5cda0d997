"""Rows that the fractal experiment is made of."""

import math

import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate
from fracjax.estimators.intervals import student_quantile
from fracjax.reproduce.rows import Row, compare

__all__ = ["ANCHOR", "about", "anchored", "exactly", "mean_and_error", "mean_of_few", "number"]

ANCHOR = "computed for this project"


def about(
    system: str,
    quantity: str,
    computed: tuple[float, float],
    expected: float,
    tolerance: float,
    source: str,
) -> Row:
    """Compare with a law that holds to a stated tolerance, beyond the computation's error."""
    text = f"{source}, to {tolerance:.2g}"
    return compare(system, quantity, computed, (expected, tolerance / 4, text))


def anchored(
    system: str, quantity: str, computed: tuple[float, float], anchor: tuple[float, float]
) -> Row:
    """Compare with a number of our own and its standard error."""
    return compare(system, quantity, computed, (*anchor, ANCHOR))


def exactly(system: str, quantity: str, found: int, expected: int, source: str) -> Row:
    """Compare a count."""
    return compare(system, quantity, (float(found), 0.0), (float(expected), 0.0, source))


def mean_and_error(values: Array | np.ndarray) -> tuple[float, float]:
    """Average over independent members; the standard error is from their spread."""
    values = np.asarray(values, float)
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def mean_of_few(values: Array | np.ndarray) -> tuple[float, float]:
    """Average over a handful of members, with an error whose ± 1.96 is Student's interval.

    The standard error times t / 1.96: of five members 1.42, of ten 1.15. Rows draw their
    intervals at ± 1.96 errors, which holds the mean of five in 88 % of cases only.
    """
    mean, error = mean_and_error(values)
    degrees = np.size(values) - 1
    return mean, float(student_quantile(degrees, degrees)) / 1.96 * error


def number(estimate: Estimate, index: int | tuple = ()) -> tuple[float, float]:
    """One value of a batch of estimates, and its standard error."""
    return float(np.asarray(estimate.value)[index]), float(np.asarray(estimate.stderr)[index])
