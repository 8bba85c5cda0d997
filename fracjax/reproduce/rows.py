"""One compared number: what came out, what was expected, and whether they agree."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, SupportsFloat, TypeAlias

from scipy.special import ndtr, stdtrit

__all__ = [
    "Computed",
    "Findings",
    "Measured",
    "Row",
    "agreement_bound",
    "compare",
    "compared",
    "describe",
    "with_error",
]

_AGREES = 4.0  # joint standard errors; among a hundred true rows one in 160 tables has a miss
_INTERVAL = 1.96  # half width of a 95 % interval in standard errors that are known
_ROUNDING = 1e-9  # what a comparison is good for that states no error at all
_LAST_BITS = 1e-14


class Measured(NamedTuple):
    """A computed number, and how well its error is known.

    Attributes:
        value: The number.
        error: Its standard error.
        degrees: Degrees of freedom of that error: of a mean over n independent members, whose
            error is from their spread, n - 1; infinite where the error is as good as known.
    """

    value: float
    error: float
    degrees: float = math.inf

    @property
    def margin(self) -> float:
        """Half of the 95 % interval: Student's, or normal where the error is known."""
        known = math.isinf(self.degrees)
        return self.error * (_INTERVAL if known else float(stdtrit(self.degrees, 0.975)))


Computed: TypeAlias = Measured | tuple[SupportsFloat, SupportsFloat]


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
        agrees: Whether |z| is at most `agreement_bound(degrees)`, in rows by `compare`; true
            where there is nothing to compare with.
        degrees: Degrees of freedom of the joint standard error.
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
    degrees: float = math.inf

    @property
    def is_compared(self) -> bool:
        """Whether there is a reference."""
        return not math.isnan(self.reference)


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


def compared(found: Sequence[Row] | Findings) -> list[Row]:
    """Rows that have a reference, of what a part found."""
    rows = found.rows if isinstance(found, Findings) else found
    return [row for row in rows if row.is_compared]


def agreement_bound(degrees: float = math.inf) -> float:
    """How many joint standard errors a row that agrees may be off.

    Four where the error is known. An error from few samples is now and then too small by chance:
    the bound is then the quantile of Student's t with the same two tails, 6.3e-5 together, 5.5
    for the 15 degrees of freedom of 16 orbits.
    """
    return _AGREES if math.isinf(degrees) else -float(stdtrit(degrees, ndtr(-_AGREES)))


def compare(
    system: str,
    quantity: str,
    computed: Computed,
    reference: tuple[SupportsFloat, SupportsFloat, str],
    *,
    systematic: float = 0.0,
) -> Row:
    """Compare a computed (value, standard error) with a reference (value, uncertainty, source).

    Where neither states an error, they agree to 4e-9; otherwise to four of what is stated, or
    more where the computed error is from few samples, see `agreement_bound`. The joint error has
    the degrees of freedom of Welch and Satterthwaite, its other parts taken as known.

    Args:
        system: See `Row`.
        quantity: See `Row`.
        computed: Value and standard error; as `Measured` with its degrees of freedom, which
            make the interval Student's.
        reference: Value, uncertainty and source.
        systematic: Known error of the computation that no sample shows, of an integrator for
            example; it enters z and the interval.
    """
    found = _measured(computed)
    expected, uncertainty, source = float(reference[0]), float(reference[1]), reference[2]
    stated = math.hypot(found.error, systematic, uncertainty)
    rounding = (_LAST_BITS if stated else _ROUNDING) * max(abs(expected), 1.0)
    scale = math.hypot(stated, rounding)
    z = (found.value - expected) / scale
    share = (found.error / scale) ** 4
    degrees = found.degrees / share if share > 0 else math.inf
    margin = found.margin + systematic
    return Row(
        system=system,
        quantity=quantity,
        value=found.value,
        low=found.value - margin,
        high=found.value + margin,
        reference=expected,
        uncertainty=uncertainty,
        source=source,
        z=z,
        agrees=bool(abs(z) <= agreement_bound(degrees)),
        degrees=degrees,
    )


def describe(system: str, quantity: str, computed: Computed) -> Row:
    """Report a (value, standard error) that has no reference: not to be counted as agreeing."""
    found = _measured(computed)
    return Row(
        system=system,
        quantity=quantity,
        value=found.value,
        low=found.value - found.margin,
        high=found.value + found.margin,
        reference=math.nan,
        uncertainty=math.nan,
        source="no reference: described, not tested",
        z=math.nan,
        agrees=True,
    )


def _measured(computed: Computed) -> Measured:
    """Make Python's floats of it: JSON knows no NumPy scalars."""
    if isinstance(computed, Measured):
        return computed
    return Measured(float(computed[0]), float(computed[1]))


def with_error(value: float, error: float) -> str:
    """Write the digits that the error leaves, two of its own."""
    if not (math.isfinite(value) and 0 < error < math.inf):
        return f"{value:.6g}"
    decimals = min(max(1 - math.floor(math.log10(error)), 0), 12)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
