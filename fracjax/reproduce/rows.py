"""One compared number: what came out, what was expected, and whether they agree."""

import dataclasses
import math

__all__ = ["Row", "compare"]

_AGREES = 4.0  # joint standard errors; among a hundred true rows one in 160 tables has a miss
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Row:
    """A number beside its reference.

    Attributes:
        system: What it belongs to.
        quantity: Which number, with its unit where it has one.
        value: As computed now; NaN when it could not be.
        low: Lower end of the 95 % interval.
        high: Upper end.
        reference: Expected value.
        uncertainty: Standard error of the reference; 0 where it is exact.
        source: Where the reference comes from.
        z: Difference in joint standard errors.
        agrees: Whether |z| is at most 4.
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


def compare(
    system: str,
    quantity: str,
    computed: tuple[float, float],
    reference: tuple[float, float, str],
    *,
    systematic: float = 0.0,
    quantile: float = 1.96,
) -> Row:
    """Compare a computed (value, standard error) with a reference (value, uncertainty, source).

    Args:
        system: See `Row`.
        quantity: See `Row`.
        computed: Value and standard error.
        reference: Value, uncertainty and source.
        systematic: Known error of the computation that no sample shows, of an integrator for
            example; it enters z and the interval.
        quantile: Half width of the interval in standard errors.
    """
    value, stderr = computed
    expected, uncertainty, source = reference
    error = math.hypot(stderr, systematic)
    scale = math.sqrt(error**2 + uncertainty**2 + (_ROUNDING * max(abs(expected), 1.0)) ** 2)
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
