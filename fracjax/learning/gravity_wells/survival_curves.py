"""Times to an event of which some are censored: survival curves and quantiles with intervals.

A mean of censored times is not a number: it depends on when one stopped to look.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fracjax._types import Estimate, Status
from fracjax.learning.share_intervals import wilson_interval

__all__ = ["survival_curve", "survival_quantile"]

_NORMAL = 1.959964
_Times = Float[Array | np.ndarray, " n"] | Int[Array | np.ndarray, " n"]


def survival_curve(
    times: _Times,
    observed: Bool[Array | np.ndarray, " n"],
    at: Float[Array | np.ndarray, " points"] | Int[Array | np.ndarray, " points"],
) -> Estimate:
    """Kaplan and Meier's estimate of P(T > t), with Rothman's intervals.

    The variance is Greenwood's; intervals are Wilson's with the number of independent cases that
    has this variance, so that they stay inside [0, 1] and do not shrink to a point where nothing
    has happened yet or everything has. Without censoring that number is n and the intervals are
    Wilson's exactly. Beyond the last time, if that is censored, nothing is known: NaN and
    `TOO_FEW_POINTS`.

    Measured coverage of nominal 95 % with exponential times of which a third is censored, 2000
    seeds: of 60 times .98 at P = .99, .95 at .9 to .37, .93 at .14; of 20 times .98 to .94, and
    .93 at .14 where the curve still is known. The value is unbiased within .003.

    Args:
        times: Of the event, or until when one looked; independent of each other.
        observed: Whether the event was seen. Censoring must not depend on what would have
            followed; one limit for all is fine.
        at: Where the curve is wanted.

    Returns:
        Values at `at`. `details["at_risk"]` is how many are still waiting after each t (T > t,
        or censored at or after t).

    Raises:
        ValueError: If shapes differ or there is no time.

    References:
        Kaplan and Meier (1958), https://doi.org/10.1080/01621459.1958.10501452;
        Rothman (1978), https://doi.org/10.1016/0021-9681(78)90043-7.
    """
    times, observed = _checked(times, observed)
    return _estimated_curve(times, observed, jnp.asarray(at, times.dtype))


@jax.jit
def _estimated_curve(
    times: Float[Array, " n"], observed: Bool[Array, " n"], at: Float[Array, " points"]
) -> Estimate:
    survival, cases, remaining, known, finite = _curve(times, observed, at)
    low, high = wilson_interval(survival, cases)
    error = jnp.sqrt(survival * (1 - survival) / cases)
    status = jnp.where(known, int(Status.OK), int(Status.TOO_FEW_POINTS))
    status = jnp.where(finite, status, int(Status.DIVERGED))
    good = status == int(Status.OK)
    survival, error, low, high = (
        jnp.where(good, part, jnp.nan) for part in (survival, error, low, high)
    )
    return Estimate(survival, error, low, high, status, {"at_risk": remaining})


def survival_quantile(
    times: _Times,
    observed: Bool[Array | np.ndarray, " n"],
    share: float | Float[Array, ""] = 0.5,
) -> Estimate:
    """Smallest time by which the event has happened to a share of cases, with its interval.

    The interval holds the times at which that of the survival curve holds 1 - `share` (after
    Brookmeyer and Crowley). Measured coverage as in `survival_curve`: .93 to .96 for quartile,
    median and .8 quantile of 20, 60 and 300 times. It is conservative where times have ties.

    Args:
        times: See `survival_curve`.
        observed: See `survival_curve`.
        share: Which quantile: .5 for the median.

    Returns:
        `NOT_CONVERGED` with a value of NaN where the curve does not come down so far before
        censoring; `low` then still is a bound, and `high` infinite. The standard error is a
        quarter of the interval's length, about; infinite where there is no upper end.

    Raises:
        ValueError: If shapes differ, there is no time, or `share` is not inside (0, 1).
    """
    if isinstance(share, int | float) and not 0 < share < 1:
        msg = f"Argument `share` must lie inside (0, 1), but is {share}."
        raise ValueError(msg)
    times, observed = _checked(times, observed)
    return _estimated_quantile(times, observed, jnp.asarray(share, times.dtype))


@jax.jit
def _estimated_quantile(
    times: Float[Array, " n"], observed: Bool[Array, " n"], share: Float[Array, ""]
) -> Estimate:
    ordered = jnp.sort(times)
    survival, cases, _, known, finite = _curve(times, observed, ordered)
    low, high = wilson_interval(survival, cases)

    def crossing(curve: Array) -> Array:
        below = known & (curve <= 1 - share + 1e-6)
        return jnp.where(below.any(), ordered[jnp.argmax(below)], jnp.inf)

    value, start, stop = (crossing(curve) for curve in (survival, low, high))
    start = jnp.minimum(start, ordered[-1])  # it waited at least so long
    error = (stop - start) / (2 * _NORMAL)
    reached = jnp.isfinite(value)
    status = jnp.where(reached, int(Status.OK), int(Status.NOT_CONVERGED))
    status = jnp.where(finite, status, int(Status.DIVERGED))
    error, start, stop = (jnp.where(finite, part, jnp.nan) for part in (error, start, stop))
    value = jnp.where(reached & finite, value, jnp.nan)
    return Estimate(value, error, start, stop, status, {"num_cases": jnp.asarray(times.size)})


def _checked(
    times: _Times, observed: Bool[Array | np.ndarray, " n"]
) -> tuple[Float[Array, " n"], Bool[Array, " n"]]:
    """Times as floats; ValueError unless there is one flag for each of them."""
    times, observed = jnp.asarray(times), jnp.asarray(observed)
    if times.shape != observed.shape or times.ndim != 1 or times.size == 0:
        msg = (
            "Argument `times` must have the shape of `observed`, (n,) with at least one, but has"
            f" {times.shape} and {observed.shape}."
        )
        raise ValueError(msg)
    whole = times.dtype.kind in "iu"
    return times.astype(jnp.result_type(float)) if whole else times, observed


def _curve(
    times: Float[Array, " n"], observed: Bool[Array, " n"], points: Float[Array, " points"]
) -> tuple[Array, Array, Array, Array, Array]:
    """S at points, the number of cases it is worth, how many remain, and whether it is known."""
    finite = jnp.isfinite(times).all()
    count = times.size
    # Events before censorings of the same time: those were still there when it happened.
    order = jnp.lexsort((~observed, times))
    times, happened = times[order], observed[order].astype(times.dtype)
    waiting = count - jnp.arange(count, dtype=times.dtype)
    factor = jnp.log1p(-happened / waiting)  # -inf at the last case
    term = happened / (waiting * jnp.maximum(waiting - happened, 1))
    logs, greenwood, events, censorings = (
        jnp.concatenate([jnp.zeros(1, times.dtype), jnp.cumsum(part)])
        for part in (factor, term, happened, 1 - happened)
    )
    upto = jnp.searchsorted(times, points, side="right")
    before = jnp.searchsorted(times, points, side="left")
    survival = jnp.exp(logs[upto])
    # Whoever is censored at a point was still waiting there.
    remaining = count - events[upto] - censorings[before]
    cases = (1 - survival) / jnp.maximum(survival * greenwood[upto], jnp.finfo(times.dtype).tiny)
    # Before the first event those who remain are what it is known from; after the last, all
    # that were there until their end.
    cases = jnp.where(survival >= 1, jnp.maximum(remaining, 1), cases)
    whole = jnp.where(censorings[before] > 0, jnp.sum(happened), count)
    cases = jnp.where(survival <= 0, whole, cases)
    known = (points <= times[-1]) | (survival <= 0)
    return survival, cases, remaining.astype(jnp.int32), known, finite
