"""Sums over batches of data that are too many to be taken at once."""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import tree
from fracjax._types import Leaf, PyTree

__all__ = ["Batches", "Reduction", "first_batch", "in_batches", "over_batches"]

Reduction = Literal["mean", "sum"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batches:
    """Data in batches of equal size, and a smaller last one.

    Attributes:
        equal: Pytree with leading axes (batches, size).
        last: What is left, with the leading axis (rest,), or None.
        weights: What a batch counts for in a sum over batches, (batches [+ 1],).
    """

    equal: PyTree
    last: PyTree | None
    weights: Leaf


def in_batches(data: PyTree, batch_size: int, *, reduction: Reduction = "mean") -> Batches:
    """Cut data into batches, weighted such that their sum is that of all data at once.

    Args:
        data: Pytree of arrays with a common leading axis of samples.
        batch_size: Samples of a batch; the last one holds what is left over.
        reduction: What the loss does with the samples of its batch. A `"mean"` weighs a batch
            by its share of the samples, so that an unequal last batch does no harm; a `"sum"`
            weighs all batches by 1.

    Raises:
        ValueError: If the leading axes differ, or a setting is out of range.
    """
    leaves = jax.tree.leaves(data)
    lengths = {len(leaf) if np.ndim(leaf) else 0 for leaf in leaves}
    if len(lengths) != 1 or 0 in lengths:
        msg = (
            "Argument `data` must hold arrays with one common leading axis of samples, but has"
            f" axes of {sorted(lengths)}."
        )
        raise ValueError(msg)
    if batch_size < 1:
        msg = f"Argument `batch_size` must be positive, but is {batch_size}."
        raise ValueError(msg)
    if reduction not in get_args(Reduction):
        msg = f"Argument `reduction` must be one of {get_args(Reduction)}, but is {reduction!r}."
        raise ValueError(msg)
    (total,) = lengths
    size = min(batch_size, total)
    count, rest = divmod(total, size)
    equal = jax.tree.map(
        lambda leaf: jnp.asarray(leaf)[: count * size].reshape(count, size, *leaf.shape[1:]), data
    )
    last = jax.tree.map(lambda leaf: jnp.asarray(leaf)[count * size :], data) if rest else None
    sizes = np.array([size] * count + [rest] * bool(rest), float)
    weights = sizes / total if reduction == "mean" else np.ones_like(sizes)
    return Batches(equal, last, jnp.asarray(weights, jnp.result_type(float)))


def first_batch(batches: PyTree) -> PyTree:
    """The first batch, or the data if they are not in batches."""
    if not isinstance(batches, Batches):
        return batches
    return jax.tree.map(lambda leaf: leaf[0], batches.equal)


def over_batches(function: Callable[[PyTree], PyTree], batches: PyTree) -> PyTree:
    """Sum a function of a batch over `Batches` with their weights; apply it to anything else.

    One batch at a time: memory is that of one. The sum has the dtype of the function's values.
    """
    if not isinstance(batches, Batches):
        return function(batches)
    count = len(jax.tree.leaves(batches.equal)[0])

    def add(total: PyTree, each: tuple) -> tuple[PyTree, None]:
        weight, batch = each
        return tree.add_scaled(total, weight, function(batch)), None

    shapes = jax.eval_shape(function, first_batch(batches))
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = jax.lax.scan(add, nothing, (batches.weights[:count], batches.equal))
    if batches.last is not None:
        total, _ = add(total, (batches.weights[count], batches.last))
    return total
