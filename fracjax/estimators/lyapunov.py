"""Lyapunov exponents of one long orbit: a frame of tangents, re-orthonormalised on the way."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax import tangent
from fracjax._types import Estimate, Key, PyTree, Status, StepFunction
from fracjax.estimators.intervals import student_quantile, welch_statistic
from fracjax.tangent import Coordinates

__all__ = ["lyapunov_spectrum"]

_CHECKPOINTS = (40, 120)  # how many checkpoints a convergence trace has, where it can
_DRIFT = 4.0  # standard errors between the halves of the orbit


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Cut of an orbit into segments of equal length.

    Attributes:
        segments: Averaged segments, a multiple of `blocks`.
        skipped: Segments before them that are only a transient.
        refreshes: Orthonormalisations per segment.
        qr_every: Steps per orthonormalisation.
        blocks: Blocks of the batch-means standard error.
    """

    segments: int
    skipped: int
    refreshes: int
    qr_every: int
    blocks: int

    @property
    def steps_per_segment(self) -> int:
        return self.refreshes * self.qr_every


def lyapunov_spectrum(
    step: StepFunction,
    state: PyTree,
    *,
    num_steps: int,
    num_exponents: int | None = None,
    dt: float | Float[Array, ""] = 1.0,
    num_transient: int = 0,
    key: Key | None = None,
    coordinates: Coordinates | None = None,
    qr_every: int = 1,
    num_blocks: int = 20,
) -> Estimate:
    """Estimate the leading Lyapunov exponents from one orbit.

    A frame of k tangents is pushed through the step, one Jacobian-vector product each, and
    its orthonormality restored by a QR factorisation; the exponents are the mean logarithms
    of the diagonal, `value_i = mean_t ln R_ii(t) / (qr_every · dt)`. They come in the order
    of the factorisation, which for a long orbit is descending; `details["ordered"]` tells.

    The standard error is that of `num_blocks` block means, which is right when a block is
    longer than the memory of the orbit. Shorter blocks usually overstate it, because growth
    that depends on the position is paid back later (2.3 times for the Lorenz system and
    blocks of 25 units of time). The orbit must be on the attractor after
    `num_transient` steps: the exponents of an orbit that is still moving to another
    attractor, or sticks to regular islands, are not these averages. An episode that
    terminates has no infinite orbit: use `finite_time_growth`. In float32 some chaotic maps
    (logistic at r = 4, tent, Bernoulli) collapse onto short cycles: use float64.

    Args:
        step: One step of the system, for a single unbatched state. Must return a state of
            the same structure, shapes and dtypes. Differentiated in forward mode only. Pass
            the same function again rather than a fresh closure: it is compiled once.
        state: Initial state, any pytree; only floating leaves carry tangents.
        num_steps: Steps to average over. A few may be left out at the start where they do
            not divide into equal blocks; `details["num_steps"]` counts
            those used.
        num_exponents: How many exponents; by default as many as there are coordinates.
        dt: Time per step; exponents are divided by it.
        num_transient: At least so many steps are made first, with the frame, unrecorded.
        key: Draws the initial frame; a fixed key by default.
        coordinates: Maps a state to the vector in which lengths and angles of tangents are
            measured; by default all floating leaves. Needed where a state is redundant.
        qr_every: Steps between orthonormalisations. More than 1 saves time for large k, and
            loses the trailing exponents once exp((λ_1 - λ_k) · qr_every · dt) reaches the
            inverse of the rounding unit (they are then −inf).
        num_blocks: The most blocks of the standard error; as few as three quarters are used
            where that leaves out fewer steps.

    Returns:
        Exponents in nats per unit of time, shape (k,), with standard error and 95 % Student
        interval. Status per exponent: `DIVERGED` (NaN) when the state stops being finite,
        `NONFINITE_TANGENT` when a tangent overflows (NaN) or vanishes (−inf),
        `TOO_FEW_POINTS` when there are fewer orthonormalisations than blocks, and
        `NOT_CONVERGED` when the two halves of the orbit differ by more than 4 standard
        errors. Details: `blocks` (num_blocks, k) block means and `trace` (checkpoints, k)
        running means, both in nats per unit of time, `trace_steps` (checkpoints,),
        `per_step` (k,) in nats per step, `num_steps`, `ordered`.

    Raises:
        ValueError: If a setting is out of range or the state has no floating leaf.

    References:
        Benettin et al. (1980), https://doi.org/10.1007/BF02128236.
        Shimada and Nagashima (1979), https://doi.org/10.1143/PTP.61.1605.
    """
    count = _validate(state, coordinates, num_exponents, dt)
    plan = _plan(num_steps, num_transient, qr_every, num_blocks)
    key = jax.random.key(0) if key is None else key
    state = tangent.combine(*tangent.partition(state))
    enough = num_steps // qr_every >= num_blocks
    measured = None if coordinates is None else _hashable(coordinates)
    return _run(_hashable(step), state, key, dt, count, plan, measured, enough)


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6, 7))
def _run(
    step: StepFunction,
    state: PyTree,
    key: Key,
    dt: float | Float[Array, ""],
    count: int,
    plan: _Plan,
    coordinates: Coordinates | None,
    enough: bool,
) -> Estimate:
    """Estimate after validation; compiled once per step function and settings."""
    frame = tangent.random_frame(key, state, count, coordinates)
    growth, finite = _grow(step, state, frame, plan, coordinates)
    return _estimate(growth, finite, plan, dt, enough=enough)


