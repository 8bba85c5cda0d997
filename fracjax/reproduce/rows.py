"""One compared number: what came out, what was expected, and whether they agree."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat

__all__ = ["Findings", "Row", "compare", "describe", "with_error"]

_AGREES = 4.0  # joint standard errors; among a hundred true rows one in 160 tables has a miss
_ROUNDING = 1e-9  # what a comparison is good for that states no error at all
_LAST_BITS = 1e-14


@dataclasses.dataclass(frozen=True)
class Row:
    """A number beside its reference.

    Attributes:
        system: What it belongs to.
        quantity: Which number, with its unit where it has one.
        value: As computed now; NaN when it could not be.
        low: Lower end of the 95 % interval.
        high: Upper end.
        reference: Expected value; NaN in a row that only describes, see `describe`.
        uncertainty: Standard error of the reference; 0 where it is exact.
        source: Where the reference comes from.
        z: Difference in joint standard errors.
        agrees: Whether |z| is at most 4; true where there is nothing to compare with.
    """

    system: str
    quantity: str
    value: float
    low: float
    high: float
    reference: float
    uncertainty: float
    source: str
    z: float
    agrees: bool


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a part found, where there is more to it than rows.

    Attributes:
        rows: Compared numbers.
        figures: Functions that draw a Matplotlib figure, by file name without its ending. They
            are called only where there is a folder to write to.
    """

    rows: list[Row]
    figures: Mapping[str, Callable[[], Any]] = dataclasses.field(default_factory=dict)


def compare(
    system: str,
    quantity: str,
    computed: tuple[SupportsFloat, SupportsFloat],
    reference: tuple[SupportsFloat, SupportsFloat, str],
    *,
    systematic: float = 0.0,
    quantile: float = 1.96,
) -> Row:
    """Compare a computed (value, standard error) with a reference (value, uncertainty, source).

    Where neither states an error, they agree to 4e-9; otherwise to four of what is stated.

    Args:
        system: See `Row`.
        quantity: See `Row`.
        computed: Value and standard error.
        reference: Value, uncertainty and source.
        systematic: Known error of the computation that no sample shows, of an integrator for
            example; it enters z and the interval.
        quantile: Half width of the interval in standard errors.
    """
    value, stderr = float(computed[0]), float(computed[1])  # JSON knows no NumPy scalars
    expected, uncertainty, source = float(reference[0]), float(reference[1]), reference[2]
    stated = math.hypot(stderr, systematic, uncertainty)
    rounding = (_LAST_BITS if stated else _ROUNDING) * max(abs(expected), 1.0)
    scale = math.hypot(stated, rounding)
    z = (value - expected) / scale
    margin = quantile * stderr + systematic
    return Row(
        system=system,
        quantity=quantity,
        value=value,
        low=value - margin,
        high=value + margin,
        reference=expected,
        uncertainty=uncertainty,
        source=source,
        z=z,
        agrees=bool(abs(z) <= _AGREES),
    )


def describe(system: str, quantity: str, computed: tuple[SupportsFloat, SupportsFloat]) -> Row:
    """Report a (value, standard error) that has no reference: not to be counted as agreeing."""
    value, stderr = float(computed[0]), float(computed[1])
    return Row(
        system=system,
        quantity=quantity,
        value=value,
        low=value - 1.96 * stderr,
        high=value + 1.96 * stderr,
        reference=math.nan,
        uncertainty=math.nan,
        source="no reference: described, not tested",
        z=math.nan,
        agrees=True,
    )


def with_error(value: float, error: float) -> str:
    """Write the digits that the error leaves, two of its own."""
    if not (math.isfinite(value) and error > 0):
        return f"{value:.6g}"
    decimals = min(max(1 - math.floor(math.log10(error)), 0), 12)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
