"""What one look at a run found, as plain numbers that JSON can hold."""

import dataclasses
import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from fracjax._types import Estimate, Status
from fracjax.diagnosis.findings import Prediction, Verdict
from fracjax.estimators.roughness.line_moments import LAGS

__all__ = ["Cost", "DiscountRecord", "Number", "Record", "lines_of"]

_LABELS = tuple(status.label for status in Status)
_LARGEST = 2**63


@dataclasses.dataclass(frozen=True)
class Number:
    """An estimate without its details.

    Attributes:
        value: The estimate.
        stderr: Its standard error.
        low: Lower end of the 95 % interval.
        high: Upper end.
        status: Label of a `Status`.
    """

    value: float
    stderr: float
    low: float
    high: float
    status: str = "ok"

    @classmethod
    def of(cls, estimate: Estimate, factor: float = 1.0) -> "Number":
        """Take a scalar estimate, times a positive factor."""
        return cls(
            value=factor * float(estimate.value),
            stderr=factor * float(estimate.stderr),
            low=factor * float(estimate.low),
            high=factor * float(estimate.high),
            status=Status(int(estimate.status)).label,
        )

    @classmethod
    def unknown(cls, status: Status = Status.TOO_FEW_POINTS) -> "Number":
        """A number that nobody measured."""
        return cls(math.nan, math.nan, math.nan, math.nan, status.label)

    @property
    def ok(self) -> bool:
        """Whether the number can be used."""
        return self.status == Status.OK.label


@dataclasses.dataclass(frozen=True)
class DiscountRecord:
    """What was found at one discount.

    Attributes:
        discount: γ; 1 for an objective without discount.
        value: Return at the parameters, mean over initial states.
        holder: Hölder exponent α.
        window: Scales between which it holds, root mean square per parameter.
        predicted: -ln γ/λ by name: from the mean exponent, from the second moment of growth
            and from the worst stretch within the discount's memory.
        noise: Standard deviation of a return by rounding.
        jump_alarm: Whether the increments' moments speak of jumps.
        jumpy_lines: Lines on which a jump was confirmed by bisection.
        lines: Lines looked at.
        verdict: A `Verdict`.
        reason: Why.
        scales: Scales of the variogram, rising.
        variogram: Mean squared second difference at these scales, noise included.
    """

    discount: float
    value: Number
    holder: Number
    window: tuple[float, float]
    predicted: Mapping[str, Prediction]
    noise: float
    jump_alarm: bool
    jumpy_lines: int
    lines: int
    verdict: str
    reason: str
    scales: tuple[float, ...] = ()
    variogram: tuple[float, ...] = ()

    @property
    def threshold(self) -> float:
        """The rate -ln γ, nats per step, beyond which the return is predicted to be fractal."""
        return -math.log(self.discount)

    def variation(self, scale: float) -> float:
        """Typical change of the return over `scale`: root mean square of first differences.

        From the variogram of second differences, V = (4 - 4^α) E(ΔJ)², log-log interpolated
        and held at its ends. It is exact for increments that are stationary with exponent α;
        where α reads more than .95 that is used, as first differences see the slope, too.
        """
        if not self.scales:
            return math.nan
        alpha = self.holder.value if math.isfinite(self.holder.value) else 0.5
        factor = 4 - 4 ** min(max(alpha, 0.0), 0.95)
        logs = np.log(np.maximum(np.asarray(self.variogram), 1e-300))
        found = np.interp(math.log(scale), np.log(self.scales), logs)
        return float(math.sqrt(math.exp(found) / factor))


@dataclasses.dataclass(frozen=True)
class Cost:
    """What watching cost so far, in seconds of wall time.

    Attributes:
        training: Time since the start that was not spent watching.
        watching: Time spent watching, compiling and drawing included, before this record was
            written.
        compiling: The part of it that went into compiling.
        last: Time of this record, without compiling.
    """

    training: float
    watching: float
    compiling: float
    last: float

    @property
    def share(self) -> float:
        """Watching over training."""
        return self.watching / self.training if self.training > 0 else math.inf

    @property
    def share_without_compiling(self) -> float:
        """The same without the time that compiling took."""
        spent = self.watching - self.compiling
        return spent / self.training if self.training > 0 else math.inf


