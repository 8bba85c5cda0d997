"""Blocks of parameters: the layers whose curvature is asked for, and the rest held fixed."""

from collections.abc import Callable
from typing import TypeAlias

import jax
from jax.tree_util import keystr

from fracjax._types import PyTree

__all__ = ["Mask", "combine", "layer_masks", "partition", "path_name"]

# A pytree of bools that may end early (one bool for a whole layer), or a predicate of paths.
Mask: TypeAlias = PyTree | Callable[[str], bool]


def partition(params: PyTree, mask: Mask) -> tuple[PyTree, PyTree]:
    """Cut parameters into the masked ones and the others.

    Both parts have the structure of `params` with None in place of what the other part holds.
    None is an empty pytree, so that a part is a vector of its own numbers alone: its directions,
    gradients and eigenvectors have the same structure.

    Args:
        params: Pytree of arrays.
        mask: A pytree of bools, which may end early (`{"encoder": True, "head": False}`), or a
            function of a leaf's path such as `"encoder/0/kernel"`.

    Raises:
        ValueError: If the mask holds something other than bools, does not fit, or selects nothing.
    """
    if callable(mask):
        chosen = jax.tree_util.tree_map_with_path(
            lambda path, _: bool(mask(path_name(path))), params
        )
    else:
        chosen = _broadcast(mask, params)
    kept = jax.tree.map(lambda keep, leaf: leaf if keep else None, chosen, params)
    rest = jax.tree.map(lambda keep, leaf: None if keep else leaf, chosen, params)
    if not jax.tree.leaves(kept):
        names = ", ".join(
            path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)
        )
        msg = f"Argument `mask` must select at least one leaf, but selects none of: {names}."
        raise ValueError(msg)
    return kept, rest


def combine(part: PyTree, rest: PyTree) -> PyTree:
    """Put the two parts of `partition` together again."""
    return jax.tree.map(
        lambda one, other: other if one is None else one, part, rest, is_leaf=lambda x: x is None
    )


def layer_masks(params: PyTree, *, depth: int = 1) -> dict[str, PyTree]:
    """Masks of all blocks, by name: what lies below the first `depth` steps of the paths.

    `{name: top_eigenpairs(hessian(loss, params, data, mask=mask), key) for name, mask in
    layer_masks(params).items()}` gives the spectrum of every layer.

    Args:
        params: Pytree of arrays. Flax keeps its layers one step down in older versions
            (`params/Dense_0/kernel`): take `depth=2` there.
        depth: Steps of a path that name a block; deep enough, every leaf is a block of its own.

    Raises:
        ValueError: If `depth` is not positive.
    """
    if depth < 1:
        msg = f"Argument `depth` must be positive, but is {depth}."
        raise ValueError(msg)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    names = dict.fromkeys(path_name(path[:depth]) for path in paths)

    def mask(name: str) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: path_name(path[:depth]) == name, params
        )

    return {name: mask(name) for name in names}


def path_name(path: tuple) -> str:
    """Write a path of JAX with slashes."""
    return keystr(path, simple=True, separator="/")


def _broadcast(mask: PyTree, params: PyTree) -> PyTree:
    leaves = jax.tree.leaves(mask)
    if not all(isinstance(leaf, bool) for leaf in leaves):
        kinds = sorted({type(leaf).__name__ for leaf in leaves})
        msg = f"Argument `mask` must hold bools, but holds {', '.join(kinds)}."
        raise ValueError(msg)
    try:
        return jax.tree.map(lambda keep, below: jax.tree.map(lambda _: keep, below), mask, params)
    except (ValueError, TypeError) as error:
        msg = "Argument `mask` must have the structure of `params` or end early, but has not."
        raise ValueError(msg) from error
