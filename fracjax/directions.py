"""Directions through parameter space, one per key."""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key, PyTree

__all__ = ["DirectionKind", "draw", "filter_normalized", "gaussian"]

DirectionKind = Literal["gaussian", "filter"]


def gaussian(key: Key, params: PyTree) -> PyTree:
    """Draw a Gaussian direction with expected root mean square 1 per parameter.

    A step of size h along it moves every parameter by about h, whatever the number of
    parameters: the scale of Gaussian perturbation studies, where X ~ N(params, h² I).
    """
    return tree.random_normal(key, params)


def filter_normalized(key: Key, params: PyTree) -> PyTree:
    """Draw a Gaussian direction whose filters have the norms of the parameters' filters.

    A filter is what feeds one output unit: with Flax's layout, a leaf's slice over all
    axes but the last. Vectors (biases) are scaled as one filter, so that a bias vector of
    zeros is not moved. A step of size 1 along the direction changes each filter by as much
    as its own length, which makes pictures comparable between networks whose weights are
    scaled differently.

    References:
        Li et al. (2018), Visualizing the Loss Landscape of Neural Nets, arXiv 1712.09913.
    """

    def normalize(draw: Array, leaf: Array) -> Array:
        axes = tuple(range(leaf.ndim - 1)) if leaf.ndim > 1 else None
        length = jnp.sqrt(jnp.sum(leaf**2, axis=axes, keepdims=True))
        drawn = jnp.sqrt(jnp.sum(draw**2, axis=axes, keepdims=True))
        return draw * (length / jnp.maximum(drawn, jnp.finfo(draw.dtype).tiny))

    return jax.tree.map(normalize, tree.random_normal(key, params), params)


_DRAW = {"gaussian": gaussian, "filter": filter_normalized}


def draw(kind: DirectionKind, key: Key, params: PyTree, count: int) -> PyTree:
    """Draw `count` directions of one kind, stacked along a new leading axis.

    Args:
        kind: `"gaussian"` or `"filter"`.
        key: Direction i depends on `fold_in(key, i)` alone.
        params: The point the directions start from.
        count: How many directions.

    Returns:
        A pytree like `params` with a leading axis of length `count`.

    Raises:
        ValueError: If `kind` is unknown.
    """
    if kind not in _DRAW:
        msg = f"Argument `kind` must be one of {get_args(DirectionKind)}, but is {kind!r}."
        raise ValueError(msg)
    return _stacked(kind, count, key, params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _stacked(kind: DirectionKind, count: int, key: Key, params: PyTree) -> PyTree:
    """Draw them all in one compiled program."""
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(count))
    return jax.vmap(lambda one: _DRAW[kind](one, params))(keys)