def _hashable(function: Callable) -> Callable:
    """Wrap callables that cannot key a cache, such as frozen dataclasses of arrays."""
    try:
        hash(function)
    except TypeError:
        return lambda state: function(state)
    return function


def _validate(
    state: PyTree, coordinates: Coordinates | None, num_exponents: int | None, dt: object
) -> int:
    """Check the settings and return the number of exponents."""
    available = tangent.num_coordinates(state, coordinates)
    if available == 0:
        msg = "Argument `state` must have a floating leaf, but has none."
        raise ValueError(msg)
    if num_exponents is None:
        num_exponents = available
    if not 1 <= num_exponents <= available:
        msg = (
            f"Argument `num_exponents` must be between 1 and {available}, the number of"
            f" coordinates, but is {num_exponents}."
        )
        raise ValueError(msg)
    if isinstance(dt, int | float) and not 0 < dt < math.inf:
        msg = f"Argument `dt` must be positive and finite, but is {dt}."
        raise ValueError(msg)
    return num_exponents


def _plan(num_steps: int, num_transient: int, qr_every: int, num_blocks: int) -> _Plan:
    """Choose segments that lose the fewest steps and group evenly into blocks."""
    settings = {
        "num_steps": (num_steps, 1),
        "num_transient": (num_transient, 0),
        "qr_every": (qr_every, 1),
        "num_blocks": (num_blocks, 2),
    }
    for name, (value, smallest) in settings.items():
        if value < smallest:
            msg = f"Argument `{name}` must be at least {smallest}, but is {value}."
            raise ValueError(msg)
    if num_steps < qr_every:
        msg = f"Argument `num_steps` must be at least `qr_every` = {qr_every}, but is {num_steps}."
        raise ValueError(msg)
    available = num_steps // qr_every
    largest = min(num_blocks, available)
    fewest, most = _CHECKPOINTS

    def cost(choice: tuple[int, int]) -> tuple:
        blocks, repeats = choice
        segments = blocks * repeats
        left_over = available % segments
        negligible = max(left_over / available, 0.005)
        return negligible, -blocks, segments < fewest, left_over, -repeats

    blocks, repeats = min(
        (
            (blocks, repeats)
            for blocks in range(-(-3 * largest // 4), largest + 1)
            for repeats in range(1, max(most // blocks, 1) + 1)
            if blocks * repeats <= available
        ),
        key=cost,
    )
    segments = blocks * repeats
    refreshes = available // segments
    left_over = num_steps - segments * refreshes * qr_every
    skipped = -(-(num_transient + left_over) // (refreshes * qr_every))
    return _Plan(segments, skipped, refreshes, qr_every, blocks)


def _grow(
    step: StepFunction,
    state: PyTree,
    frame: PyTree,
    plan: _Plan,
    coordinates: Coordinates | None,
) -> tuple[Float[Array, "segments k"], Bool[Array, ""]]:
    """Sum the logarithms of growth per segment; the step is compiled once."""

    def push(carry: tuple, _: None) -> tuple[tuple, None]:
        return tangent.push(step, *carry), None

    def refresh(carry: tuple, _: None) -> tuple[tuple, None]:
        state, frame, total = carry
        (state, frame), _ = jax.lax.scan(push, (state, frame), length=plan.qr_every)
        frame, growth = tangent.orthonormalize_frame(state, frame, coordinates)
        return (state, frame, total + growth), None

    def segment(carry: tuple, _: None) -> tuple[tuple, tuple]:
        (state, frame, total), _ = jax.lax.scan(refresh, (*carry, zeros), length=plan.refreshes)
        return (state, frame), (total, _is_finite(state, coordinates))

    _, like = jax.eval_shape(
        lambda s, f: tangent.orthonormalize_frame(s, f, coordinates), state, frame
    )
    zeros = jnp.zeros(like.shape, like.dtype)
    length = plan.skipped + plan.segments
    _, (growth, finite) = jax.lax.scan(segment, (state, frame), length=length)
    return growth[plan.skipped :], jnp.all(finite)


def _is_finite(state: PyTree, coordinates: Callable | None) -> Bool[Array, ""]:
    watched = tangent.partition(state)[0] if coordinates is None else coordinates(state)
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(watched)]).all()


def _estimate(
    growth: Float[Array, "segments k"],
    finite: Bool[Array, ""],
    plan: _Plan,
    dt: float | Float[Array, ""],
    *,
    enough: bool,
) -> Estimate:
    """Turn sums of growth per segment into exponents with errors and status."""
    growth = jnp.where(finite, growth, jnp.nan)
    rates = growth / (plan.steps_per_segment * dt)
    blocks = rates.reshape(plan.blocks, -1, rates.shape[-1]).mean(axis=1)
    value = blocks.mean(axis=0)
    if plan.blocks > 1:
        stderr = blocks.std(axis=0, ddof=1) / plan.blocks**0.5
    else:
        stderr = jnp.full_like(value, jnp.nan)
    margin = student_quantile(plan.blocks - 1, plan.blocks).astype(value.dtype) * stderr
    vanished = jnp.isneginf(value)
    checkpoints = np.arange(1, plan.segments + 1)
    return Estimate(
        value=value,
        stderr=stderr,
        low=jnp.where(vanished, value, value - margin),
        high=jnp.where(vanished, value, value + margin),
        status=_status(value, blocks, finite, enough=enough),
        details={
            "blocks": blocks,
            "trace": jnp.cumsum(rates, axis=0) / checkpoints[:, None].astype(rates.dtype),
            "trace_steps": jnp.asarray(checkpoints * plan.steps_per_segment),
            "per_step": value * dt,
            "num_steps": jnp.asarray(plan.segments * plan.steps_per_segment),
            "ordered": jnp.all(value[:-1] >= value[1:]),
        },
    )


def _status(
    value: Float[Array, " k"],
    blocks: Float[Array, "blocks k"],
    finite: Bool[Array, ""],
    *,
    enough: bool,
) -> Array:
    drifting = welch_statistic(blocks) > _DRIFT if len(blocks) >= 4 else jnp.zeros(len(value), bool)
    status = jnp.where(drifting, Status.NOT_CONVERGED, Status.OK)
    if not enough:
        status = jnp.full_like(status, Status.TOO_FEW_POINTS)
    status = jnp.where(jnp.isfinite(value), status, Status.NONFINITE_TANGENT)
    return jnp.where(finite, status, Status.DIVERGED)
