"""When each of several events is first seen along an iteration: one lane, vmapped by the caller."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from fracjax import tree
from fracjax._types import PyTree

__all__ = ["Passage", "first_passage"]


class Passage(NamedTuple):
    """First steps at which events were seen.

    Attributes:
        times: Updates made before each event was seen; `max_steps` where it was not.
        observed: Whether it was seen; where not, its time is censored.
        state: State at the end: of the last event, or after `max_steps` updates.
        steps: Updates made.
        alive: Whether the state stayed usable.
    """

    times: Int[Array, "*events"]
    observed: Bool[Array, "*events"]
    state: PyTree
    steps: Int[Array, ""]
    alive: Bool[Array, ""]


def first_passage(
    step: Callable[[PyTree, Array], tuple[Array, Array, PyTree]],
    state: PyTree,
    *,
    max_steps: int,
    shape: tuple[int, ...] = (),
) -> Passage:
    """Iterate until all events were seen, the state fails, or `max_steps` updates were made.

    Memory does not depend on the number of steps. Under `jax.vmap` the loop runs until the last
    lane is done, with lanes that are done left as they are: sort lanes by their expected time and
    map chunks of them, where times differ by orders of magnitude.

    Args:
        step: `(state, index) -> (events, alive, next state)`: which events hold in the state
            before the update of this index, whether the state is usable, and the state after it.
        state: Where to start.
        max_steps: Most updates, at least 1 and below 2^31.
        shape: Shape of `events`.

    Raises:
        ValueError: If `max_steps` is out of range.
    """
    if not 1 <= max_steps < 2**31:
        msg = f"Argument `max_steps` must lie in [1, 2^31), but is {max_steps}."
        raise ValueError(msg)

    def going(carry: tuple) -> Array:
        return carry[-1]

    def advance(carry: tuple) -> tuple:
        index, now, times, _, _ = carry
        events, alive, after = step(now, index)
        times = jnp.where((times < 0) & events & alive, index, times)
        go = alive & jnp.any(times < 0) & (index < max_steps)
        now = tree.select(go, after, now)
        return index + go, now, times, alive, go

    start = (
        jnp.zeros((), jnp.int32),
        state,
        jnp.full(shape, -1, jnp.int32),
        jnp.asarray(True),
        jnp.asarray(True),
    )
    index, state, times, alive, _ = jax.lax.while_loop(going, advance, start)
    return Passage(jnp.where(times < 0, max_steps, times), times >= 0, state, index, alive)
