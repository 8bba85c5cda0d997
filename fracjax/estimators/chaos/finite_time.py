"""Record the growth of tangents step by step, from states whose orbits may terminate."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax import tangent
from fracjax._types import Key, Leaf, PyTree, StepFunction
from fracjax.estimators.settings import check_at_least, check_num_coordinates
from fracjax.tangent import Coordinates, Lift

__all__ = ["TangentGrowth", "finite_time_growth"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TangentGrowth:
    """Record of the tangents along one orbit.

    Attributes:
        growth: Logarithms of growth per step of the leading k tangents, (steps, k), in nats;
            NaN after termination, −inf where a tangent vanished.
        alive: Whether the step started before termination, (steps,).
        observable: Observable after each step, (steps,), or `None`.
        log_projection: ln|∇observable · δ̂| after each step, (steps,), with δ̂ the leading
            tangent at unit length, or `None`. Adding the running sum of `growth[:, 0]` gives
            the logarithm of the observable's tangent.
    """

    growth: Leaf
    alive: Leaf
    observable: Leaf | None
    log_projection: Leaf | None


def finite_time_growth(
    step: StepFunction,
    state: PyTree,
    *,
    num_steps: int,
    num_exponents: int = 1,
    num_transient: int = 0,
    key: Key | None = None,
    coordinates: Coordinates | None = None,
    lift: Lift | None = None,
    alive: Callable[[PyTree], Bool[Array, ""]] | None = None,
    observable: Callable[[PyTree], Float[Array, ""]] | None = None,
) -> TangentGrowth:
    """Record the growth of the leading tangents step by step, from one initial state.

    Args:
        step: One step of the system, for a single unbatched state.
        state: Initial state.
        num_steps: Steps to record.
        num_exponents: Number k of tangents.
        num_transient: Steps made first, with the frame, unrecorded. The first few steps
            from a random frame grow less than the leading exponent says.
        key: Draws the initial frame; a fixed key by default.
        coordinates: Maps a state to the vector in which tangents are measured; by default
            all floating leaves.
        lift: Makes a state from coordinates and a template, `(coordinates, state) -> state`,
            so that the initial tangents are those of physical states; see
            `tangent.random_frame`.
        alive: Whether a state has not terminated. Stepping goes on after termination, the
            record is masked. By default no state terminates.
        observable: A scalar of the state, such as the reward. It is evaluated after every
            step together with its derivative along the leading tangent. Where the reward
            belongs to a transition, let `step` put it into the state and return that leaf:
            then the physics is not evaluated twice.

    Returns:
        The record; its memory is `num_steps` times a few numbers.

    Raises:
        ValueError: If a setting is out of range.
    """
    check_num_coordinates("num_exponents", num_exponents, state, coordinates)
    check_at_least(num_steps=(num_steps, 1), num_transient=(num_transient, 0))
    state = jax.tree.map(jnp.asarray, state)
    key = jax.random.key(0) if key is None else key
    frame = tangent.random_frame(key, state, num_exponents, coordinates, lift)

    def advance(carry: tuple, _: None) -> tuple[tuple, TangentGrowth]:
        state, frame, living = carry
        state, frame = tangent.push(step, state, frame)
        frame, growth = tangent.orthonormalize_frame(state, frame, coordinates)
        record = TangentGrowth(
            jnp.where(living, growth, jnp.nan), living, *_observe(observable, state, frame)
        )
        still = True if alive is None else alive(state)
        return (state, frame, living & still), record

    living = jnp.asarray(True if alive is None else alive(state))
    _, record = jax.lax.scan(advance, (state, frame, living), length=num_transient + num_steps)
    return jax.tree.map(lambda leaf: leaf[num_transient:], record)


def _observe(
    observable: Callable | None, state: PyTree, frame: PyTree
) -> tuple[Array | None, Array | None]:
    """Evaluate the observable and its derivative along the leading tangent."""
    if observable is None:
        return None, None
    leading = jax.tree.map(lambda leaf: leaf[:1], frame)
    value, projection = tangent.push_through(observable, state, leading)
    return value, jnp.log(jnp.abs(projection[0]))
