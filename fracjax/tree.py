"""Vector-space algebra on pytrees of arrays."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax._types import Key, PyTree

__all__ = [
    "add_scaled",
    "all_finite",
    "astype",
    "dot",
    "from_rows",
    "norm",
    "random_normal",
    "scale",
    "select",
    "size",
    "to_rows",
]


def dot(left: PyTree, right: PyTree) -> Float[Array, ""]:
    """Sum of products over all leaves."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), left, right)
    return jax.tree.reduce(jnp.add, products)


def norm(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm over all leaves."""
    return jnp.sqrt(dot(tree, tree))


def scale(factor: float | Array, tree: PyTree) -> PyTree:
    """Multiply every leaf by `factor`, keeping dtypes."""
    return jax.tree.map(lambda leaf: (factor * leaf).astype(leaf.dtype), tree)


def add_scaled(tree: PyTree, factor: float | Array, direction: PyTree) -> PyTree:
    """Return `tree + factor * direction`, in the dtypes of `tree`."""
    return jax.tree.map(lambda a, d: (a + factor * d).astype(a.dtype), tree, direction)


def select(condition: Bool[Array, "..."], chosen: PyTree, other: PyTree) -> PyTree:
    """Take the leaves of `chosen` where the condition holds, those of `other` elsewhere."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)


def size(tree: PyTree) -> int:
    """Number of scalars in all leaves."""
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree))


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of every leaf is finite; a tree without leaves is."""
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all() if leaves else jnp.ones((), bool)


def astype(tree: PyTree, dtype: jnp.dtype | str) -> PyTree:
    """Cast the floating leaves to `dtype` and leave the others alone."""

    def cast(leaf: Array) -> Array:
        leaf = jnp.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)


def to_rows(stacked: PyTree) -> Float[Array, "k n"]:
    """Lay the leaves of k stacked pytrees side by side, a row for each of them."""
    leaves = jax.tree.leaves(stacked)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def from_rows(rows: Float[Array, "k n"], like: PyTree) -> PyTree:
    """Undo `to_rows`: cut rows into leaves of the shapes and dtypes of the stacked `like`."""
    leaves, structure = jax.tree.flatten(like)
    parts, start = [], 0
    for leaf in leaves:
        width = leaf.size // leaf.shape[0]
        parts.append(rows[:, start : start + width].reshape(leaf.shape).astype(leaf.dtype))
        start += width
    return jax.tree.unflatten(structure, parts)


def random_normal(key: Key, like: PyTree) -> PyTree:
    """Draw a standard normal pytree with the shapes and dtypes of `like`.

    All numbers come from one draw that is cut into leaves. The same key for every leaf
    would give equal noise to equal-shaped layers, and a key per leaf costs a generator per
    leaf to compile, a third of a second each on a CPU.
    """
    leaves, structure = jax.tree.flatten(like)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    flat = jax.random.normal(key, (size(like),), jnp.result_type(*leaves))
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = jnp.split(flat, ends)
    draws = [
        part.reshape(leaf.shape).astype(leaf.dtype)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, draws)
