"""Decompose some tensors of a network and hold the others fixed.

    chosen, apply_chosen = restrict(network.apply, params, "blocks/0/attention/*")
    decompose(apply_chosen, chosen, inputs, key, settings)

Gradients are taken of the chosen tensors alone, so that a batch of them takes samples times chosen
numbers, whatever the size of the network; `FitSettings.chunk` bounds the backward passes.
"""

import fnmatch
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import PyTree
from fracjax.learning.decomposition.sample_gradients import Apply

__all__ = ["choose_tensors", "replace_tensors", "restrict", "tensor_names"]


def tensor_names(params: PyTree) -> list[str]:
    """Paths of all tensors, such as `blocks/0/attention/query`, in the order of leaves."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def choose_tensors(params: PyTree, *patterns: str) -> dict[str, Array]:
    """Take the tensors whose path matches one of the patterns.

    Args:
        params: Parameters of a network.
        *patterns: Shell patterns of paths, in which `*` stands for anything, slashes too.

    Returns:
        Tensors by path.

    Raises:
        ValueError: If there is no pattern, or one that matches nothing.
    """
    leaves = map(jnp.asarray, jax.tree.leaves(params))
    named = dict(zip(tensor_names(params), leaves, strict=True))
    idle = [p for p in patterns if not any(fnmatch.fnmatchcase(name, p) for name in named)]
    if idle or not patterns:
        msg = (
            f"Argument `patterns` must match tensors of {', '.join(named)}, but"
            f" {idle or 'there is none'} does not."
        )
        raise ValueError(msg)
    return {
        name: leaf
        for name, leaf in named.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def replace_tensors(params: PyTree, chosen: dict[str, Array]) -> PyTree:
    """Put tensors back in their places; all others stay those of `params`.

    Args:
        params: Parameters of a network.
        chosen: Tensors by path, from `choose_tensors`.

    Raises:
        ValueError: If a path is not one of `params`.
    """
    leaves, structure = jax.tree.flatten(params)
    names = tensor_names(params)
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        msg = f"Argument `chosen` must hold tensors of {', '.join(names)}, but holds {unknown}."
        raise ValueError(msg)
    found = [chosen.get(name, leaf) for name, leaf in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(structure, found)


def restrict(
    apply: Apply, params: PyTree, *patterns: str
) -> tuple[dict[str, Array], Callable[[dict[str, Array], PyTree], PyTree]]:
    """Make a network a function of some of its tensors.

    Args:
        apply: `(params, x) -> output` of one sample.
        params: Parameters; those that are not chosen are held fixed at them.
        *patterns: See `choose_tensors`.

    Returns:
        The chosen tensors, and `(chosen, x) -> output`.
    """

    def apply_chosen(chosen: dict[str, Array], x: PyTree) -> PyTree:
        return apply(replace_tensors(params, chosen), x)

    return choose_tensors(params, *patterns), apply_chosen
