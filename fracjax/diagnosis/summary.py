"""A diagnosis as plain numbers: what the table shows and `results.json` stores."""

import math
from typing import Any

import numpy as np

from fracjax._types import Estimate, Status
from fracjax.diagnosis.findings import Diagnosis, DiscountDiagnosis, Prediction

__all__ = ["summary"]


def _number(value: Any) -> float | None:
    """Give JSON null for what is not finite: JSON has no NaN."""
    value = float(value)
    return value if math.isfinite(value) else None


def _numbers(values: Any) -> list[float | None]:
    return [_number(value) for value in np.ravel(np.asarray(values, float))]


def _estimate(estimate: Estimate, factor: float = 1.0) -> dict[str, Any]:
    return {
        "value": _number(factor * float(estimate.value)),
        "stderr": _number(factor * float(estimate.stderr)),
        "low": _number(factor * float(estimate.low)),
        "high": _number(factor * float(estimate.high)),
        "status": Status(int(estimate.status)).label,
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {name: _number(value) for name, value in prediction._asdict().items()}


def _holder(estimate: Estimate) -> dict[str, Any]:
    details = estimate.details
    return {
        **_estimate(estimate),
        "window": _numbers([details["window_low"], details["window_high"]]),
        "fit_p_value": _number(details["fit_p_value"]),
        "misfit": _number(details["misfit"]),
        "at_cap": bool(details["at_cap"]),
        "difference_order": int(details["order"]),
        "jump_gap": _number(details["jump_gap"]),
        "noise_variogram": _number(details["noise_variogram"]),
        "directions_used": int(details["directions_used"]),
        "scales": _numbers(details["scales"]),
        "variogram": _numbers(details["variogram"]),
    }


def _discount(finding: DiscountDiagnosis) -> dict[str, Any]:
    rest = finding.without_jumps
    return {
        "discount": finding.discount,
        "threshold_nats_per_step": -math.log(finding.discount),
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "holder": _holder(finding.holder),
        "holder_without_jumps": None if rest is None else _estimate(rest),
        "paper": {
            **_estimate(finding.paper),
            "scales": _numbers(finding.paper.details["scales"]),
            "variance": _numbers(finding.paper.details["variance"]),
        },
        "alpha_star": {
            name: _number(min(1.0, value))
            for name, value in finding.predictions["mean"]._asdict().items()
        },
        "predicted": {name: _prediction(p) for name, p in finding.predictions.items()},
        "agrees_with": list(finding.agrees),
        "jumps": {
            "suspects": finding.jumps.suspects,
            "confirmed": finding.jumps.confirmed,
            "lines": int(finding.jumps.lines.sum()),
            "largest": _number(finding.jumps.largest),
            "narrowest_cliff": _number(finding.jumps.narrowest),
        },
    }


def summary(diagnosis: Diagnosis, *, dt: float) -> dict[str, Any]:
    """Collect the numbers of a diagnosis, without the pictures' arrays.

    Args:
        diagnosis: The result of `diagnose`.
        dt: Seconds per step, to give exponents per step as well.

    Returns:
        A dictionary that JSON can hold; what is not finite is null.
    """
    chaos = diagnosis.chaos
    spectrum = chaos.spectrum
    count = spectrum.value.shape[0]
    exponents = [
        Estimate(*(np.asarray(getattr(spectrum, name))[i] for name in _FIELDS))
        for i in range(count)
    ]
    return {
        "lyapunov": {
            "nats_per_second": [_estimate(exponent) for exponent in exponents],
            "nats_per_step": [_estimate(exponent, dt) for exponent in exponents],
            "reward_nats_per_second": None if chaos.reward is None else _estimate(chaos.reward),
            "reward_nats_per_step": None if chaos.reward is None else _estimate(chaos.reward, dt),
            "initial_states": int(chaos.growth.shape[0]),
            "failed_states": chaos.failed_states,
            "mean_steps_before_termination": chaos.steps,
            "trace_steps": _numbers(np.asarray(spectrum.details["trace_steps"])[0]),
            "trace_nats_per_second": _numbers(np.asarray(spectrum.details["trace"])[0]),
        },
        "by_discount": [_discount(finding) for finding in diagnosis.by_discount],
        "return": _numbers(diagnosis.value),
        "noise_variance": _numbers(diagnosis.noise_variance),
        "smooth_below": _number(diagnosis.smooth_below),
        "points": diagnosis.num_points,
        "nonfinite_points": diagnosis.nonfinite_points,
    }


_FIELDS = ("value", "stderr", "low", "high", "status")
