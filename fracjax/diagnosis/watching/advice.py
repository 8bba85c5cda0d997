"""What to try where the landscape is rough, with the numbers put in."""

import dataclasses
import math

import numpy as np

from fracjax.diagnosis.findings import Verdict
from fracjax.diagnosis.verdict import predict
from fracjax.diagnosis.watching.alarms import is_fractal
from fracjax.diagnosis.watching.records import DiscountRecord, Record

__all__ = ["Advice", "advise", "smooth_discount", "smooth_horizon", "smoothing_scale"]


@dataclasses.dataclass(frozen=True)
class Advice:
    """One thing to try.

    Attributes:
        name: What.
        value: How much, in the unit that `reason` names, or `None` where no number follows.
        reason: Why so much.
        use: Function or command.
    """

    name: str
    value: float | None
    reason: str
    use: str


def smooth_discount(rate: float, *, holder: float = math.inf, discount: float = 0.0) -> float:
    """Largest γ at which the law predicts an exponent of at least 1: e^{-λ}.

    Where the measured exponent α at a discount is below its prediction, as with growth that
    varies along the orbit, the law is taken to hold with the growth rate -ln γ/α that was
    measured, which gives γ^{1/α}, and the smaller of the two counts.

    Args:
        rate: λ in nats per step, positive.
        holder: Measured exponent, if any.
        discount: The discount it was measured at.
    """
    found = math.exp(-rate)
    if 0 < holder < 1 and 0 < discount < 1:
        found = min(found, discount ** (1 / holder))
    # Rounding of exp may leave the prediction a hair below 1.
    while found > 0 and predict(found, rate, rate, rate).value < 1:
        found = math.nextafter(found, 0.0)
    return found


def smooth_horizon(rate: float, ratio: float) -> int:
    """Longest horizon that leaves the return smooth below 1/ratio of the outer scale.

    A change δ grows to δ e^{λT} over T steps and saturates at the outer scale L: below
    L e^{-λT} nothing is rough. So T* = ln(ratio)/λ, rounded down, at least 1.

    Args:
        rate: λ in nats per step, positive.
        ratio: L over the scale to be smooth at, above 1.
    """
    return max(1, math.floor(math.log(ratio) / rate))


def smoothing_scale(found: DiscountRecord, tolerance: float) -> float:
    """Largest measured scale over which the return typically changes by less than `tolerance`.

    Mollifying with it removes what is rough below and moves the return by about as much. NaN
    where even the smallest scale changes it by more.
    """
    fitting = [scale for scale in found.scales if found.variation(scale) <= tolerance]
    return max(fitting, default=math.nan)


def advise(record: Record, *, index: int = 0) -> list[Advice]:
    """Recommend what to try at one record; nothing where its landscape is not rough.

    Every remedy is tried out by `fracjax reproduce remedies`. Discount and horizon help
    against chaos and not against jumps, whose exponent does not move with γ.

    Args:
        record: What was found.
        index: Which discount, the first by default.
    """
    found = record.by_discount[index]
    if found.holder.status == "at_noise_floor":
        reason = "rounding hides the landscape: measure in double precision or at larger scales"
        return [Advice("measure above the noise", None, reason, "--dtype float64")]
    fractal = bool(is_fractal(found))
    if not fractal and found.verdict != Verdict.DISCONTINUOUS:
        return []
    rate = record.rate.value
    chaotic = math.isfinite(rate) and rate > 0
    result = []
    if fractal and chaotic and 0 < found.discount < 1:
        result += [_discount(found, rate), _horizon(record, found, rate)]
    result.append(_parameters(record, found))
    if math.isfinite(rate):  # there is a closed loop
        result.append(_actions(rate))
    if fractal and chaotic and 0 < found.discount < 1:
        result.append(_penalty(found, rate))
    return result


def _discount(found: DiscountRecord, rate: float) -> Advice:
    gamma = smooth_discount(rate, holder=found.holder.value, discount=found.discount)
    parts = [f"e^-λ = {math.exp(-rate):.4g} with λ = {rate:.3g} nats per step"]
    if gamma < math.exp(-rate):
        parts.append(
            f"γ^(1/α) = {found.discount ** (1 / found.holder.value):.4g} with the measured"
            f" α = {found.holder.value:.2f}"
        )
    reason = f"γ below {' and '.join(parts)}: then -ln γ exceeds the growth and α reaches 1"
    return Advice("lower the discount", gamma, reason, "fracjax train --discount")


def _horizon(record: Record, found: DiscountRecord, rate: float) -> Advice:
    scale = found.scales[-1] if found.scales else record.parameter_size / 10
    ratio = max(record.parameter_size / scale, math.e)
    steps = smooth_horizon(rate, ratio)
    reason = (
        f"steps: ln({ratio:.3g})/λ with λ = {rate:.3g} nats per step; shorter returns are smooth"
        f" below {scale:.2g}, the largest scale looked at"
    )
    return Advice("shorten the horizon", float(steps), reason, "fracjax train --episode-length")


def _parameters(record: Record, found: DiscountRecord) -> Advice:
    value = found.value
    width = (value.high - value.low) / 2
    tolerance = width if math.isfinite(width) and width > 0 else 0.0
    what = "its interval over initial states"
    if tolerance == 0.0:
        tolerance = 0.1 * found.variation(found.scales[-1]) if found.scales else math.nan
        what = "a tenth of its variation over the largest scale"
    sigma = smoothing_scale(found, tolerance)
    use = "smoothed_objective (Gaussian smoothing of the parameters)"
    if not math.isfinite(sigma):
        smallest = found.scales[0] if found.scales else math.nan
        reason = (
            f"even over {smallest:.2g}, the smallest scale looked at, the return changes by more"
            f" than {what} ({tolerance:.2g}): smoothing costs accuracy at any scale"
        )
        return Advice("smooth the parameters", None, reason, use)
    reason = (
        f"σ, root mean square per parameter: the largest scale over which the return changes by"
        f" less than {what} ({found.variation(sigma):.2g} against {tolerance:.2g})"
    )
    if math.isfinite(record.moved):
        reason += f"; training moved by {record.moved:.2g} since the record before"
    return Advice("smooth the parameters", sigma, reason, use)


def _actions(rate: float) -> Advice:
    use = "smoothed_actions (a wrapper of the environment)"
    steps = 1 / rate if rate > 0 else math.nan
    if not math.isfinite(steps):
        reason = "an average over past actions cannot answer a jump of the policy within one step"
        return Advice("smooth the actions", None, reason, use)
    reason = (
        "steps of the average to start from: 1/λ, the time over which a perturbation grows"
        " e-fold; no theory says that it is enough"
    )
    return Advice("smooth the actions", float(np.ceil(steps)), reason, use)


def _penalty(found: DiscountRecord, rate: float) -> Advice:
    reason = (
        f"nats per step: -ln γ at γ = {found.discount:g}, the largest exponent with a gradient;"
        f" it is {rate:.3g} now"
    )
    return Advice("penalise the exponent", found.threshold, reason, "exponent_penalty (target)")
