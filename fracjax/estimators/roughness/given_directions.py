"""Directions chosen by the user: coordinate axes or a stacked pytree."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import tree
from fracjax._types import Estimate, PyTree
from fracjax.estimators.roughness.anisotropy import compare_directions

__all__ = ["stack_directions", "with_directions"]

_RESOLUTION = 1e-3


def stack_directions(params: PyTree, directions: str | PyTree) -> PyTree | None:
    """Turn the argument `directions` of `holder_exponent` into stacked directions.

    Returns:
        A pytree like `params` with a leading axis, or None for random directions.

    Raises:
        ValueError: If the directions are not like `params`, or one has length zero.
    """
    if isinstance(directions, str):
        if directions not in ("random", "axes"):
            msg = (
                'Argument `directions` must be "random", "axes" or a pytree like `params`,'
                f" but is {directions!r}."
            )
            raise ValueError(msg)
        if directions == "random":
            return None
        leaves, structure = jax.tree.flatten(params)
        ends = np.cumsum([leaf.size for leaf in leaves])
        parts = np.split(np.eye(ends[-1]), ends[:-1], axis=1)
        stacked = [
            jnp.asarray(part.reshape((-1, *leaf.shape)), leaf.dtype)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, stacked)
    given = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), directions, params)
    shapes = [(leaf.shape[:1], leaf.shape[1:]) for leaf in jax.tree.leaves(given)]
    wanted = [leaf.shape for leaf in jax.tree.leaves(params)]
    if len({count for count, _ in shapes}) != 1 or [shape for _, shape in shapes] != wanted:
        msg = "Argument `directions` must be like `params` with one leading axis on every leaf."
        raise ValueError(msg)
    if not bool((jax.vmap(tree.norm)(given) > 0).all()):
        msg = "Argument `directions` must not hold a direction of length zero."
        raise ValueError(msg)
    return given


def with_directions(pooled: Estimate, every: Estimate) -> Estimate:
    """Add the exponents of given directions to the details of the exponent of all lines.

    Differences below .001 count as none, since smooth directions have no error to speak of.

    Args:
        pooled: Exponent of all lines together.
        every: Exponents of the directions, on a leading axis.
    """
    usable = jnp.isfinite(every.value)
    stderrs = jnp.where(usable, jnp.maximum(every.stderr, _RESOLUTION), 1.0)
    compare = compare_directions
    for _ in pooled.value.shape:
        compare = jax.vmap(compare, in_axes=-1, out_axes=-1)
    compared = jax.jit(compare)(jnp.nan_to_num(every.value), stderrs, usable)
    details: dict[str, Any] = {
        **pooled.details,
        "direction_exponents": jnp.moveaxis(every.value, 0, -1),
        "direction_stderrs": jnp.moveaxis(every.stderr, 0, -1),
        "direction_statuses": jnp.moveaxis(every.status, 0, -1),
        "homogeneity_p_value": compared.p_value,
        "direction_spread": compared.spread,
        "minimum_exponent": compared.minimum,
        "minimum_stderr": compared.minimum_stderr,
        "minimum_direction": compared.minimum_index,
    }
    return dataclasses.replace(pooled, details=details)
