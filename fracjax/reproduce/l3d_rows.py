"""Rows that the decomposition experiment is made of."""

import math

import numpy as np
from jaxtyping import Array
from scipy import stats

from fracjax.reproduce.rows import Row, compare

__all__ = ["against_one_run", "bounded", "mean_interval", "rate", "spread_row"]

_LEVEL = 0.975


def mean_interval(values: Array | np.ndarray) -> tuple[float, float, float, float]:
    """Mean over runs, its standard error, and Student's interval; NaN errors for one run."""
    values = np.asarray(values, float).ravel()
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    if count < 2:
        return mean, math.nan, math.nan, math.nan
    error = float(values.std(ddof=1)) / count**0.5
    margin = float(stats.t.ppf(_LEVEL, count - 1)) * error
    return mean, error, mean - margin, mean + margin


def spread_row(system: str, quantity: str, values: Array | np.ndarray) -> Row:
    """Describe a mean over runs."""
    value, _, low, high = mean_interval(values)
    return Row(
        system,
        f"{quantity}, {np.size(values)} runs",
        value,
        low,
        high,
        math.nan,
        math.nan,
        "no reference: described, not tested",
        math.nan,
        True,
    )


def against_one_run(
    system: str, quantity: str, values: Array | np.ndarray, published: float, source: str
) -> Row:
    """Compare a mean over runs with a published number of one run.

    That run is one draw from the spread that runs here have: its uncertainty is their standard
    deviation.
    """
    values = np.asarray(values, float).ravel()
    value, error, *_ = mean_interval(values)
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    quantile = float(stats.t.ppf(_LEVEL, max(len(values) - 1, 1)))
    return compare(
        system,
        f"{quantity}, {len(values)} runs",
        (value, error),
        (published, spread, f"{source}; uncertainty: SD over the runs here"),
        quantile=quantile,
    )


def bounded(
    system: str,
    quantity: str,
    values: Array | np.ndarray,
    bound: float,
    source: str,
    *,
    below: bool = False,
) -> Row:
    """Test that the mean over runs is above (or below) a bound: the whole interval must be."""
    values = np.asarray(values, float).ravel()
    value, error, low, high = mean_interval(values)
    sign = -1 if below else 1
    holds = (high <= bound) if below else (low >= bound)
    distance = sign * (value - bound)
    z = distance / error if error > 0 else math.copysign(math.inf, distance)
    return Row(
        system,
        f"{quantity}, {len(values)} runs",
        value,
        low,
        high,
        bound,
        0.0,
        f"{'at most' if below else 'at least'}: {source}; z is the distance into it",
        z,
        bool(holds),
    )


def rate(system: str, quantity: str, successes: int, trials: int, bound: float, source: str) -> Row:
    """Test that a rate is at least a bound, by Clopper and Pearson's interval.

    The row fails where the interval lies below the bound: few runs contradict little.
    """
    successes, trials = int(successes), int(trials)
    low = float(stats.beta.ppf(1 - _LEVEL, successes, trials - successes + 1)) if successes else 0.0
    full = successes == trials
    high = 1.0 if full else float(stats.beta.ppf(_LEVEL, successes + 1, trials - successes))
    return Row(
        system,
        f"{quantity}: {successes} of {trials}",
        successes / trials,
        low,
        high,
        bound,
        0.0,
        f"at least: {source}",
        math.nan,
        bool(high >= bound),
    )
