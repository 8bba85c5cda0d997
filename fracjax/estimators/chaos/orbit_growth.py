"""Push a frame along one orbit and record its growth in blocks of equal length.

Either a fixed number of blocks, or blocks that double in length until the mean is known well
enough. Both trace the step once.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax import tangent, tree
from fracjax._types import Invariants, Leaf, PyTree, StepFunction
from fracjax.estimators.chaos.spectral_error import standard_error
from fracjax.orthonormal import Method
from fracjax.tangent import Coordinates

__all__ = ["Growth", "Plan", "Pushing", "Stopping", "grow", "grow_until"]

_PRICE = 1e-4  # of one block fewer, as a share of the steps
_QUARTER = 4  # the buffer is filled by quarters
_FIRST_CHECK = 85  # the first blocks are together one part in so many of the budget


@dataclasses.dataclass(frozen=True)
class Pushing:
    """What is pushed, and how: everything that selects a compiled program."""

    step: StepFunction
    num_exponents: int
    coordinates: Coordinates | None
    method: Method
    qr_every: int
    invariants: Invariants


@dataclasses.dataclass(frozen=True)
class Plan:
    """Cut of an orbit into blocks of equal length.

    Attributes:
        blocks: Recorded blocks.
        skipped: Blocks before them that are only a transient.
        refreshes: Orthonormalisations per block.
    """

    blocks: int
    skipped: int
    refreshes: int

    @classmethod
    def of(cls, num_steps: int, num_transient: int, qr_every: int, num_blocks: int) -> "Plan":
        """Choose three quarters of `num_blocks` or more that lose the fewest steps."""
        available = num_steps // qr_every
        most = min(num_blocks, available)

        def lost(blocks: int) -> float:
            return available % blocks / available + _PRICE * (most - blocks)

        blocks = min(range(-(-3 * most // 4), most + 1), key=lost)
        refreshes = available // blocks
        left_over = num_steps - blocks * refreshes * qr_every
        skipped = -(-(num_transient + left_over) // (refreshes * qr_every))
        return cls(blocks, skipped, refreshes)

    @classmethod
    def adaptive(cls, num_steps: int, num_transient: int, qr_every: int, num_blocks: int) -> "Plan":
        """Start with blocks so short that most of the budget is left at the first check."""
        refreshes = max(1, num_steps // qr_every // (num_blocks * _FIRST_CHECK))
        skipped = -(-num_transient // (refreshes * qr_every))
        return cls(num_blocks, skipped, refreshes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Growth:
    """Growth per step, averaged over blocks.

    Attributes:
        blocks: (blocks, k), in nats per step, in time order.
        volume: Mean of the volume's growth over the blocks, (blocks,), in its own unit; NaN
            where it is not known.
        steps_per_block: Steps in a block.
        finite: Whether the state stayed finite.
    """

    blocks: Leaf
    volume: Leaf
    steps_per_block: Leaf
    finite: Leaf


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stopping:
    """How an adaptive run ended.

    Attributes:
        used: Blocks that were filled: all, or three quarters.
        reached: Whether the requested standard error was reached.
        trace: Exponents at every check, (checks, k), NaN after the last, in nats per step.
        trace_stderr: Their standard errors.
        trace_steps: Steps averaged at every check, (checks,), 0 after the last.
    """

    used: Leaf
    reached: Leaf
    trace: Leaf
    trace_stderr: Leaf
    trace_steps: Leaf


def _block(
    pushing: Pushing, state: PyTree, frame: PyTree, refreshes: int | Array
) -> tuple[PyTree, PyTree, tuple[Array, Array, Array]]:
    """Push through one block; return sums of growth and of the volume's, and finiteness."""
    volume_growth = pushing.invariants.volume_growth

    def push(carry: Any, _: None) -> tuple[Any, Any]:
        state, frame, volume = carry
        if callable(volume_growth):
            volume = volume + volume_growth(state)
        return (*tangent.push(pushing.step, state, frame), volume), None

    def refresh(_: Array, carry: tuple) -> tuple:
        state, frame, volume, total = carry
        moved, _ = jax.lax.scan(push, (state, frame, volume), length=pushing.qr_every)
        state, frame, volume = moved
        frame, growth = tangent.orthonormalize_frame(
            state, frame, pushing.coordinates, pushing.method
        )
        return state, frame, volume, total + growth

    zeros = jnp.zeros(pushing.num_exponents, _growth_dtype(pushing, state, frame))
    start = (state, frame, zeros[0], zeros)
    state, frame, volume, total = jax.lax.fori_loop(0, refreshes, refresh, start)
    return state, frame, (total, volume, _is_finite(state, pushing.coordinates))


def _growth_dtype(pushing: Pushing, state: PyTree, frame: PyTree) -> jnp.dtype:
    _, growth = jax.eval_shape(
        lambda s, f: tangent.orthonormalize_frame(s, f, pushing.coordinates, pushing.method),
        state,
        frame,
    )
    return growth.dtype


def _is_finite(state: PyTree, coordinates: Coordinates | None) -> Bool[Array, ""]:
    watched = tangent.partition(state)[0] if coordinates is None else coordinates(state)
    return tree.all_finite(watched)


def _mean_volume(pushing: Pushing, sums: Array, steps: Array) -> Array:
    known = pushing.invariants.volume_growth
    if known is None:
        return jnp.full_like(sums, jnp.nan)
    return sums / steps if callable(known) else jnp.full_like(sums, known)


