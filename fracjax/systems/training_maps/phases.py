"""What gradient descent does at a step size: by theory on the balanced slice, and by an orbit."""

import enum
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fracjax._types import Estimate, Leaf, Status
from fracjax.systems.training_maps.balanced_map import DIVERGENCE, FIRST_DOUBLING, MONOTONE_LIMIT
from fracjax.systems.training_maps.bifurcations import period_doublings
from fracjax.systems.training_maps.product_map import Real, normalized_loss, product_map

__all__ = ["OrbitPhase", "Phase", "balanced_phase", "orbit_phase"]

_BLOCKS = 16
_QUANTILE = 2.1314  # Student's, two-sided 95 %, of 15 degrees of freedom
_CONTRACTION = 5.0  # onto a cycle while it is looked at; along minima there is next to none
_FAR = 1e3  # times the largest a bounded orbit can be


class Phase(enum.IntEnum):
    """What an orbit does.

    Attributes:
        UNDECIDED: It does not tell in the given time.
        MONOTONE: It reaches a minimum, and the loss falls at every step.
        CATAPULT: It reaches a minimum after the loss has risen.
        PERIODIC: It settles on a cycle, of period doubling or in a window.
        CHAOTIC: It stays bounded, with a positive exponent.
        DIVERGENT: It leaves all bounds.
    """

    UNDECIDED = 0
    MONOTONE = 1
    CATAPULT = 2
    PERIODIC = 3
    CHAOTIC = 4
    DIVERGENT = 5

    @property
    def label(self) -> str:
        """Lower-case name."""
        return self.name.lower()


class OrbitPhase(NamedTuple):
    """What an orbit was seen to do.

    Attributes:
        phase: Code of `Phase`.
        period: Of a cycle, in steps of the state; 1 at a minimum, 0 where none was found.
        exponent: Largest Lyapunov exponent, an `Estimate`, nats per step; NaN where divergent.
        loss: ½(1 - p)² at the end.
        sharpness: s = x² + y² at the end; at a minimum its sharpness.
        imbalance: |x² - y²| at the end.
        end: (x, y) at the end; where divergent, when it was seen.
        status: `OK`, `DIVERGED` or `NOT_CONVERGED` (undecided).
    """

    phase: Leaf
    period: Leaf
    exponent: Estimate
    loss: Leaf
    sharpness: Leaf
    imbalance: Leaf
    end: Leaf
    status: Leaf


def balanced_phase(step_size: Real) -> Int[Array, "..."]:
    """Read the phase of almost every bounded balanced orbit off its step size.

    Catapult says that the loss rises from some starts and that almost every one converges.
    Between the accumulation of period doublings and 2 it says chaotic, though there are periodic
    windows in it, dense and of no closed form.

    Args:
        step_size: μ > 0.
    """
    ratio = jnp.asarray(step_size)
    return jnp.select(
        [
            ratio <= MONOTONE_LIMIT,
            ratio <= FIRST_DOUBLING,
            ratio <= period_doublings().accumulation,
            ratio <= DIVERGENCE,
            ratio > DIVERGENCE,
        ],
        [
            int(phase)
            for phase in (
                Phase.MONOTONE,
                Phase.CATAPULT,
                Phase.PERIODIC,
                Phase.CHAOTIC,
                Phase.DIVERGENT,
            )
        ],
        int(Phase.UNDECIDED),
    )


