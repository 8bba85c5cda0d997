"""Random walks beside gradient descent: of the same steps, or of the same displacement."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree

__all__ = ["Matching", "displacement_matched", "step_matched_walk"]

Matching = Literal["network", "leaf"]


def step_matched_walk(params: PyTree, squared_lengths: Float[Array, " points"], key: Key) -> PyTree:
    """Walk at random in steps as long as those of an optimiser; the control of Lyle et al.

    Every step is isotropic and Gaussian with the root mean square length of the optimiser's
    step. A sum of such steps is Gaussian, so that the walk is drawn at the points that are
    wanted, exactly in law, however many steps lie between.

    A walk of T steps of length s gets s·√T far, descent up to s·T. Matching steps does not match
    distance: where the walk finds nothing, it may have looked nowhere. Use
    `displacement_matched` beside it.

    Args:
        params: Start.
        squared_lengths: Sum of squared lengths of the optimiser's steps between one point and
            the next, (points,).
        key: Randomness.

    Returns:
        Parameters at the points, without the start: a leading axis on every leaf.
    """
    size = tree.size(params)

    def move(here: PyTree, now: tuple[Array, Key]) -> tuple[PyTree, PyTree]:
        square, own = now
        there = tree.add_scaled(here, jnp.sqrt(square / size), tree.random_normal(own, here))
        return there, there

    keys = jax.random.split(key, len(squared_lengths))
    _, points = jax.lax.scan(move, params, (jnp.asarray(squared_lengths), keys))
    return points


def displacement_matched(
    params: PyTree, like: PyTree, key: Key, *, matching: Matching = "network"
) -> PyTree:
    """Move at random exactly as far as an optimiser got; the stricter control.

    Args:
        params: Start.
        like: Where the optimiser ended.
        key: Draws the direction.
        matching: Whether the distance of the whole `"network"` is kept, or that of every
            `"leaf"`, so that layers that moved much move much.

    Raises:
        ValueError: If there is no such matching.
    """
    if matching not in get_args(Matching):
        msg = f"Argument `matching` must be one of {get_args(Matching)}, but is {matching!r}."
        raise ValueError(msg)
    direction = tree.random_normal(key, params)
    moved = jax.tree.map(jnp.subtract, like, params)
    if matching == "network":
        return tree.add_scaled(params, tree.norm(moved) / tree.norm(direction), direction)

    def leaf(start: Array, change: Array, drawn: Array) -> Array:
        length = jnp.linalg.norm(drawn.ravel())
        return start + jnp.linalg.norm(change.ravel()) / length * drawn

    return jax.tree.map(leaf, params, moved, direction)
