"""Exponents of an ensemble of finite orbits, from recorded growth of their tangents.

Every function takes arrays with the states first, as `jax.vmap` of
`fracjax.estimators.finite_time_growth` records them, and an optional mask of the steps that
count, because episodes terminate.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax._types import Estimate, Status
from fracjax.estimators.estimates import symmetric_estimate
from fracjax.estimators.intervals import masked_mean, student_quantile

__all__ = [
    "ensemble_exponent",
    "reward_exponent",
    "second_moment_exponent",
    "worst_finite_time_exponent",
]

_FEW_STATES = 8  # fewer states than this are cut in time as well, for their errors
_BLOCKS = 10
_CHECKPOINTS = 50
_FAILED = 0.1  # share of states that may fail before the ensemble's status says so
_FEWEST_WINDOWS = 5.0  # effective number of windows behind a second moment


# Compiled as wholes: op by op the first call takes several times as long to compile.
@jax.jit
def ensemble_exponent(
    growth: Float[Array, "states steps"],
    *,
    dt: float | Float[Array, ""] = 1.0,
    alive: Bool[Array, "states steps"] | None = None,
) -> Estimate:
    """Average the growth over an ensemble: total growth over total time alive.

    The standard error is that of this ratio between initial states. With fewer than 8
    states it is the larger of that and the batch-means error within states (10 blocks per
    state). States whose growth is not finite are left out and counted.

    Args:
        growth: Logarithms of growth per step of one tangent.
        dt: Time per step.
        alive: Steps that count; all by default.

    Returns:
        Mean exponent in nats per unit of time with a 95 % Student interval.
        `NONFINITE_TANGENT` when more than a tenth of the states fail (then −inf or NaN if all
        do), `TOO_FEW_POINTS` when there is no way to form an error. Details: `per_state`
        (states,), `trace` running ensemble means at about 50 `trace_steps`, `num_states`
        used, `num_failed`, `between` and `within`, the two standard errors.
    """
    alive = jnp.ones(growth.shape, bool) if alive is None else alive
    kept = jnp.where(alive, growth, 0)
    totals, times = kept.sum(axis=1), alive.sum(axis=1)
    per_state = totals / times
    usable = jnp.isfinite(totals) & (times > 0)
    value, between, within, count = _ratio(kept, alive, usable)
    few = count < _FEW_STATES
    stderr = jnp.where(few, jnp.fmax(between, within), between)
    degrees = count - 1 + jnp.where(few & jnp.isfinite(within), _BLOCKS - 1, 0)
    failed = jnp.sum(~usable & (times > 0))
    status = jnp.where(jnp.isfinite(stderr), Status.OK, Status.TOO_FEW_POINTS)
    status = jnp.where(failed > _FAILED * jnp.sum(times > 0), Status.NONFINITE_TANGENT, status)
    vanished = (count == 0) & jnp.any(jnp.isneginf(totals))
    value = jnp.where(vanished, -jnp.inf, value)
    at, trace = _running_mean(jnp.where(usable[:, None], kept, 0), alive & usable[:, None])
    details = {
        "per_state": per_state / dt,
        "trace": trace / dt,
        "trace_steps": at,
        "num_states": count,
        "num_failed": failed,
        "between": between / dt,
        "within": within / dt,
    }
    quantile = student_quantile(degrees, growth.shape[0] + _BLOCKS).astype(stderr.dtype)
    return symmetric_estimate(value / dt, stderr / dt, quantile, status, details)


def _ratio(
    growth: Float[Array, "states steps"],
    alive: Bool[Array, "states steps"],
    usable: Bool[Array, " states"],
) -> tuple[Array, Array, Array, Array]:
    """Ratio of total growth to total time, its errors between and within states."""
    weight = usable[:, None] & alive
    totals, times = jnp.where(weight, growth, 0).sum(axis=1), weight.sum(axis=1)
    count, total_time = usable.sum(), times.sum()
    value = totals.sum() / total_time
    residuals = jnp.where(usable, totals - value * times, 0)
    spread = jnp.sum(residuals**2) * count / jnp.maximum(count - 1, 1)
    between = jnp.where(count > 1, jnp.sqrt(spread) / total_time, jnp.nan)
    # Within a state: blocks of equal length in time, as if each state were on its own.
    length = growth.shape[1] // _BLOCKS
    if length == 0:
        return value, between, jnp.full_like(value, jnp.nan), count
    rates = jnp.where(usable[:, None], totals[:, None] / jnp.maximum(times, 1)[:, None], 0)
    deviations = jnp.where(weight, growth - rates, 0)[:, : length * _BLOCKS]
    blocks = deviations.reshape(len(growth), _BLOCKS, length).sum(axis=2)
    within = jnp.sqrt(jnp.sum(blocks**2) * _BLOCKS / (_BLOCKS - 1)) / total_time
    return value, between, within, count


def _running_mean(
    growth: Float[Array, "states steps"], counted: Bool[Array, "states steps"]
) -> tuple[Array, Array]:
    """Ensemble means up to about 50 checkpoints."""
    steps = growth.shape[1]
    at = np.unique(np.linspace(1, steps, min(_CHECKPOINTS, steps)).astype(int))
    total = jnp.cumsum(jnp.where(counted, growth, 0).sum(axis=0))
    time = jnp.cumsum(counted.sum(axis=0))
    return jnp.asarray(at), (total / time)[at - 1]


@functools.partial(jax.jit, static_argnames="window")
def second_moment_exponent(
    growth: Float[Array, "states steps"],
    window: int,
    *,
    dt: float | Float[Array, ""] = 1.0,
    alive: Bool[Array, "states steps"] | None = None,
) -> Estimate:
    """Estimate L(2) = ln E exp(2 S) / (2 window dt), S the growth over `window` steps.

    The mean runs over all windows of all states, overlapping ones included. The second
    moment weights the fast-growing stretches, so L(2) is at least the mean exponent. It is
    carried by few windows when the growth varies much: `details["effective_windows"]`
    counts them, and below 5 the status is `NOT_CONVERGED`. The error is a jackknife over
    states (over pieces of states when there are fewer than 8).

    Args:
        growth: Logarithms of growth per step of the leading tangent.
        window: Steps per window.
        dt: Time per step.
        alive: Steps that count; a window counts when all its steps do.

    Returns:
        L(2) in nats per unit of time with a 95 % Student interval.

    Raises:
        ValueError: If `window` is not between 1 and the number of steps.
    """
    sums, valid = _groups(*_windows(growth, window, alive))
    logs = jnp.where(valid, 2 * sums, -jnp.inf)
    group, counts = jax.nn.logsumexp(logs, axis=1), valid.sum(axis=1)
    usable = counts > 0
    number = usable.sum()

    def exponent(keep: Bool[Array, " groups"]) -> Float[Array, ""]:
        total = jax.nn.logsumexp(jnp.where(keep, group, -jnp.inf))
        kept = jnp.sum(jnp.where(keep, counts, 0)).astype(total.dtype)
        return (total - jnp.log(kept)) / (2 * window)

    value = exponent(usable)
    others = jax.vmap(lambda left_out: exponent(usable & (jnp.arange(len(group)) != left_out)))
    _, spread, _ = masked_mean(others(jnp.arange(len(group))), usable)
    stderr = spread * (number - 1)
    effective = jnp.exp(2 * jax.nn.logsumexp(logs) - jax.nn.logsumexp(2 * logs))
    status = jnp.where(effective < _FEWEST_WINDOWS, Status.NOT_CONVERGED, Status.OK)
    status = jnp.where(number < 2, Status.TOO_FEW_POINTS, status)
    details = {"effective_windows": effective, "num_windows": counts.sum(), "num_groups": number}
    quantile = student_quantile(number - 1, len(group)).astype(stderr.dtype)
    return symmetric_estimate(value / dt, stderr / dt, quantile, status, details)


@functools.partial(jax.jit, static_argnames=("window", "quantile"))
def worst_finite_time_exponent(
    growth: Float[Array, "states steps"],
    window: int,
    *,
    quantile: float = 0.99,
    dt: float | Float[Array, ""] = 1.0,
    alive: Bool[Array, "states steps"] | None = None,
) -> Estimate:
    """Estimate a high quantile of the exponents over windows of `window` steps.

    With the window of a discount's memory, 1/(1-γ) steps, this stands for the largest
    growth rate that a return can see. A quantile below 1 is used because the maximum grows
    with the sample. The interval inverts the error of the share of windows below the
    quantile, taken between states (between pieces of states when there are fewer than 8).

    Args:
        growth: Logarithms of growth per step of the leading tangent.
        window: Steps per window; windows overlap.
        quantile: Which quantile, inside (0, 1).
        dt: Time per step.
        alive: Steps that count; a window counts when all its steps do.

    Returns:
        The quantile in nats per unit of time. Details: `maximum`, `num_windows`.

    Raises:
        ValueError: If `window` or `quantile` is out of range.

    References:
        Woodruff (1952), https://doi.org/10.1080/01621459.1952.10483443.
    """
    if not 0 < quantile < 1:
        msg = f"Argument `quantile` must lie inside (0, 1), but is {quantile}."
        raise ValueError(msg)
    sums, valid = _groups(*_windows(growth, window, alive))
    rates = jnp.where(valid, sums / window, jnp.nan)
    value = jnp.nanquantile(rates, quantile)
    counts = valid.sum(axis=1)
    usable, number = counts > 0, jnp.sum(counts > 0)
    # Influence of each group on the share below the quantile: a ratio of totals.
    residuals = jnp.where(valid, (rates <= value) - quantile, 0).sum(axis=1)
    residuals = jnp.where(usable, residuals - residuals.sum() * counts / counts.sum(), 0)
    spread = jnp.sum(residuals**2) * number / jnp.maximum(number - 1, 1)
    degrees = student_quantile(number - 1, len(counts)).astype(rates.dtype)
    share = jnp.sqrt(spread) / counts.sum()
    levels = jnp.clip(quantile + degrees * share * jnp.array([-1, 1], rates.dtype), 0, 1)
    low, high = jnp.nanquantile(rates, levels)
    known = number > 1
    return Estimate(
        value=value / dt,
        stderr=jnp.where(known, (high - low) / (2 * degrees * dt), jnp.nan),
        low=jnp.where(known, low / dt, jnp.nan),
        high=jnp.where(known, high / dt, jnp.nan),
        status=jnp.where(known, Status.OK, Status.TOO_FEW_POINTS),
        details={"maximum": jnp.nanmax(rates) / dt, "num_windows": counts.sum()},
    )


def _windows(
    growth: Float[Array, "states steps"], window: int, alive: Bool[Array, "states steps"] | None
) -> tuple[Float[Array, "states windows"], Bool[Array, "states windows"]]:
    """Sum the growth over every window, and tell which windows count."""
    if not 1 <= window <= growth.shape[1]:
        msg = (
            f"Argument `window` must be between 1 and {growth.shape[1]}, the number of steps,"
            f" but is {window}."
        )
        raise ValueError(msg)
    counted = jnp.isfinite(growth) & (True if alive is None else alive)

    def slide(values: Array) -> Array:
        ends = jnp.pad(jnp.cumsum(values, axis=1), ((0, 0), (1, 0)))
        return ends[:, window:] - ends[:, :-window]

    # The mean is taken out first: differences of long sums would lose digits in float32.
    centre = jnp.sum(jnp.where(counted, growth, 0)) / jnp.maximum(jnp.sum(counted), 1)
    sums = slide(jnp.where(counted, growth - centre, 0)) + window * centre
    return sums, slide(counted.astype(jnp.int32)) == window


def _groups(
    sums: Float[Array, "states windows"], valid: Bool[Array, "states windows"]
) -> tuple[Float[Array, "groups some"], Bool[Array, "groups some"]]:
    """Cut few states into pieces, so that there are at least 8 groups to compare."""
    states, windows = sums.shape
    pieces = 1 if states >= _FEW_STATES else min(-(-_FEW_STATES // states), windows)
    width = -(-windows // pieces)
    padding = ((0, 0), (0, width * pieces - windows))
    sums, valid = jnp.pad(sums, padding), jnp.pad(valid, padding)
    return sums.reshape(-1, width), valid.reshape(-1, width)


@jax.jit
def reward_exponent(
    growth: Float[Array, "states steps"],
    log_projection: Float[Array, "states steps"],
    *,
    dt: float | Float[Array, ""] = 1.0,
    alive: Bool[Array, "states steps"] | None = None,
) -> Estimate:
    """Estimate the exponential rate at which the reward's tangent grows.

    Per initial state: the least-squares slope over time of ln|dr_t| = Σ growth +
    `log_projection`. It equals the leading exponent when the reward sees the leading
    direction, and is smaller, or has no value, when it does not. The error is between
    states.

    Args:
        growth: Logarithms of growth per step of the leading tangent, one record per state.
        log_projection: `TangentGrowth.log_projection` of the same records; −inf where the
            reward does not depend on the state.
        dt: Time per step.
        alive: Steps that count; all by default.

    Returns:
        Mean slope in nats per unit of time with a 95 % Student interval. `TOO_FEW_POINTS`
        when fewer than two states have a slope: constant rewards have none. Details:
        `per_state` (states,), `num_states`.
    """
    alive = jnp.ones(growth.shape, bool) if alive is None else alive
    logs = jnp.cumsum(jnp.where(alive, growth, 0), axis=1) + log_projection
    counted = alive & jnp.isfinite(logs)
    number = counted.sum(axis=1, keepdims=True)
    # A state needs a reward tangent in most of its steps, and ten of them.
    usable = (number[:, 0] >= 10) & (2 * number[:, 0] >= alive.sum(axis=1))
    time = jnp.arange(growth.shape[1], dtype=logs.dtype)
    safe = jnp.maximum(number, 1)
    mean_time = jnp.where(counted, time, 0).sum(axis=1, keepdims=True) / safe
    offset = jnp.where(counted, time - mean_time, 0)
    mean_log = jnp.where(counted, logs, 0).sum(axis=1, keepdims=True) / safe
    residual = jnp.where(counted, logs - mean_log, 0)
    slope = (offset * residual).sum(axis=1) / jnp.where(usable, (offset**2).sum(axis=1), 1)
    value, stderr, count = masked_mean(slope, usable)
    status = jnp.where(count < 2, Status.TOO_FEW_POINTS, Status.OK)
    details = {"per_state": jnp.where(usable, slope, jnp.nan) / dt, "num_states": count}
    quantile = student_quantile(count - 1, growth.shape[0]).astype(stderr.dtype)
    return symmetric_estimate(value / dt, stderr / dt, quantile, status, details)
