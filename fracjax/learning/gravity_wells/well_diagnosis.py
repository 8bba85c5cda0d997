"""Was a run in a well? Gradient norms, gaps, and the law by which plateaus end."""

import dataclasses
import enum
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fracjax._types import Estimate, Leaf, Status
from fracjax.estimators.settings import check_at_least
from fracjax.learning.gravity_wells.escape_laws import escape_lower_bound
from fracjax.learning.gravity_wells.escapes import GAP_SHARE
from fracjax.learning.gravity_wells.inverse_rates import inverse_rate_forecast

__all__ = ["Well", "WellDiagnosis", "diagnose_well"]

_FEWEST = 8
_SHORTEST = 3  # records of a plateau
_CLOSED = 0.1  # of the reference gap: has converged
_Series = Float[Array | np.ndarray, " n"]


class Well(enum.IntEnum):
    """What a run went through.

    Attributes:
        UNDECIDED: The records do not tell; `WellDiagnosis.status` says why.
        NEVER: No plateau, and the gap is not closed at the end.
        ESCAPED: The gap stayed large while the gradient was small, and closed by a tenth later.
        INSIDE: The same, and the run ended there: its duration is censored.
        CONVERGED: No well, and the gap is closed at the end. That the gradient is small there too
            does not make it one.
        STALLED: The gap stayed large to the end while the gradient was not small: noise,
            oscillation or a step size, not flatness.
    """

    UNDECIDED = 0
    NEVER = 1
    ESCAPED = 2
    INSIDE = 3
    CONVERGED = 4
    STALLED = 5

    @property
    def label(self) -> str:
        """Lower-case name."""
        return self.name.lower()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WellDiagnosis:
    """What was found of one run.

    Attributes:
        verdict: Code of `Well`.
        entered: Step of the first record of the longest plateau; NaN without one.
        left: Step of the first record after it; that of the last record where it lasts.
        duration: Steps on the plateau. The interval is what the spacing of the records leaves
            open, and no statistical one; `NOT_CONVERGED`, NaN, with the time so far as lower end,
            where the run ended inside.
        flatness: Median gradient norm on the plateau over the reference gradient.
        forecast: Step at which the plateau ends, extrapolated from gradient norms by
            `inverse_rate_forecast`: from the first half of a plateau that ended, so that it can
            be compared with `left`, and from all of one that lasts. `AT_NOISE_FLOOR` where a
            norm that it needs is not longer than its noise.
        law: The same from the best action's probability, the gap and the step size at the last
            record that the forecast used: c (1 - 10 x)/(η Δ x) later with c from ½ to 1, which is
            the interval; None without them.
        status: `OK`; `DIVERGED` if a number is not finite, `TOO_FEW_POINTS` below 8 records,
            `NO_SCALING_REGION` if steps do not rise, or if a scale is missing without which the
            records do not tell, `AT_NOISE_FLOOR` if the gradient is not seen above its noise.
    """

    verdict: Leaf
    entered: Leaf
    left: Leaf
    duration: Estimate
    flatness: Leaf
    forecast: Estimate
    law: Estimate | None
    status: Leaf


