"""Rows that the decomposition experiment is made of."""

import math

import numpy as np
from jaxtyping import Array
from scipy import stats

from fracjax.reproduce.comparisons import mean_of
from fracjax.reproduce.rows import Row, compare, describe

__all__ = ["against_one_run", "bounded", "rate", "spread_row"]

_LEVEL = 0.975


def spread_row(system: str, quantity: str, values: Array | np.ndarray) -> Row:
    """Describe a mean over runs."""
    return describe(system, f"{quantity}, {len(values)} runs", mean_of(values))


def against_one_run(
    system: str, quantity: str, values: Array | np.ndarray, published: float, source: str
) -> Row:
    """Compare a mean over runs with a published number of one run.

    That run is one draw from the spread that runs here have: its uncertainty is their standard
    deviation, taken as known. A few runs do not know it well, so that the row is strict.
    """
    found = mean_of(values)
    spread = found.error * len(values) ** 0.5
    return compare(
        system,
        f"{quantity}, {len(values)} runs",
        found,
        (published, spread, f"{source}; uncertainty: SD over the runs here"),
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
    found = mean_of(values)
    low, high = found.value - found.margin, found.value + found.margin
    holds = (high <= bound) if below else (low >= bound)
    distance = (bound - found.value) if below else (found.value - bound)
    z = distance / found.error if found.error > 0 else math.copysign(math.inf, distance)
    return Row(
        system,
        f"{quantity}, {len(values)} runs",
        found.value,
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