@functools.partial(jax.jit, static_argnames=("num_steps", "num_transient", "longest_period"))
def orbit_phase(
    step_size: Real,
    state: Float[Array, "2"],
    *,
    num_steps: int = 2048,
    num_transient: int = 2048,
    longest_period: int = 64,
) -> OrbitPhase:
    """Follow the product map from one initial state and say what it does.

    At a minimum means a loss below 100 rounding units, squared; periodic means that the state
    returns to itself to the root of the rounding unit within `longest_period` steps and the
    exponent is clearly negative. Close to bifurcations orbits settle like powers of time and stay
    undecided, as do cycles that are longer than `longest_period`. In float32 returns to 3e-4
    happen by chance, which the sign of the exponent catches.

    Measured from x = y = .3 at 401 step sizes in [.02, 2.2], in float64: two undecided, six in
    periodic windows, and all others as `balanced_phase` says, but that an orbit above 2√2 - 2
    may happen not to rise (this one does not up to .95). Pass unbatched arguments and `jax.vmap`
    over them.

    Args:
        step_size: μ.
        state: (x, y).
        num_steps: Steps behind the exponent, a multiple of 16; its error is from 16 blocks.
        num_transient: Steps before them.
        longest_period: Of cycles that are looked for.

    Raises:
        ValueError: If a setting is out of range.
    """
    if num_steps < _BLOCKS or num_steps % _BLOCKS or num_transient < 0 or longest_period < 1:
        msg = (
            f"Argument `num_steps` must be a positive multiple of {_BLOCKS}, `num_transient` at"
            " least 0 and `longest_period` at least 1, but they are"
            f" {num_steps}, {num_transient} and {longest_period}."
        )
        raise ValueError(msg)
    dtype = jnp.result_type(state)
    step = product_map(jnp.asarray(step_size, dtype))
    unit = float(jnp.finfo(dtype).eps)
    done = (100 * unit) ** 2  # a loss that is rounding
    bound = _FAR * (2 + 4 / jnp.asarray(step_size, dtype))

    def advance(_: Array, carry: tuple) -> tuple:
        state, tangent, rose, growth = carry
        moved, along = jax.jvp(step, (state,), (tangent,))
        outside = ~(jnp.sum(state**2) <= bound)  # also where it is NaN
        length = jnp.sqrt(jnp.sum(along**2))
        before, after = normalized_loss(state), normalized_loss(moved)
        rose = rose | (after > before * (1 + 4 * unit) + done)
        along = jnp.where(length > 0, along / jnp.where(length > 0, length, 1), tangent)
        moved = jnp.where(outside, state, moved)
        return moved, along, rose, growth + jnp.log(length)

    zero = jnp.zeros((), dtype)
    carry = (state, jnp.asarray([0.8, 0.6], dtype), jnp.zeros((), bool), zero)
    carry = jax.lax.fori_loop(0, num_transient, advance, carry)

    def block(carry: tuple, _: None) -> tuple[tuple, Array]:
        carry = jax.lax.fori_loop(0, num_steps // _BLOCKS, advance, (*carry[:3], zero))
        return carry, carry[3] / (num_steps // _BLOCKS)

    (state, _, rose, _), rates = jax.lax.scan(block, carry, length=_BLOCKS)
    _, later = jax.lax.scan(lambda at, _: (step(at),) * 2, state, length=longest_period)

    diverged = ~(jnp.sum(state**2) <= bound)
    loss = normalized_loss(state)
    near = unit**0.5 * jnp.sqrt(jnp.sum(state**2))
    returned = jnp.sqrt(jnp.sum((later - state) ** 2, axis=1)) <= near
    value = jnp.mean(rates)
    stderr = jnp.std(rates, ddof=1) / _BLOCKS**0.5
    minimum = loss <= done
    cycle = jnp.any(returned) & (value < -_CONTRACTION / num_steps) & ~minimum
    chaotic = value - _QUANTILE * stderr > 0
    phase = jnp.select(
        [diverged, minimum & ~rose, minimum, cycle, chaotic & ~jnp.any(returned)],
        [
            int(Phase.DIVERGENT),
            int(Phase.MONOTONE),
            int(Phase.CATAPULT),
            int(Phase.PERIODIC),
            int(Phase.CHAOTIC),
        ],
        int(Phase.UNDECIDED),
    )
    status = jnp.where(phase == int(Phase.UNDECIDED), int(Status.NOT_CONVERGED), int(Status.OK))
    status = jnp.where(diverged, int(Status.DIVERGED), status)
    period = jnp.where(cycle | minimum, 1 + jnp.argmax(returned), 0)
    missing = jnp.where(diverged, jnp.nan, zero)
    margin = _QUANTILE * stderr
    exponent = Estimate(
        value + missing,
        stderr + missing,
        value - margin + missing,
        value + margin + missing,
        jnp.where(diverged, int(Status.DIVERGED), int(Status.OK)),
    )
    return OrbitPhase(
        phase=phase,
        period=jnp.where(diverged, 0, period),
        exponent=exponent,
        loss=loss,
        sharpness=jnp.sum(state**2),
        imbalance=jnp.abs(state[0] ** 2 - state[1] ** 2),
        end=state,
        status=status,
    )