def diagnose_well(
    steps: Int[Array | np.ndarray, " n"] | _Series,
    gradient_norms: _Series,
    gaps: _Series,
    *,
    best_probabilities: _Series | None = None,
    step_size: float | Float[Array, ""] | None = None,
    reference_gap: float | Float[Array, ""] | None = None,
    reference_gradient: float | Float[Array, ""] | None = None,
    gradient_noise: float | Float[Array, ""] = 0.0,
    flat_share: float = 0.3,
    smoothing: int = 1,
) -> WellDiagnosis:
    """Say whether a run was in a well, for how long, and when it was to be expected to leave.

    A plateau is the longest stretch of records whose gap is at least .9 of the reference gap. It
    is a well if the median gradient norm on it is at most `flat_share` of the reference gradient:

    - the reference gap is how far from the best return a run without any success is. Without it
      the largest gap of the run stands in, and a run whose gap never falls by a tenth cannot be
      told from one that has converged: undecided;
    - the reference gradient is the larger of the largest norm along the run and, with
      `step_size`, √(Δ/(η N)), a gradient that would close the gap Δ by ascent within the N steps
      of the run; √.1 ≈ .3 of it closes a tenth. Without a step size a run that ended on its
      plateau with a gradient that hardly changed is undecided.

    The norm of an estimate of a gradient is too long by its noise: |g|² + tr Σ. Give the root of
    tr Σ as `gradient_noise`, and it is taken off; else noise hides flatness: a well then passes
    for `STALLED`, or, once it is left, for `CONVERGED` or `NEVER`, and not the reverse.

    Measured on a softmax well of 2502 updates, 200 records, noise of the gaps a fortieth of Δ, 200
    seeds: the verdict is right in all runs with gradient noise from none to 3.5 times the
    gradient in the well; with 35 times all wells are undecided. Forecasts at half time with noise
    of a tenth: mean 2505, interval right in 94 %; after 1990 updates in 88 %, since the line ends
    8 updates late.

    `law` is that of softmax logits with equal rewards of other actions, see `escape_laws`; for
    other parametrisations and for unequal rewards it is a comparison and no prediction.

    Do not use it on training losses of supervised networks whose best loss is unknown, and not
    with Adam's step size: Adam divides by the size of the gradient, and leaves flat regions
    faster than by η times the gradient.

    Args:
        steps: Of the records, rising.
        gradient_norms: ‖∇J‖ at them.
        gaps: Best return less return.
        best_probabilities: Probability of the best action, see `run_series`.
        step_size: η of gradient ascent; in a state of an MDP the effective step.
        reference_gap: Δ.
        reference_gradient: What a gradient that is not small measures, instead of the rule above.
        gradient_noise: Root mean square length of the gradient's noise.
        flat_share: Largest share of the reference gradient that counts as flat.
        smoothing: Odd number of records over which gaps and norms are replaced by their median,
            for noisy ones; a gap that dips below .9 for one record ends a plateau.

    Returns:
        The verdict and the numbers behind it.

    Raises:
        ValueError: If shapes differ or a setting is out of range.

    References:
        Mei et al. (2020), Escaping the Gravitational Pull of Softmax, NeurIPS.
    """
    _check(steps, gradient_norms, gaps, best_probabilities, flat_share, smoothing)
    dtype = jnp.result_type(jnp.asarray(gradient_norms), jnp.asarray(gaps))
    series = (steps, gradient_norms, gaps, best_probabilities)
    scales = (step_size, reference_gap, reference_gradient, gradient_noise, flat_share)
    # One program for all runs of a shape; what was not given is no argument of it.
    numbers = jax.tree.map(lambda part: jnp.asarray(part, dtype), (series, scales))
    return _diagnose(*numbers, smoothing=smoothing)


