"""Predictions from chaos, and the verdict."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Estimate, Status
from fracjax.diagnosis.findings import Chaos, Prediction, Verdict
from fracjax.diagnosis.outputs import one_output
from fracjax.diagnosis.shown_numbers import CAP, is_at_least
from fracjax.estimators.chaos.ensembles import second_moment_exponent, worst_finite_time_exponent
from fracjax.estimators.roughness.jumps import Jumps

__all__ = ["agrees", "judge", "predict", "predictions"]

_JUMPY_SHARE = 1 / 16


def predict(discount: float, low: float, value: float, high: float) -> Prediction:
    """Predict the Hölder exponent -ln γ / λ from an exponent and its interval.

    Args:
        discount: γ in (0, 1).
        low: Lower end of λ, nats per step.
        value: λ.
        high: Upper end of λ.

    Returns:
        Prediction capped at 2, the most that second differences see; 2 for λ ≤ 0.

    Example:
        >>> from fracjax import diagnosis
        >>> prediction = diagnosis.predict(0.99, 0.0235, 0.0258, 0.0281)
        >>> f"{prediction.value:.2f} [{prediction.low:.2f}, {prediction.high:.2f}]"
        '0.39 [0.36, 0.43]'
        >>> diagnosis.predict(0.9, 0.0235, 0.0258, 0.0281).value
        2.0
    """
    rate = -math.log(discount)

    def alpha(exponent: float) -> float:
        if math.isnan(exponent):
            return math.nan
        return min(2.0, rate / exponent) if exponent > 0 else 2.0

    return Prediction(alpha(value), alpha(high), alpha(low))


def predictions(chaos: Chaos, discount: float, dt: float) -> dict[str, Prediction]:
    """Predict from the mean, the second moment and the worst finite-time exponent.

    The last two look at windows of the discount's memory, 1/(1-γ) steps, or of what half
    of the episodes survive, if that is shorter.
    """
    growth, alive = jnp.asarray(chaos.growth), jnp.asarray(chaos.alive)
    longest = min(growth.shape[1] // 2, int(np.median(chaos.alive.sum(axis=1))))
    window = int(np.clip(round(1 / (1 - discount)), 1, max(1, longest)))
    second = jax.jit(lambda g: second_moment_exponent(g, window, alive=alive))(growth)
    worst = jax.jit(lambda g: worst_finite_time_exponent(g, window, alive=alive))(growth)
    mean = one_output(chaos.spectrum, 0)
    exponents = {
        "mean": (float(mean.low) * dt, float(mean.value) * dt, float(mean.high) * dt),
        "second moment": (float(second.low), float(second.value), float(second.high)),
        "worst": (float(worst.low), float(worst.value), float(worst.high)),
    }
    return {name: predict(discount, *interval) for name, interval in exponents.items()}


def agrees(prediction: Prediction, measured: Estimate) -> bool:
    """Whether the intervals meet, both capped at 1: beyond it theory promises no more."""
    ends = float(measured.low), float(measured.high), prediction.low, prediction.high
    if not all(math.isfinite(end) for end in ends):
        return False
    low, high = min(1.0, ends[0]), min(1.0, ends[1])
    return min(1.0, prediction.low) <= high and low <= min(1.0, prediction.high)


def judge(
    measured: Estimate,
    jumps: Jumps,
    without_jumps: Estimate | None,
    prediction: Prediction,
    *,
    horizon_too_short: bool,
    terminates: bool = False,
) -> tuple[Verdict, str]:
    """Turn one discount's measurements into a verdict and its reason.

    Args:
        measured: Hölder exponent.
        jumps: Jumps found along its lines.
        without_jumps: Exponent without the lines that hold jumps.
        prediction: Exponent predicted from the mean Lyapunov exponent.
        horizon_too_short: Whether e^{-λT} reaches the measured scales, so that the
            finite horizon smooths what is measured.
        terminates: Whether episodes end before the horizon. A return that gains or loses a
            whole step jumps.
    """
    status = Status(int(measured.status))
    jumpy = jumps.lines.mean() >= _JUMPY_SHARE
    share = f"{int(jumps.lines.sum())} of {len(jumps.lines)} lines hold a confirmed jump"
    if terminates:
        share += " (episodes end early here: a return that gains or loses a step jumps)"
    if jumpy and status in (Status.OK, Status.NO_SCALING_REGION, Status.NOT_CONVERGED):
        rest = without_jumps
        if rest is None or Status(int(rest.status)) != Status.OK:
            return Verdict.DISCONTINUOUS, share
        if float(rest.high) < 1:
            return Verdict.FRACTAL, f"{share}; without them the exponent is still {rest}"
        return Verdict.DISCONTINUOUS, f"{share}; without them the exponent is {_said(rest)}"
    if status != Status.OK:
        reasons = {
            Status.DIVERGED: "no line has finite returns",
            Status.TOO_FEW_POINTS: "too few lines have finite returns",
            Status.AT_NOISE_FLOOR: "rounding noise hides the landscape at these scales",
            Status.NO_SCALING_REGION: "no range of scales follows a power law",
            Status.NOT_CONVERGED: "too few of the lines carry the estimate" + _cliffs(jumps),
        }
        return Verdict.UNDECIDED, reasons.get(status, status.label)
    where = _window(measured)
    if float(measured.high) < 1:
        reason = f"the exponent {measured} is below 1{where}"
        if prediction.low >= 1:
            reason += ", though the mean exponent predicts a smooth one" + _cliffs(jumps)
        return Verdict.FRACTAL, reason
    if float(measured.low) > 1:
        if horizon_too_short and prediction.high < 1:
            return Verdict.UNDECIDED, (
                "smooth at the measured scales, but the horizon is too short: e^{-λT} reaches"
                f" them, and λ predicts {prediction.value:.2f}"
            )
        if _said(measured) != str(measured):
            return Verdict.SMOOTH, f"the exponent is {_said(measured)}, above 1{where}"
        return Verdict.SMOOTH, f"the exponent {measured} is above 1{where}"
    return Verdict.UNDECIDED, f"the exponent's interval {measured} straddles 1{where}"


def _said(exponent: Estimate) -> str:
    """Say an exponent, or that its estimator saw no more."""
    cap = float(exponent.details.get("order", CAP))
    return f"at least {cap:g}" if is_at_least(float(exponent.low), cap) else str(exponent)


def _cliffs(jumps: Jumps) -> str:
    """Mention steep stretches that were walked up to and found continuous."""
    count = jumps.suspects - jumps.confirmed
    return f": cliffs as narrow as {jumps.narrowest:.1g}" if count else ""


def _window(measured: Estimate) -> str:
    """Say between which scales an exponent holds."""
    if "window_low" not in measured.details:
        return ""
    low, high = (float(measured.details[name]) for name in ("window_low", "window_high"))
    return f" between the scales {low:.1g} and {high:.1g}"
