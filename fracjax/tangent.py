"""Push tangents of a pytree state through a step, and keep them apart.

A frame holds k tangents of one state: a pytree shaped like the state, with a leading axis
of length k on every floating leaf and `None` in place of the others (counters and keys are
carried along, never differentiated). Only forward mode is used and no Jacobian is formed.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree, StepFunction
from fracjax.orthonormal import Method, orthonormalize, solve_lower

__all__ = [
    "Coordinates",
    "Lift",
    "check_same_kind",
    "combine",
    "jvp_error",
    "num_coordinates",
    "orthonormalize_frame",
    "partition",
    "push",
    "push_through",
    "random_frame",
]

# Maps a state to the vector in which tangents are measured.
Coordinates: TypeAlias = Callable[[PyTree], Float[Array, " n"]]
# Makes a state of such a vector and a state to take everything else from.
Lift: TypeAlias = Callable[[Float[Array, " n"], PyTree], PyTree]


def partition(state: PyTree) -> tuple[PyTree, PyTree]:
    """Split a pytree into floating leaves and the rest, with `None` in the gaps.

    The floating leaves get a strong dtype, so that `jnp.full(2, 0.1)` and `jnp.zeros(2)` are
    the same kind of state to a compiled function.
    """

    def floating(leaf: Array) -> bool:
        return jnp.issubdtype(leaf.dtype, jnp.floating)

    state = jax.tree.map(jnp.asarray, state)
    moving = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, leaf.dtype) if floating(leaf) else None, state
    )
    fixed = jax.tree.map(lambda leaf: None if floating(leaf) else leaf, state)
    return moving, fixed


def combine(moving: PyTree, fixed: PyTree) -> PyTree:
    """Undo `partition`."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, moving, fixed, is_leaf=lambda leaf: leaf is None
    )


def num_coordinates(state: PyTree, coordinates: Coordinates | None = None) -> int:
    """Count the coordinates in which tangents of `state` are measured."""
    if coordinates is None:
        return tree.size(partition(state)[0])
    return tree.size(jax.eval_shape(coordinates, state))


def check_same_kind(function: str, before: PyTree, after: PyTree) -> None:
    """Check that a function gave back a state of the kind it took; JAX asks it of loops.

    Args:
        function: What the function is called.
        before: The state, of arrays or their shapes.
        after: What came of it.

    Raises:
        ValueError: If structure, a shape or a dtype differs.
    """
    taken: Any = jax.tree.structure(before)
    returned: Any = jax.tree.structure(after)
    if taken != returned:
        msg = (
            f"{function} must return a state of the structure that it takes, but takes {taken} and"
            f" returns {returned}."
        )
        raise ValueError(msg)
    given = jax.tree_util.tree_leaves_with_path(before)
    for (path, old), new in zip(given, jax.tree.leaves(after), strict=True):
        # A loop itself turns a Python number into the dtype that comes back.
        retyped = old.dtype != new.dtype and not getattr(old, "weak_type", False)
        if old.shape != new.shape or retyped:
            where = f" at `{jax.tree_util.keystr(path)}`" if path else ""
            msg = (
                f"{function} must return a state of the shapes and dtypes that it takes, but takes"
                f" {old.dtype}{list(old.shape)} and returns {new.dtype}{list(new.shape)}{where}."
            )
            raise ValueError(msg)


def push(step: StepFunction, state: PyTree, frame: PyTree) -> tuple[PyTree, PyTree]:
    """Advance a state by one step and its tangents by the step's derivative.

    One Jacobian-vector product per tangent; the state itself is advanced once, not once
    per tangent.

    Args:
        step: One step of the system, for a single unbatched state.
        state: Pytree of arrays.
        frame: Tangents of the floating leaves, stacked along a leading axis.

    Returns:
        The next state and the tangents at it.

    Raises:
        ValueError: If the step returns a state of another structure, shape or dtype.
    """

    def checked(state: PyTree) -> PyTree:
        after = jax.tree.map(jnp.asarray, step(state))
        check_same_kind("Argument `step`", state, after)
        return after

    return push_through(checked, state, frame)