@functools.partial(jax.jit, static_argnames="smoothing")
def _diagnose(
    series: tuple[Array, Array, Array, Array | None],
    scales: tuple[Array | None, Array | None, Array | None, Array, Array],
    *,
    smoothing: int,
) -> WellDiagnosis:
    times, norms, gaps, own = series
    step_size, reference_gap, reference_gradient, noise, flat_share = scales
    count, dtype = times.size, norms.dtype
    finite = jnp.isfinite(times).all() & jnp.isfinite(norms).all() & jnp.isfinite(gaps).all()
    if own is not None:
        finite &= jnp.isfinite(own).all()
    single = jnp.sqrt(jnp.maximum(norms**2 - noise**2, 0))  # smoothed ones are not independent
    norms, gaps = _median(norms, smoothing), _median(gaps, smoothing)
    norms = jnp.sqrt(jnp.maximum(norms**2 - noise**2, 0))

    span = jnp.max(gaps) if reference_gap is None else reference_gap
    first, last, lasts = _longest(gaps >= GAP_SHARE * span, times)
    index = jnp.arange(count)
    on_it = (index >= first) & (index <= last)
    found = (last - first + 1 >= _SHORTEST) & (last >= first)
    typical = _masked_median(norms, on_it)
    wanted = jnp.max(norms)
    if step_size is not None:
        length = jnp.maximum(times[-1] - times[0], 1)
        wanted = jnp.maximum(wanted, jnp.sqrt(span / (step_size * length)))
    if reference_gradient is not None:
        wanted = reference_gradient
    flatness = typical / wanted
    flat = flatness <= flat_share
    unseen = found & (typical < noise) & (noise > flat_share * wanted)

    closed = gaps[-1] <= _CLOSED * span
    ends = jnp.where(closed, int(Well.CONVERGED), int(Well.NEVER))
    stays = jnp.where(flat, int(Well.INSIDE), int(Well.STALLED))
    passed = jnp.where(flat, int(Well.ESCAPED), ends)
    verdict = jnp.where(found, jnp.where(lasts, stays, passed), ends)
    # Without scales that the run does not show itself, ending on a plateau means nothing.
    unknown = jnp.asarray(False)
    if reference_gap is None:
        unknown = lasts
    if reference_gradient is None and step_size is None:
        unknown |= found & lasts & ~flat
    status = jnp.where(unknown, int(Status.NO_SCALING_REGION), int(Status.OK))
    status = jnp.where(unseen, int(Status.AT_NOISE_FLOOR), status)
    status = jnp.where(jnp.any(jnp.diff(times) <= 0), int(Status.NO_SCALING_REGION), status)
    status = jnp.where(finite, status, int(Status.DIVERGED))
    if count < _FEWEST:
        status = jnp.full_like(status, int(Status.TOO_FEW_POINTS))
    good = status == int(Status.OK)
    verdict = jnp.where(good, verdict, int(Well.UNDECIDED))

    inside = good & found & flat
    middle = jnp.where(lasts, last, (first + last + 1) // 2)
    used = on_it & (index <= middle)
    forecast = inverse_rate_forecast(times, jnp.maximum(single, jnp.finfo(dtype).tiny), used)
    lost = jnp.any(used & (single <= 0))
    code = jnp.where(lost, int(Status.AT_NOISE_FLOOR), forecast.status)
    forecast = dataclasses.replace(forecast, status=code)
    law = None
    if own is not None and step_size is not None:
        law = _by_law(times[middle], own[middle], gaps[middle], step_size, inside)
    after = jnp.minimum(last + 1, count - 1)
    return WellDiagnosis(
        verdict=verdict,
        entered=jnp.where(good & found, times[first], jnp.nan),
        left=jnp.where(good & found, times[after], jnp.nan),
        duration=_duration(times, first, last, lasts, good & found),
        flatness=jnp.where(good & found, flatness, jnp.nan),
        forecast=_only_where(forecast, inside & ~lost),
        law=law,
        status=status,
    )


def _longest(inside: Bool[Array, " n"], times: Float[Array, " n"]) -> tuple[Array, Array, Array]:
    """First and last record of the longest stretch, and whether it reaches the end."""
    count = inside.size
    index = jnp.arange(count)
    before = jnp.concatenate([jnp.zeros(1, bool), inside[:-1]])
    after = jnp.concatenate([inside[1:], jnp.zeros(1, bool)])
    begins = jax.lax.cummax(jnp.where(inside & ~before, index, -1))
    ends_here = inside & ~after
    # A stretch lasts until the record after it.
    until = times[jnp.minimum(index + 1, count - 1)]
    length = jnp.where(ends_here, until - times[jnp.maximum(begins, 0)], -1)
    last = jnp.argmax(length)
    some = inside.any()
    first = jnp.where(some, begins[last], 0)
    last = jnp.where(some, last, -1)
    return first, last, some & (last == count - 1)


def _duration(
    times: Float[Array, " n"], first: Array, last: Array, lasts: Array, found: Array
) -> Estimate:
    """Length of the plateau, with what the spacing of records leaves open."""
    after = times[jnp.minimum(last + 1, times.size - 1)]
    before = times[jnp.maximum(first - 1, 0)]
    value = jnp.where(lasts, jnp.nan, after - times[first])
    low = times[jnp.maximum(last, 0)] - times[first]
    high = jnp.where(lasts, jnp.inf, after - before)
    error = jnp.where(lasts, jnp.inf, (high - low) / jnp.sqrt(jnp.asarray(12.0, times.dtype)))
    status = jnp.where(lasts, int(Status.NOT_CONVERGED), int(Status.OK))
    return _only_where(Estimate(value, error, low, high, status), found)


def _by_law(time: Array, x: Array, gap: Array, step_size: Array, found: Array) -> Estimate:
    """The softmax law from one record; its interval is the range of c."""
    wait = 2 * escape_lower_bound(x, gap, step_size)
    low, high = time + wait / 2, time + wait
    value = time + wait / jnp.sqrt(jnp.asarray(2.0, time.dtype))
    error = (high - low) / jnp.sqrt(jnp.asarray(12.0, time.dtype))
    usable = (x > 0) & (gap > 0)
    status = jnp.where(usable, int(Status.OK), int(Status.NO_SCALING_REGION))
    return _only_where(Estimate(value, error, low, high, status), found & usable)


def _only_where(estimate: Estimate, good: Bool[Array, ""]) -> Estimate:
    """NaN, and a status that is not OK, where there is no well to speak of."""
    parts = (estimate.value, estimate.stderr, estimate.low, estimate.high)
    value, error, low, high = (jnp.where(good, part, jnp.nan) for part in parts)
    failed = jnp.where(
        estimate.status == int(Status.OK), int(Status.NO_SCALING_REGION), estimate.status
    )
    status = jnp.where(good, estimate.status, failed)
    return dataclasses.replace(
        estimate, value=value, stderr=error, low=low, high=high, status=status
    )


def _median(values: Float[Array, " n"], width: int) -> Float[Array, " n"]:
    """Running median; ends are padded with themselves."""
    if width == 1:
        return values
    half = width // 2
    padded = jnp.pad(values, half, mode="edge")
    places = np.arange(values.size)[:, None] + np.arange(width)
    return jnp.median(padded[places], axis=1)


def _masked_median(values: Float[Array, " n"], keep: Bool[Array, " n"]) -> Float[Array, ""]:
    ordered = jnp.sort(jnp.where(keep, values, jnp.inf))
    return ordered[jnp.maximum(jnp.sum(keep) - 1, 0) // 2]


def _check(
    steps: Array | np.ndarray,
    norms: Array | np.ndarray,
    gaps: Array | np.ndarray,
    probabilities: Array | np.ndarray | None,
    flat_share: float,
    smoothing: int,
) -> None:
    series = (steps, norms, gaps, *(() if probabilities is None else (probabilities,)))
    shapes = {np.shape(part) for part in series}
    if len(shapes) > 1 or len(np.shape(steps)) != 1 or np.size(steps) == 0:
        msg = (
            "Argument `steps` must have the shape of all series, (n,) with at least one record,"
            f" but shapes are {[np.shape(part) for part in series]}."
        )
        raise ValueError(msg)
    check_at_least(smoothing=(smoothing, 1))
    if smoothing % 2 == 0 or smoothing > np.size(steps):
        msg = (
            f"Argument `smoothing` must be odd and at most {np.size(steps)}, the number of"
            f" records, but is {smoothing}."
        )
        raise ValueError(msg)
    if not 0 < flat_share < 1:
        msg = f"Argument `flat_share` must lie inside (0, 1), but is {flat_share}."
        raise ValueError(msg)
