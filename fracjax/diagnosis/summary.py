"""A diagnosis as plain numbers: what the table shows and `results.json` stores."""

import math
from typing import Any

import numpy as np

from fracjax._types import Estimate
from fracjax.diagnosis.findings import Diagnosis, DiscountDiagnosis, Prediction
from fracjax.diagnosis.outputs import one_output
from fracjax.diagnosis.plain_numbers import plain_estimate, plain_number, plain_numbers

__all__ = ["summary"]


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {name: plain_number(value) for name, value in prediction._asdict().items()}


def _optional(estimate: Estimate | None, factor: float = 1.0) -> dict[str, Any] | None:
    return None if estimate is None else plain_estimate(estimate, factor)


def _holder(estimate: Estimate) -> dict[str, Any]:
    details = estimate.details
    return {
        **plain_estimate(estimate),
        "window": plain_numbers([details["window_low"], details["window_high"]]),
        "fit_p_value": plain_number(details["fit_p_value"]),
        "misfit": plain_number(details["misfit"]),
        "at_cap": bool(details["at_cap"]),
        "difference_order": int(details["order"]),
        "jump_gap": plain_number(details["jump_gap"]),
        "noise_variogram": plain_number(details["noise_variogram"]),
        "directions_used": int(details["directions_used"]),
        "scales": plain_numbers(details["scales"]),
        "variogram": plain_numbers(details["variogram"]),
    }


def _discount(finding: DiscountDiagnosis) -> dict[str, Any]:
    return {
        "discount": finding.discount,
        "threshold_nats_per_step": -math.log(finding.discount),
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "holder": _holder(finding.holder),
        "holder_without_jumps": _optional(finding.without_jumps),
        "paper": {
            **plain_estimate(finding.paper),
            "scales": plain_numbers(finding.paper.details["scales"]),
            "variance": plain_numbers(finding.paper.details["variance"]),
        },
        "alpha_star": {
            name: plain_number(min(1.0, value))
            for name, value in finding.predictions["mean"]._asdict().items()
        },
        "predicted": {name: _prediction(p) for name, p in finding.predictions.items()},
        "agrees_with": list(finding.agrees),
        "jumps": {
            "suspects": finding.jumps.suspects,
            "confirmed": finding.jumps.confirmed,
            "lines": int(finding.jumps.lines.sum()),
            "largest": plain_number(finding.jumps.largest),
            "narrowest_cliff": plain_number(finding.jumps.narrowest),
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
    exponents = [one_output(spectrum, index) for index in range(len(spectrum.value))]
    return {
        "lyapunov": {
            "nats_per_second": [plain_estimate(exponent) for exponent in exponents],
            "nats_per_step": [plain_estimate(exponent, dt) for exponent in exponents],
            "reward_nats_per_second": _optional(chaos.reward),
            "reward_nats_per_step": _optional(chaos.reward, dt),
            "initial_states": int(chaos.growth.shape[0]),
            "failed_states": chaos.failed_states,
            "mean_steps_before_termination": chaos.steps,
            "trace_steps": plain_numbers(np.asarray(spectrum.details["trace_steps"])[0]),
            "trace_nats_per_second": plain_numbers(np.asarray(spectrum.details["trace"])[0]),
        },
        "by_discount": [_discount(finding) for finding in diagnosis.by_discount],
        "return": plain_numbers(diagnosis.value),
        "noise_variance": plain_numbers(diagnosis.noise_variance),
        "smooth_below": plain_number(diagnosis.smooth_below),
        "points": diagnosis.num_points,
        "nonfinite_points": diagnosis.nonfinite_points,
    }
