"""What rows of all experiments are made of: means over members, laws, counts, signs."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Status
from fracjax.reproduce.rows import Computed, Measured, Row, compare, describe

__all__ = [
    "ANCHOR",
    "about",
    "anchored",
    "described",
    "estimated",
    "exactly",
    "left_out",
    "mean_of",
    "mean_of_finite",
    "number",
    "signed",
    "student_mean",
]

ANCHOR = "computed for this project"


def mean_of(values: Array | np.ndarray) -> Measured:
    """Average over independent members; the standard error is from their spread.

    The error of one member is NaN, and so is the mean of none.
    """
    values = np.asarray(values, float)
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    error = float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
    return Measured(mean, error, float(max(count - 1, 0)))


def mean_of_finite(values: Array | np.ndarray) -> Measured:
    """Average over the independent members that have a number; NaN for fewer than two."""
    values = np.asarray(values, float)
    known = values[np.isfinite(values)]
    return mean_of(known) if len(known) > 1 else Measured(math.nan, math.nan)


def number(estimate: Estimate, index: int | tuple = ()) -> tuple[float, float]:
    """One value of a batch of estimates, and its standard error."""
    return float(np.asarray(estimate.value)[index]), float(np.asarray(estimate.stderr)[index])


def estimated(
    value: float, stderr: float, low: float, high: float, status: int = int(Status.OK)
) -> Estimate:
    """Make an estimate of plain numbers."""
    return Estimate(
        jnp.asarray(value),
        jnp.asarray(stderr),
        jnp.asarray(low),
        jnp.asarray(high),
        jnp.asarray(status),
    )


def student_mean(values: Array | np.ndarray) -> Estimate:
    """Average over independent members, with Student's interval; NaN for fewer than two."""
    found = mean_of(values)
    low, high = found.value - found.margin, found.value + found.margin
    enough = Status.OK if found.degrees else Status.TOO_FEW_POINTS
    return estimated(found.value, found.error, low, high, int(enough))


def about(
    system: str, quantity: str, computed: Computed, expected: float, tolerance: float, source: str
) -> Row:
    """Compare with a law that holds to a stated tolerance, beyond the computation's error."""
    text = f"{source}, to {tolerance:.2g}"
    return compare(system, quantity, computed, (expected, tolerance / 4, text))


def anchored(system: str, quantity: str, computed: Computed, anchor: tuple[float, float]) -> Row:
    """Compare with a number of our own and its standard error."""
    return compare(system, quantity, computed, (*anchor, ANCHOR))


def exactly(system: str, quantity: str, found: int, expected: int, source: str) -> Row:
    """Compare a count."""
    return compare(system, quantity, (float(found), 0.0), (float(expected), 0.0, source))


def described(system: str, quantity: str, estimate: Estimate) -> Row:
    """Report an estimate with its own interval."""
    row = describe(system, quantity, number(estimate))
    return dataclasses.replace(row, low=float(estimate.low), high=float(estimate.high))


def signed(system: str, quantity: str, estimate: Estimate, sign: int, source: str) -> Row:
    """Compare the sign of an estimate with a published one.

    The row's numbers are signs: of the value, and of the ends of the interval. It agrees only
    when all three are the published one: an interval that holds zero has no sign.
    """
    value, low, high = (
        float(np.sign(float(part))) for part in (estimate.value, estimate.low, estimate.high)
    )
    stderr = float(estimate.stderr)
    distance = float(estimate.value) / stderr if stderr > 0 else math.copysign(math.inf, value)
    return Row(
        system=system,
        quantity=(
            f"sign of the {quantity}, {float(estimate.value):.3g}"
            f" [{float(estimate.low):.3g}, {float(estimate.high):.3g}]"
        ),
        value=value,
        low=low,
        high=high,
        reference=float(sign),
        uncertainty=0.0,
        source=f"{source}; z is the distance from zero",
        z=distance,
        agrees=bool(value == low == high == sign),
    )


def left_out(system: str, reason: str) -> Row:
    """Say in the table what is not in it."""
    return describe(system, f"left out: {reason}", (math.nan, math.nan))
