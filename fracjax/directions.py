"""Directions through parameter space, stacked along a leading axis."""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree

__all__ = [
    "DirectionKind",
    "Vectors",
    "draw",
    "filter_normalized",
    "gaussian",
    "normalize",
    "orthonormalize",
]

# Kinds of random directions; see `draw`.
DirectionKind = Literal["gaussian", "filter", "orthonormal"]
# What biases and other vectors do in filter-normalised directions.
Vectors = Literal["scaled", "zeroed"]


def gaussian(key: Key, params: PyTree) -> PyTree:
    """Draw a Gaussian direction with expected root mean square 1 per parameter.

    A step of size h along it moves every parameter by about h, whatever the number of
    parameters: the scale of Gaussian perturbation studies, where X ~ N(params, h² I).
    """
    return tree.random_normal(key, params)


def filter_normalized(key: Key, params: PyTree, *, vectors: Vectors = "scaled") -> PyTree:
    """Draw a Gaussian direction whose filters have the norms of the parameters' filters.

    A filter is what feeds one output unit: with Flax's layout, a leaf's slice over all
    axes but the last (PyTorch's (outputs, inputs) and (outputs, inputs, h, w) have it along
    the first: transpose before and after). A step of size 1 along the direction changes each
    filter by as much as its own length, which makes pictures comparable between networks
    whose weights are scaled differently.

    Args:
        key: Draws the direction.
        params: The point the direction starts from.
        vectors: What leaves of fewer than two axes (biases, gains of a layer norm, logarithms
            of standard deviations) do. `"scaled"` scales each leaf as one filter, so that a
            bias vector of zeros is not moved and parameters that are vectors alone have
            directions too; `"zeroed"` moves none of them, as the pictures of Li et al. do.

    Raises:
        ValueError: If `vectors` is unknown, or would leave nothing to move.

    References:
        Li et al. (2018), Visualizing the Loss Landscape of Neural Nets, arXiv 1712.09913.
    """
    _check_vectors(params, vectors)
    return _with_filter_norms(tree.random_normal(key, params), params, vectors)


def _check_vectors(params: PyTree, vectors: str) -> None:
    if vectors not in get_args(Vectors):
        msg = f"Argument `vectors` must be one of {get_args(Vectors)}, but is {vectors!r}."
        raise ValueError(msg)
    if vectors == "zeroed" and all(jnp.ndim(leaf) < 2 for leaf in jax.tree.leaves(params)):
        msg = (
            'Argument `vectors` must be "scaled" where `params` hold no matrix,'
            ' but is "zeroed": nothing would move.'
        )
        raise ValueError(msg)


def _with_filter_norms(drawn: PyTree, params: PyTree, vectors: Vectors) -> PyTree:
    def rescale(draw: Array, leaf: Array) -> Array:
        if jnp.ndim(leaf) < 2 and vectors == "zeroed":
            return jnp.zeros_like(draw)
        axes = tuple(range(jnp.ndim(leaf) - 1)) if jnp.ndim(leaf) > 1 else None
        length = jnp.sqrt(jnp.sum(jnp.square(leaf), axis=axes, keepdims=True))
        present = jnp.sqrt(jnp.sum(draw**2, axis=axes, keepdims=True))
        return draw * (length / jnp.maximum(present, jnp.finfo(draw.dtype).tiny))

    return jax.tree.map(rescale, drawn, params)


@jax.jit
def normalize(directions: PyTree) -> PyTree:
    """Scale every one of stacked directions to root mean square 1 over its parameters.

    The unit of all directions but filter-normalised ones: a step of size h along any of them
    moves the parameters by h in root mean square. A direction of zeros stays.
    """
    rows = _rows(directions)
    # Divided by the largest entry first: squares of tiny gradients would underflow.
    largest = jnp.max(jnp.abs(rows), axis=1, keepdims=True)
    rows = rows / jnp.where(largest > 0, largest, 1)
    length = jnp.linalg.norm(rows, axis=1, keepdims=True)
    factor = rows.shape[1] ** 0.5 / jnp.where(length > 0, length, 1)
    return tree.from_rows(rows * factor, directions)


@jax.jit
def orthonormalize(directions: PyTree) -> PyTree:
    """Make stacked directions orthogonal in their order, each of root mean square 1.

    The first keeps its direction; every other loses its components along those before it, by
    Householder's QR: orthogonal to rounding however close to dependent they were. There must
    be no more directions than parameters, and none may depend on those before it: what is
    left of it would be rounding.
    """
    rows = _rows(directions)
    basis, triangle = jnp.linalg.qr(rows.T)
    sign = jnp.where(jnp.diagonal(triangle) < 0, -1, 1).astype(basis.dtype)
    return tree.from_rows((basis * sign).T * rows.shape[1] ** 0.5, directions)


def _rows(directions: PyTree) -> Float[Array, "k n"]:
    """One row per direction, of at least single precision."""
    rows = tree.to_rows(directions)
    return rows.astype(jnp.result_type(jnp.float32, rows))


def draw(
    kind: DirectionKind, key: Key, params: PyTree, count: int, *, vectors: Vectors = "scaled"
) -> PyTree:
    """Draw `count` directions of one kind, stacked along a new leading axis.

    Args:
        kind: `"gaussian"`: standard normal numbers. `"filter"`: the same with the norms of
            the parameters' filters, see `filter_normalized`. `"orthonormal"`: the same made
            orthogonal to rounding, each with root mean square exactly 1 per parameter.
        key: Direction i depends on `fold_in(key, i)` (orthonormal ones: up to i) alone.
        params: The point the directions start from.
        count: How many directions.
        vectors: Of `"filter"` alone: what biases and other vectors do.

    Returns:
        A pytree like `params` with a leading axis of length `count`.

    Raises:
        ValueError: If `kind` or `vectors` is unknown, or there are more orthonormal
            directions than parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import directions
        >>> found = directions.draw("orthonormal", jax.random.key(0), {"w": jnp.zeros((3, 2))}, 2)
        >>> print((found["w"] ** 2).mean(axis=(1, 2)).round(6))
        [1. 1.]
    """
    if kind not in get_args(DirectionKind):
        msg = f"Argument `kind` must be one of {get_args(DirectionKind)}, but is {kind!r}."
        raise ValueError(msg)
    if kind == "filter":
        _check_vectors(params, vectors)
    if kind == "orthonormal" and count > tree.size(params):
        msg = (
            "Argument `count` must be at most the number of parameters for orthonormal"
            f" directions, but is {count} of {tree.size(params)}."
        )
        raise ValueError(msg)
    return _stacked(kind, count, vectors, key, params)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _stacked(kind: DirectionKind, count: int, vectors: Vectors, key: Key, params: PyTree) -> PyTree:
    """Draw them all in one compiled program."""
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(count))
    drawn = jax.vmap(lambda one: tree.random_normal(one, params))(keys)
    if kind == "orthonormal":
        return orthonormalize(drawn)
    if kind == "filter":
        return jax.vmap(lambda one: _with_filter_norms(one, params, vectors))(drawn)
    return drawn
