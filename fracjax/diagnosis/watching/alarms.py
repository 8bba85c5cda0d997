"""When to warn: what a sequence of records says about the run, without crying wolf."""

import dataclasses
import math
from collections.abc import Sequence

from fracjax.diagnosis.findings import Verdict
from fracjax.diagnosis.watching.records import DiscountRecord, Number, Record

__all__ = ["KINDS", "Message", "Stretch", "is_fractal", "messages", "stretches"]

KINDS = ("fractal", "discontinuous", "noise floor", "collapse")
_SUCCESSIVE = 2
_LOST = 0.5


@dataclasses.dataclass(frozen=True)
class Message:
    """Something that begins or ends.

    Attributes:
        step: Step of the record that decides it.
        kind: One of `KINDS`.
        entered: Whether it begins.
        discount: The discount it is about; `None` for a collapse.
        text: One sentence.
    """

    step: int
    kind: str
    entered: bool
    discount: float | None
    text: str


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A part of the run.

    Attributes:
        kind: One of `KINDS`.
        discount: The discount it is about; `None` for a collapse.
        start: Step of its first record, one before the one that confirms it.
        end: Step of the first record that is out of it, or `None` while it lasts.
    """

    kind: str
    discount: float | None
    start: int
    end: int | None


def is_fractal(found: DiscountRecord) -> bool | None:
    """Whether one record calls the landscape fractal, or `None` where it cannot tell.

    Fractal: by the verdict (the upper end of the measured exponent is below 1 and jumps do
    not explain it), or because the mean Lyapunov exponent predicts less than 1, interval and
    all, and the measured exponent, below 1, agrees with it.
    """
    if found.verdict == Verdict.FRACTAL:
        return True
    if found.verdict in (Verdict.SMOOTH, Verdict.DISCONTINUOUS):
        return False
    predicted, holder = found.predicted.get("mean"), found.holder
    if predicted is None or not holder.ok or not math.isfinite(predicted.high):
        return None
    meets = predicted.low <= holder.high and holder.low <= predicted.high
    return True if predicted.high < 1 and holder.value < 1 and meets else None


def _is_discontinuous(found: DiscountRecord) -> bool | None:
    if found.verdict == Verdict.UNDECIDED:
        return None
    return found.verdict == Verdict.DISCONTINUOUS


def _is_silent(found: DiscountRecord) -> bool:
    return found.holder.status == "at_noise_floor"


_TESTS = {
    "fractal": is_fractal,
    "discontinuous": _is_discontinuous,
    "noise floor": _is_silent,
}


def messages(records: Sequence[Record], *, maximize: bool = True) -> list[Message]:
    """Say when stretches begin and end, in the order of the run.

    A stretch begins at the second of two successive records that say so. It ends at the second
    of two that deny it, with records that cannot tell passed over. Records draw their own
    lines, so that flukes are independent: at the border, α = 1, a 95 % interval lies below 1 in
    one record of 40, and two in a row in one of 1600. A
    return has collapsed when its interval lies wholly on the wrong side of that of the best
    record so far and more than half of what had been gained since the first is lost; that
    needs one record, since its interval already covers initial states, and so does the
    recovery of half of the gain.

    Args:
        records: By rising step.
        maximize: Whether the run tries to raise the return, and not to lower a loss.
    """
    found: list[tuple[int, Message]] = []
    count = max((len(record.by_discount) for record in records), default=0)
    for index in range(count):
        for kind in _TESTS:
            found += _changes(records, index, kind)
    found += _collapses(records, maximize=maximize)
    return [message for _, message in sorted(found, key=lambda pair: pair[0])]


def stretches(records: Sequence[Record], *, maximize: bool = True) -> list[Stretch]:
    """Join the messages into parts of the run."""
    steps = [record.step for record in records]
    result: list[Stretch] = []
    opened: dict[tuple[str, float | None], int] = {}
    for message in messages(records, maximize=maximize):
        name = message.kind, message.discount
        at = steps.index(message.step)
        first = at if message.kind == "collapse" else _onset(records, message, at)
        if message.entered:
            opened[name] = steps[first]
        else:
            result.append(Stretch(*name, opened.pop(name), steps[first]))
    result += [Stretch(*name, start, None) for name, start in opened.items()]
    return sorted(result, key=lambda stretch: stretch.start)


def _onset(records: Sequence[Record], message: Message, at: int) -> int:
    """Index of the first of the two records behind a message."""
    discounts: list[float | None] = [found.discount for found in records[at].by_discount]
    index = discounts.index(message.discount)
    test = _TESTS[message.kind]
    for earlier in range(at - 1, -1, -1):
        if test(records[earlier].by_discount[index]) is not None:
            return earlier
    return at


def _changes(records: Sequence[Record], index: int, kind: str) -> list[tuple[int, Message]]:
    inside, streak, result = False, 0, []
    for at, record in enumerate(records):
        found = record.by_discount[index]
        says = _TESTS[kind](found)
        if says is None:
            streak = streak if inside else 0
            continue
        streak = streak + 1 if bool(says) != inside else 0
        if streak < _SUCCESSIVE:
            continue
        inside, streak = not inside, 0
        text = _text(kind, inside, found)
        result.append((at, Message(record.step, kind, inside, found.discount, text)))
    return result


def _text(kind: str, entered: bool, found: DiscountRecord) -> str:
    at = f"γ = {found.discount:g}: "
    now = f"{found.verdict}: {found.reason}"
    if not entered:
        return (
            at
            + {
                "fractal": f"left the fractal stretch ({now})",
                "discontinuous": f"left the discontinuous stretch ({now})",
                "noise floor": "the landscape is above the rounding noise again",
            }[kind]
        )
    predicted = found.predicted.get("mean")
    law = "" if predicted is None else f"; -ln γ/λ predicts {predicted.value:.2g}"
    return (
        at
        + {
            "fractal": (
                "entered a fractal stretch: no gradient to estimate, the Hölder exponent is"
                f" {_interval(found.holder)}{law}"
            ),
            "discontinuous": f"entered a discontinuous stretch: {found.reason}",
            "noise floor": (
                "rounding noise hides the landscape at all scales looked at: the return is"
                f" constant there, or float{'32' if found.noise > 1e-9 else '64'} is too coarse"
            ),
        }[kind]
    )


def _interval(number: Number) -> str:
    return f"{number.value:.2f} [{number.low:.2f}, {number.high:.2f}]"


def _collapses(records: Sequence[Record], *, maximize: bool) -> list[tuple[int, Message]]:
    sign = 1.0 if maximize else -1.0
    first: float | None = None
    best: Number | None = None
    inside, result = False, []
    for at, record in enumerate(records):
        found = record.value
        if not found.ok or not math.isfinite(found.value):
            continue
        value = sign * found.value
        # A value without an interval is taken at its word.
        spread = found.high - found.value if math.isfinite(found.high) else 0.0
        if best is None or first is None:
            best, first = Number(value, 0.0, value - spread, value + spread), value
            continue
        gain = best.value - first
        low = gain > 0 and value + spread < best.low and best.value - value > _LOST * gain
        if low and not inside:
            inside = True
            text = (
                f"the return collapsed to {found.value:.4g} from {sign * best.value:.4g}: more"
                " than half of the gain is lost"
            )
            result.append((at, Message(record.step, "collapse", True, None, text)))
        elif inside and best.value - value < _LOST * gain:
            inside = False
            text = f"the return recovered to {found.value:.4g}"
            result.append((at, Message(record.step, "collapse", False, None, text)))
        if value > best.value:
            best = Number(value, 0.0, value - spread, value + spread)
    return result
