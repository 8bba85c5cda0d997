"""Lyapunov exponents of one long orbit: a frame of tangents, re-orthonormalised on the way."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import tangent, tree
from fracjax._types import Estimate, Invariants, Key, Label, PyTree, Status, StepFunction
from fracjax.estimators.chaos.orbit_average import FEWEST_RATES, average_blocks
from fracjax.estimators.chaos.orbit_growth import Growth, Plan, Pushing, grow, grow_until
from fracjax.estimators.chaos.self_checks import spectrum_checks
from fracjax.estimators.settings import check_at_least, check_num_coordinates, check_time_step
from fracjax.orthonormal import Method, choose_method
from fracjax.tangent import Coordinates

__all__ = ["lyapunov_spectrum"]


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
    num_blocks: int = 128,
    method: Method = "auto",
    target_stderr: float | Float[Array, " k"] | None = None,
    invariants: Invariants | None = None,
) -> Estimate:
    """Estimate the leading Lyapunov exponents from one orbit.

    A frame of k tangents is pushed through the step, one Jacobian-vector product each (no
    Jacobian is formed), and its orthonormality restored by a QR factorisation; the exponents
    are the mean logarithms of the diagonal, `value_i = mean_t ln R_ii(t) / (qr_every · dt)`.
    They come in the order of the factorisation, which for a long orbit is descending;
    `details["ordered"]` tells.

    The standard error comes from `num_blocks` block means, extrapolated to their spectrum at
    zero frequency (`spectral_error.standard_error`), so that blocks may be shorter than the
    memory of the orbit. The exponent along a flow fluctuates without diffusing: its error falls
    as 1/T, and the interval covers it almost always. The orbit must be on the attractor
    after `num_transient` steps: the exponents of an orbit that is still moving to another
    attractor, or sticks to regular islands, are not these averages. An episode that
    terminates has no infinite orbit: use `finite_time_growth`. In float32 some chaotic maps
    (logistic at r = 4, tent, Bernoulli) collapse onto short cycles: use float64.

    Ensembles: `jax.vmap` over states, on a CPU in pieces of about a thousand
    (`jax.lax.map(…, batch_size=1000)`), which stay in its cache and are up to twice as fast.

    The estimate can be differentiated with respect to whatever `step` closes over, or the
    state, in both modes (not with `target_stderr`). Reverse mode stores the orbit and its
    frames, and costs 2 to 3 times the forward pass. Gradients of exponents of a chaotic orbit
    grow exponentially with `num_steps`, as every gradient along it does.

    Args:
        step: One step of the system, for a single unbatched state. Must return a state of
            the same structure, shapes and dtypes. Differentiated in forward mode only. Pass
            the same function again rather than a fresh closure: it is compiled once.
        state: Initial state, any pytree; only floating leaves carry tangents.
        num_steps: Steps to average over; with `target_stderr` the most that may be made. A
            few may be left out at the start where they do not divide into equal blocks;
            `details["num_steps"]` counts those used.
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
            where that leaves out fewer steps. Below 64 their plain scatter is the error.
        method: How to orthonormalise, see `orthonormal.orthonormalize`; chosen by the size
            of the frame unless named. For a recorded chain of Jacobians see
            `spectrum_of_jacobians`.
        target_stderr: Stop as soon as the standard error of every exponent, per unit of time,
            is at most this; a number, or one per exponent with `inf` for those that do not
            matter. `num_steps` must then be at least `num_blocks · qr_every`, and `num_blocks` a
            multiple of 16.
        invariants: What is known of the exponents; fills `details["checks"]`.

    Returns:
        Exponents in nats per unit of time, shape (k,), with standard error and 95 % Student
        interval. Status per exponent: `DIVERGED` (NaN) when the state stops being finite,
        `NONFINITE_TANGENT` when a tangent overflows (NaN) or vanishes (−inf),
        `TOO_FEW_POINTS` when there are fewer than 20 orthonormalisations, and `NOT_CONVERGED`
        when the two halves of the orbit differ by more than 4 standard errors or
        `target_stderr` is not reached. Details: `blocks` (num_blocks, k) block means and
        `trace` (checkpoints, k) running means, both in nats per unit of time, with
        `trace_steps` (checkpoints,), `per_step` (k,) in nats per step, `num_steps`,
        `ordered`, the `method` by name, and `checks` as documented by
        `self_checks.spectrum_checks`. With `target_stderr` the trace has one row per check of
        the error, the errors stand beside it as `trace_stderr`, and rows after the last check
        are NaN.

    Raises:
        ValueError: If a setting is out of range or the state has no floating leaf.

    References:
        Benettin et al. (1980), https://doi.org/10.1007/BF02128236.
        Shimada and Nagashima (1979), https://doi.org/10.1143/PTP.61.1605.

    Example:
        >>> from fracjax import estimators, systems
        >>> henon = systems.catalogue.get("henon")
        >>> spectrum = estimators.lyapunov_spectrum(
        ...     henon.step, henon.state, num_steps=20_000, num_transient=100
        ... )
        >>> bool(abs(spectrum.value[0] - 0.4192) < 4 * spectrum.stderr[0])
        True
        >>> f"{spectrum.value.sum():.6f}"  # exactly ln 0.3
        '-1.203973'
    """
    count = check_num_coordinates("num_exponents", num_exponents, state, coordinates)
    check_time_step(dt)
    available = tangent.num_coordinates(state, coordinates)
    _validate_lengths(num_steps, num_transient, qr_every, num_blocks)
    if target_stderr is None:
        plan = Plan.of(num_steps, num_transient, qr_every, num_blocks)
    else:
        _validate_target(target_stderr, num_steps, qr_every, num_blocks)
        plan = Plan.adaptive(num_steps, num_transient, qr_every, num_blocks)
    pushing = Pushing(
        step=_hashable(step),
        num_exponents=count,
        coordinates=None if coordinates is None else _hashable(coordinates),
        method=choose_method(method, count, available),
        qr_every=qr_every,
        invariants=Invariants() if invariants is None else invariants,
    )
    key = jax.random.key(0) if key is None else key
    state = tangent.combine(*tangent.partition(state))
    if target_stderr is None:
        return _run(pushing, plan, available, state, key, dt)
    return _run_until(pushing, plan, available, num_steps, state, key, dt, target_stderr)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    pushing: Pushing,
    plan: Plan,
    available: int,
    state: PyTree,
    key: Key,
    dt: float | Float[Array, ""],
) -> Estimate:
    """Estimate after validation; compiled once per step function and settings."""
    frame = tangent.random_frame(key, state, pushing.num_exponents, pushing.coordinates)
    growth = grow(pushing, state, frame, plan)
    rates = growth.blocks / dt
    enough = plan.blocks * plan.refreshes >= FEWEST_RATES
    average = average_blocks(rates, finite=growth.finite, enough=enough)
    checkpoints = np.arange(1, plan.blocks + 1)
    trace = jnp.cumsum(rates, axis=0) / checkpoints[:, None].astype(rates.dtype)
    details = {
        "trace": jnp.where(growth.finite, trace, jnp.nan),
        "trace_steps": jnp.asarray(checkpoints * plan.refreshes * pushing.qr_every),
        "num_steps": jnp.asarray(plan.blocks * plan.refreshes * pushing.qr_every),
    }
    return _finish(pushing, average, growth, available, dt, details)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run_until(
    pushing: Pushing,
    plan: Plan,
    available: int,
    num_steps: int,
    state: PyTree,
    key: Key,
    dt: float | Float[Array, ""],
    target: float | Float[Array, "*k"],
) -> Estimate:
    """The same with blocks that grow until the error is small enough."""
    frame = tangent.random_frame(key, state, pushing.num_exponents, pushing.coordinates)
    per_step = jnp.broadcast_to(jnp.asarray(target) * dt, (pushing.num_exponents,))
    growth, stopping = grow_until(pushing, state, frame, plan, num_steps, per_step)
    rates = growth.blocks / dt
    part = 3 * plan.blocks // 4
    whole = average_blocks(rates, finite=growth.finite, enough=True)
    some = average_blocks(rates[:part], finite=growth.finite, enough=True)
    some = dataclasses.replace(some, details={**some.details, "blocks": rates})
    filled = stopping.used == plan.blocks
    average = tree.select(filled, whole, some)
    missed = (average.status == Status.OK) & ~stopping.reached
    status = jnp.where(missed, Status.NOT_CONVERGED, average.status)
    average = dataclasses.replace(average, status=status)
    details = {
        "trace": stopping.trace / dt,
        "trace_stderr": stopping.trace_stderr / dt,
        "trace_steps": stopping.trace_steps,
        "num_steps": stopping.used * growth.steps_per_block,
    }
    return _finish(pushing, average, growth, available, dt, details)


def _finish(
    pushing: Pushing,
    average: Estimate,
    growth: Growth,
    available: int,
    dt: float | Float[Array, ""],
    details: dict,
) -> Estimate:
    """Add what every spectrum carries."""
    value = average.value
    volume = jnp.nanmean(growth.volume)
    details = {
        **average.details,
        **details,
        "per_step": value * dt,
        "ordered": jnp.all(value[:-1] >= value[1:]),
        "method": Label(pushing.method),
        "checks": spectrum_checks(average, pushing.invariants, volume, available),
    }
    return dataclasses.replace(average, details=details)


def _hashable(function: Callable) -> Callable:
    """Wrap callables that cannot key a cache, such as frozen dataclasses of arrays."""
    try:
        hash(function)
    except TypeError:
        return lambda state: function(state)
    return function


def _validate_lengths(num_steps: int, num_transient: int, qr_every: int, num_blocks: int) -> None:
    check_at_least(
        num_steps=(num_steps, 1),
        num_transient=(num_transient, 0),
        qr_every=(qr_every, 1),
        num_blocks=(num_blocks, 2),
    )
    if num_steps < qr_every:
        msg = f"Argument `num_steps` must be at least `qr_every` = {qr_every}, but is {num_steps}."
        raise ValueError(msg)


def _validate_target(
    target: float | Float[Array, " k"], num_steps: int, qr_every: int, num_blocks: int
) -> None:
    if num_blocks < 16 or num_blocks % 16:
        msg = f"Argument `num_blocks` must be a multiple of 16 here, but is {num_blocks}."
        raise ValueError(msg)
    if num_steps < num_blocks * qr_every:
        msg = (
            f"Argument `num_steps` must be at least {num_blocks * qr_every} with"
            f" `target_stderr`, but is {num_steps}."
        )
        raise ValueError(msg)
    if isinstance(target, int | float) and not target > 0:
        msg = f"Argument `target_stderr` must be positive, but is {target}."
        raise ValueError(msg)