def push_through(
    function: Callable[[PyTree], PyTree], state: PyTree, frame: PyTree
) -> tuple[PyTree, PyTree]:
    """Give `function(state)` and its derivatives along tangents, as `push` for any function."""
    moving, fixed = partition(state)

    def move(leaves: PyTree) -> tuple[PyTree, PyTree]:
        return partition(function(combine(leaves, fixed)))

    def along(tangent: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        return jax.jvp(move, (moving,), (tangent,), has_aux=True)

    moving, frame, fixed = jax.vmap(along, out_axes=(None, 0, None))(frame)
    return combine(moving, fixed), frame


def orthonormalize_frame(
    state: PyTree,
    frame: PyTree,
    coordinates: Coordinates | None = None,
    method: Method = "auto",
) -> tuple[PyTree, Float[Array, " k"]]:
    """Restore an orthonormal frame and report how much it had grown.

    With `coordinates`, lengths and angles are those of `D coordinates(state) · frame`, and
    the same linear combinations are applied to the whole tangents. This is what a simulator
    state needs: a large redundant pytree of which a few numbers are the physical state. A
    floating leaf that only accumulates (a running sum) should not be part of such a state:
    its tangent is not normalised and can overflow.

    Args:
        state: The state the tangents belong to.
        frame: k tangents.
        coordinates: Maps a state to a vector of n >= k numbers; by default all floating
            leaves, side by side.
        method: How to factorise, see `orthonormal.orthonormalize`.

    Returns:
        The orthonormal frame and the k logarithms of growth, in nats: the logarithm of the
        diagonal of the triangular factor, −inf for a tangent that has vanished.
    """
    if coordinates is None:
        rows = tree.to_rows(frame)
        basis, lower = orthonormalize(rows, method)
        frame = tree.from_rows(basis, frame)
    else:
        # The projection is linear in the frame, so it is the push through `coordinates`.
        _, rows = push_through(coordinates, state, frame)
        _, lower = orthonormalize(rows, method)
        solved = [
            solve_lower(lower, leaf.reshape(leaf.shape[0], -1)).reshape(leaf.shape)
            for leaf in jax.tree.leaves(frame)
        ]
        frame = jax.tree.unflatten(jax.tree.structure(frame), solved)
    return frame, jnp.log(jnp.diagonal(lower))


def random_frame(
    key: Key,
    state: PyTree,
    num_tangents: int,
    coordinates: Coordinates | None = None,
    lift: Lift | None = None,
) -> PyTree:
    """Draw an orthonormal frame in general position.

    The frame is random and not the identity, because axes can be invariant directions and
    would then keep their exponents in the order of the axes.

    Args:
        key: Randomness.
        state: The state the tangents belong to.
        num_tangents: How many.
        coordinates: See `orthonormalize_frame`.
        lift: Makes a state from coordinates, with the rest taken from the given state. The
            frame is then the image of a random frame of coordinates. Without it every
            floating leaf gets a tangent of its own, also those that hold constants, whose
            tangents never decay and hide a negative exponent.
    """
    if lift is not None and coordinates is not None:
        vector = coordinates(state)
        rows = random_frame(key, vector, num_tangents)
        _, frame = push_through(lambda moved: lift(moved, state), vector, rows)
        return orthonormalize_frame(state, frame, coordinates)[0]
    moving, _ = partition(state)
    like = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_tangents, *leaf.shape)), moving)
    frame = tree.random_normal(key, like)
    return orthonormalize_frame(state, frame, coordinates)[0]


def jvp_error(
    function: Callable[[PyTree], PyTree], state: PyTree, key: Key, *, scale: float | None = None
) -> Float[Array, ""]:
    """Compare a derivative along a random direction with central differences.

    Args:
        function: Maps a pytree to a pytree; a step, an observable, coordinates.
        state: Where to differentiate.
        key: Draws the direction, of unit length over all floating leaves.
        scale: Step of the difference; the cube root of the rounding unit by default.

    Returns:
        Length of the difference between the two derivatives over the length of the larger.
    """
    moving, fixed = partition(state)
    direction = random_frame(key, state, 1)
    tangent = jax.tree.map(lambda leaf: leaf[0], direction)
    if scale is None:
        scale = float(jnp.finfo(jnp.result_type(*jax.tree.leaves(moving))).eps) ** (1 / 3)

    def values(leaves: PyTree) -> PyTree:
        return partition(function(combine(leaves, fixed)))[0]

    _, exact = jax.jvp(values, (moving,), (tangent,))
    above = values(tree.add_scaled(moving, scale, tangent))
    below = values(tree.add_scaled(moving, -scale, tangent))
    rough = jax.tree.map(lambda a, b: (a - b) / (2 * scale), above, below)
    gap = tree.norm(tree.add_scaled(exact, -1.0, rough))
    return gap / jnp.maximum(tree.norm(exact), tree.norm(rough))
