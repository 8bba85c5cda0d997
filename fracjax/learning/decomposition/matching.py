"""Subnetworks of one fit next to those of another: are they the same up to order and sign?"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import Leaf, PyTree
from fracjax.learning.decomposition.sample_gradients import flat_samples

__all__ = ["Matching", "match_subnetworks"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Matching:
    """How the subnetworks of two fits correspond.

    Attributes:
        cosines: |cos| between directions of the first and of the second, (first, second).
        mean_max: Mean over the first of the largest |cos|. Two of them may choose the same.
        pairs: Index in the second of the partner of each of the first, one to one, -1 for those
            left over: the largest |cos| is taken first, then the largest of the rest.
        paired: Their |cos|; 0 for those left over.
    """

    cosines: Leaf
    mean_max: Leaf
    pairs: Leaf
    paired: Leaf


def match_subnetworks(first: PyTree, second: PyTree) -> Matching:
    """Match directions by |cos| over all parameters.

    A random pair in n parameters has |cos| of about √(2/(π n)): of 25, already .16.

    Args:
        first: Leaves (subnetworks, ...).
        second: The same structure, perhaps another number of subnetworks.
    """
    left, right = flat_samples(first), flat_samples(second)
    products = jnp.abs(left @ right.T)
    norms = jnp.linalg.norm(left, axis=1)[:, None] * jnp.linalg.norm(right, axis=1)
    cosines = jnp.where(norms > 0, products / jnp.where(norms > 0, norms, 1), 0)

    def take(rest: Array, _: None) -> tuple[Array, tuple[Array, Array, Array]]:
        place = jnp.argmax(rest)
        row, column = place // rest.shape[1], place % rest.shape[1]
        found = rest[row, column]
        rest = rest.at[row].set(-1).at[:, column].set(-1)
        return rest, (row, column, found)

    _, (rows, columns, found) = jax.lax.scan(take, cosines, length=min(cosines.shape))
    pairs = jnp.full(len(left), -1).at[rows].set(columns)
    paired = jnp.zeros(len(left), cosines.dtype).at[rows].set(found)
    return Matching(cosines, jnp.mean(jnp.max(cosines, axis=1)), pairs, paired)