@dataclasses.dataclass(frozen=True)
class Record:
    """One look at a run.

    Attributes:
        step: Step of the run, in the unit of who calls.
        size: Name of the `Size` that was afforded.
        value: Undiscounted return of the deterministic policy over the horizon, or the
            objective; mean and interval over initial states.
        exponent: Largest Lyapunov exponent, nats per second.
        rate: The same, nats per step.
        smooth_below: Scale e^{-λT} below which the horizon makes any return smooth.
        terminates: Whether episodes ended before the horizon.
        moved: Root mean square change per parameter since the record before, or NaN.
        parameter_size: Root mean square of the parameters.
        by_discount: One finding per discount.
        skipped: Calls since the record before that were passed over.
        cost: What it cost, or `None` for a run that was looked at afterwards.
    """

    step: int
    size: str
    value: Number
    exponent: Number
    rate: Number
    smooth_below: float
    terminates: bool
    moved: float
    parameter_size: float
    by_discount: tuple[DiscountRecord, ...]
    skipped: int = 0
    cost: Cost | None = None

    def to_json(self) -> str:
        """Write one line; what is not finite is null, as JSON has no NaN."""
        return json.dumps(_plain(dataclasses.asdict(self)), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> "Record":
        """Read what `to_json` wrote.

        Raises:
            ValueError: If the line is no record.
        """
        try:
            stored = json.loads(line)
            cost = stored["cost"]
            return cls(
                step=_integer(stored["step"]),
                size=_text(stored["size"]),
                value=_number(stored["value"]),
                exponent=_number(stored["exponent"]),
                rate=_number(stored["rate"]),
                smooth_below=_float(stored["smooth_below"]),
                terminates=_truth(stored["terminates"]),
                moved=_float(stored["moved"]),
                parameter_size=_float(stored["parameter_size"]),
                by_discount=_discounts(stored["by_discount"]),
                skipped=_integer(stored["skipped"]),
                cost=None if cost is None else _cost(cost),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:100]
            msg = f"is no record of fracjax watch ({reason})"
            raise ValueError(msg) from error


def lines_of(estimate: Estimate) -> dict[str, Any]:
    """Scales and variogram of a Hölder estimate, by rising scale."""
    scales = np.asarray(estimate.details["scales"], float).ravel()
    values = np.asarray(estimate.details["variogram"], float).ravel()
    order = np.argsort(scales, kind="stable")
    kept = order[np.isfinite(values[order])][:: max(1, len(LAGS) // 2)]
    return {
        "scales": tuple(float(f"{scale:.6g}") for scale in scales[kept]),
        "variogram": tuple(float(f"{value:.6g}") for value in values[kept]),
    }


def _plain(value: Any) -> Any:
    """Replace what JSON has no word for."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _float(value: Any) -> float:
    if value is not None and type(value) not in (int, float):
        msg = f"{value!r} is no number"
        raise TypeError(msg)
    try:
        return math.nan if value is None else float(value)
    except OverflowError:  # of an integer that is larger than any float
        return math.nan


def _integer(value: Any) -> int:
    if type(value) is not int or abs(value) >= _LARGEST:
        msg = f"{str(value)[:20]} is no number of steps"
        raise TypeError(msg)
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        msg = f"{value!r} is neither true nor false"
        raise TypeError(msg)
    return value


def _text(value: Any, known: Collection[str] = ()) -> str:
    if not isinstance(value, str) or (known and value not in known):
        msg = f"{value!r} is not one of {', '.join(known) or 'the texts'}"
        raise TypeError(msg)
    return value


def _cost(stored: Mapping[str, Any]) -> Cost:
    names = [field.name for field in dataclasses.fields(Cost)]
    return Cost(*(_float(stored[name]) for name in names))


def _discounts(stored: Any) -> tuple[DiscountRecord, ...]:
    if not isinstance(stored, list) or not stored:
        msg = "it is of no discount"
        raise TypeError(msg)
    return tuple(_discount(entry) for entry in stored)


def _number(stored: Mapping[str, Any]) -> Number:
    value, stderr, low, high = (_float(stored[name]) for name in ("value", "stderr", "low", "high"))
    return Number(value, stderr, low, high, _text(stored["status"], _LABELS))


def _discount(stored: Mapping[str, Any]) -> DiscountRecord:
    low, high = stored["window"]
    discount, scales = _float(stored["discount"]), tuple(map(_float, stored["scales"]))
    variogram = tuple(map(_float, stored["variogram"]))
    if not 0 < discount <= 1 or len(scales) != len(variogram) or not all(0 < s for s in scales):
        msg = "its discount or its scales cannot be"
        raise ValueError(msg)
    return DiscountRecord(
        discount=discount,
        value=_number(stored["value"]),
        holder=_number(stored["holder"]),
        window=(_float(low), _float(high)),
        predicted={
            name: Prediction(*map(_float, ends)) for name, ends in stored["predicted"].items()
        },
        noise=_float(stored["noise"]),
        jump_alarm=_truth(stored["jump_alarm"]),
        jumpy_lines=_integer(stored["jumpy_lines"]),
        lines=_integer(stored["lines"]),
        verdict=_text(stored["verdict"], tuple(Verdict)),
        reason=_text(stored["reason"]),
        scales=scales,
        variogram=variogram,
    )
