"""Growth of tangents and rewards from a few initial states, turned into numbers."""

import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array
from scipy.special import stdtrit

from fracjax._types import Estimate, Status
from fracjax.diagnosis.findings import Prediction, Problem
from fracjax.diagnosis.verdict import predict
from fracjax.diagnosis.watching.records import Number
from fracjax.estimators.chaos.ensembles import (
    ensemble_exponent,
    second_moment_exponent,
    worst_finite_time_exponent,
)

__all__ = ["Growth", "Sample", "growth_numbers", "mean_return"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the compiled programs returned."""

    growth: np.ndarray
    alive: np.ndarray
    rewards: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Growth:
    """Exponents of growth, per step but for the first."""

    exponent: Estimate | None
    rates: tuple[tuple[Estimate, Estimate], ...] = ()
    dt: float = 1.0

    def predictions(self, index: int, discount: float) -> dict[str, Prediction]:
        """Predict the Hölder exponent at one discount."""
        if self.exponent is None:
            return {}
        mean = self.exponent
        ends = (float(mean.low), float(mean.value), float(mean.high))
        found = {"mean": predict(discount, *(end * self.dt for end in ends))}
        for name, rate in zip(("second moment", "worst"), self.rates[index], strict=True):
            found[name] = predict(discount, float(rate.low), float(rate.value), float(rate.high))
        return found


@functools.partial(
    jax.jit,
    static_argnames=("windows",),
    compiler_options={"xla_backend_optimization_level": 0},
)
def _exponents(growth: Array, alive: Array, dt: Array, *, windows: tuple[int, ...]) -> Any:
    """Mean, and by discount second-moment and worst finite-time exponents."""
    by_window = {
        window: (
            second_moment_exponent(growth, window, alive=alive),
            worst_finite_time_exponent(growth, window, alive=alive),
        )
        for window in sorted(set(windows))
    }
    mean = ensemble_exponent(growth, dt=dt, alive=alive)
    return dataclasses.replace(mean, details={}), tuple(by_window[w] for w in windows)


def growth_numbers(sample: Sample, problem: Problem, num_states: int) -> Growth:
    """Exponents from one program for all sizes: states not run count as never alive."""
    if problem.step_at is None:
        return Growth(None)
    missing = num_states - len(sample.growth)
    growth = np.pad(sample.growth, ((0, missing), (0, 0)), constant_values=np.nan)
    alive = np.pad(sample.alive, ((0, missing), (0, 0)), constant_values=False)
    longest = max(1, growth.shape[1] // 2)
    windows = tuple(
        int(np.clip(round(1 / max(1 - discount, 1e-12)), 1, longest))
        for discount in problem.discounts
    )
    dt = np.asarray(problem.dt, growth.dtype)
    mean, rates = jax.tree.map(np.asarray, _exponents(growth, alive, dt, windows=windows))
    return Growth(mean, rates=rates, dt=problem.dt)


def mean_return(sample: Sample, discount: float, centre: float | np.floating) -> Number:
    """Discounted return with its interval over initial states; else the value without one."""
    if sample.rewards is None:
        value = float(centre)
        status = Status.OK if math.isfinite(value) else Status.DIVERGED
        return Number(value, math.nan, math.nan, math.nan, status.label)
    weights = discount ** np.arange(sample.rewards.shape[1])
    each = np.asarray(sample.rewards, float) @ weights
    if not np.isfinite(each).all():
        return Number.unknown(Status.DIVERGED)
    stderr = float(each.std(ddof=1) / math.sqrt(len(each)))
    margin = float(stdtrit(len(each) - 1, 0.975)) * stderr
    mean = float(each.mean())
    return Number(mean, stderr, mean - margin, mean + margin)
