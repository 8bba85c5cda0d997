"""Frames of tangents as rows of numbers, and the triangular factor of their growth."""

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from fracjax import tangent
from fracjax._types import PyTree, StepFunction
from fracjax.orthonormal import orthonormalize, solve_lower
from fracjax.tangent import Coordinates

__all__ = ["advance_frame", "coordinate_vector", "frame_rows"]


def coordinate_vector(state: PyTree, coordinates: Coordinates | None) -> Float[Array, " n"]:
    """Read the vector in which tangents are measured; by default all floating leaves."""
    if coordinates is None:
        return ravel_pytree(tangent.partition(state)[0])[0]
    return coordinates(state)


def frame_rows(
    state: PyTree, frame: PyTree, coordinates: Coordinates | None = None
) -> Float[Array, "k n"]:
    """Write k tangents as rows of coordinates."""
    if coordinates is None:
        return jax.vmap(lambda one: ravel_pytree(one)[0])(frame)
    return tangent.push_through(coordinates, state, frame)[1]


def advance_frame(
    step: StepFunction,
    state: PyTree,
    frame: PyTree,
    coordinates: Coordinates | None = None,
    num_steps: int = 1,
) -> tuple[PyTree, PyTree, Float[Array, "k k"]]:
    """Push an orthonormal frame some steps ahead and factor what it has become.

    In rows, `pushed frame = lower @ new frame`. The logarithms of the diagonal are the
    growth that `tangent.orthonormalize_frame` reports; the rest says how the tangents lean
    towards the earlier ones.

    Args:
        step: One step of the system.
        state: Where the frame is.
        frame: k orthonormal tangents.
        coordinates: See `tangent.orthonormalize_frame`.
        num_steps: Steps before the factorisation.

    Returns:
        The state reached, the orthonormal frame there and the lower triangular factor.
    """

    def push(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], None]:
        return tangent.push(step, *carry), None

    (state, frame), _ = jax.lax.scan(push, (state, frame), length=num_steps)
    basis, lower = orthonormalize(frame_rows(state, frame, coordinates))
    if coordinates is None:
        _, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], frame))
        return state, jax.vmap(unravel)(basis), lower

    def combine(leaf: Array) -> Array:
        return solve_lower(lower, leaf.reshape(len(lower), -1)).reshape(leaf.shape)

    return state, jax.tree.map(combine, frame), lower
