"""Paths as matrices: one row per snapshot, for the whole network or for each of its layers."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import PyTree

__all__ = ["WHOLE", "Grouping", "check_path", "group_names", "path_matrices"]

Grouping: TypeAlias = Literal["network", "layer", "leaf"] | Callable[[tuple], str]
WHOLE = "network"


def path_matrices(
    snapshots: PyTree, *, group: Grouping = "layer"
) -> dict[str, Float[Array, "n size"]]:
    """Flatten stacked snapshots into one matrix per layer, or into one.

    Args:
        snapshots: Leaves of shape (n, ...): the parameters at n times.
        group: `"network"` puts all into one matrix, `"layer"` the leaves of one module (a
            kernel with its bias; a leaf at the top is a layer of its own), `"leaf"` none; or a
            function of a leaf's path (as in `jax.tree_util`) to a name.

    Returns:
        Matrices by name, in the order of the leaves.

    Raises:
        ValueError: If there is nothing in it, lengths differ, or `group` is unknown.
    """
    names = group_names(snapshots, group=group)
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(snapshots)]
    if not leaves or len({leaf.shape[:1] for leaf in leaves}) != 1 or not leaves[0].ndim:
        shapes = [leaf.shape for leaf in leaves]
        msg = f"Argument `snapshots` must hold arrays of one first length, but has {shapes}."
        raise ValueError(msg)
    parts: dict[str, list[Array]] = {}
    for name, leaf in zip(names, leaves, strict=True):
        parts.setdefault(name, []).append(leaf.reshape(leaf.shape[0], -1))
    return {name: jnp.concatenate(found, axis=1) for name, found in parts.items()}


def group_names(tree: PyTree, *, group: Grouping = "layer") -> list[str]:
    """Name the group of every leaf, see `path_matrices`."""
    if not callable(group) and group not in ("network", "layer", "leaf"):
        choices = get_args(get_args(Grouping)[0])
        msg = f"Argument `group` must be one of {choices} or callable, but is {group!r}."
        raise ValueError(msg)
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    if callable(group):
        return [group(path) for path in paths]
    if group == "network":
        return [WHOLE for _ in paths]
    if group == "leaf":
        return [_name(path) for path in paths]
    return [_name(path[:-1] if len(path) > 1 else path) for path in paths]


def check_path(snapshots: Any, *, name: str = "snapshots") -> None:
    """Check that something is a matrix with two rows at least.

    Raises:
        ValueError: If it is not.
    """
    shape = jnp.shape(snapshots)
    if len(shape) != 2 or shape[0] < 2 or shape[1] < 1:
        msg = (
            f"Argument `{name}` must be a matrix with one row per time and at least two rows,"
            f" but has shape {shape}."
        )
        raise ValueError(msg)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/") or WHOLE