def grow(pushing: Pushing, state: PyTree, frame: PyTree, plan: Plan) -> Growth:
    """Record a fixed number of blocks; differentiable in both modes."""

    def advance(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], tuple]:
        state, frame, record = _block(pushing, carry[0], carry[1], plan.refreshes)
        return (state, frame), record

    _, record = jax.lax.scan(advance, (state, frame), length=plan.skipped + plan.blocks)
    total, volume, finite = record
    steps = plan.refreshes * pushing.qr_every
    return Growth(
        blocks=total[plan.skipped :] / steps,
        volume=_mean_volume(pushing, volume[plan.skipped :], jnp.asarray(steps, total.dtype)),
        steps_per_block=jnp.asarray(steps),
        finite=jnp.all(finite),
    )


def grow_until(
    pushing: Pushing,
    state: PyTree,
    frame: PyTree,
    plan: Plan,
    num_steps: int,
    target: Float[Array, " k"],
) -> tuple[Growth, Stopping]:
    """Record until every exponent's standard error is at most its target.

    The buffer holds a fixed number of block sums. It is checked at three quarters and when
    full; then neighbouring blocks are joined and the next ones are twice as long. Checks are
    therefore a factor 4/3 or 3/2 apart: one after every block would stop at the luckiest
    moment, with an error that is too small.
    """
    size, quarter = plan.blocks, plan.blocks // _QUARTER
    doublings = math.log2(max(num_steps / (plan.refreshes * pushing.qr_every * size), 1))
    checks = 2 * (math.ceil(doublings) + 1)
    dtype = _growth_dtype(pushing, state, frame)
    width = pushing.num_exponents

    def errors(sums: Array, count: Array, steps: Array) -> tuple[Array, Array]:
        """Mean and standard error of the filled part, per step."""
        short, full = sums[: size - quarter, :width], sums[:, :width]
        error = jnp.where(count == size, standard_error(full), standard_error(short))
        mean = jnp.where(count == size, full.mean(axis=0), short.mean(axis=0))
        return mean / steps, error / steps

    def fill(carry: dict) -> dict:
        refreshes, count = carry["refreshes"], carry["count"]

        def one(index: Array, inner: tuple) -> tuple:
            state, frame, sums, finite = inner
            state, frame, (total, volume, good) = _block(pushing, state, frame, refreshes)
            row = jnp.append(total, volume)
            return state, frame, sums.at[(count + index) % size].set(row), finite & good

        inner = (carry["state"], carry["frame"], carry["sums"], carry["finite"])
        trips = jnp.where(carry["transient"], plan.skipped, quarter)
        state, frame, sums, finite = jax.lax.fori_loop(0, trips, one, inner)
        # What the transient wrote is overwritten before anything reads it.
        count = jnp.where(carry["transient"], 0, count + quarter)
        steps = refreshes * pushing.qr_every
        mean, error = errors(sums, count, steps.astype(dtype))
        checked = count >= size - quarter
        at = jnp.where(checked, carry["check"], checks)  # out of bounds: dropped
        full = count == size
        joined = jnp.where(full, 2 * refreshes, refreshes)
        filled = jnp.where(full, size // 2, count)
        exhausted = (filled + quarter) * joined * pushing.qr_every > num_steps
        reached = checked & jnp.all(error <= target)
        done = reached | (checked & exhausted) | ~finite
        pairs = sums.reshape(size // 2, 2, -1).sum(axis=1)
        merge = full & ~done
        return {
            "state": state,
            "frame": frame,
            "sums": jnp.where(merge, jnp.concatenate([pairs, jnp.zeros_like(pairs)]), sums),
            "finite": finite,
            "transient": jnp.zeros_like(carry["transient"]),
            "refreshes": jnp.where(merge, joined, refreshes),
            "count": jnp.where(merge, filled, count),
            "check": carry["check"] + checked,
            "reached": reached,
            "done": done,
            "trace": carry["trace"].at[at].set(mean, mode="drop"),
            "trace_stderr": carry["trace_stderr"].at[at].set(error, mode="drop"),
            "trace_steps": carry["trace_steps"].at[at].set(count * steps, mode="drop"),
        }

    blank = jnp.full((checks, width), jnp.nan, dtype)
    end = jax.lax.while_loop(
        lambda carry: ~carry["done"],
        fill,
        {
            "state": state,
            "frame": frame,
            "sums": jnp.zeros((size, width + 1), dtype),
            "finite": jnp.asarray(True),
            "transient": jnp.asarray(plan.skipped > 0),
            "refreshes": jnp.asarray(plan.refreshes),
            "count": jnp.asarray(0),
            "check": jnp.asarray(0),
            "reached": jnp.asarray(False),
            "done": jnp.asarray(False),
            "trace": blank,
            "trace_stderr": blank,
            "trace_steps": jnp.zeros(checks, int),
        },
    )
    steps = end["refreshes"] * pushing.qr_every
    sums = jnp.where((jnp.arange(size) < end["count"])[:, None], end["sums"], jnp.nan)
    growth = Growth(
        blocks=sums[:, :width] / steps.astype(dtype),
        volume=_mean_volume(pushing, sums[:, width], steps.astype(dtype)),
        steps_per_block=steps,
        finite=end["finite"],
    )
    stopping = Stopping(
        used=end["count"],
        reached=end["reached"],
        trace=end["trace"],
        trace_stderr=end["trace_stderr"],
        trace_steps=end["trace_steps"],
    )
    return growth, stopping
