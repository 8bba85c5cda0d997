"""Inner products of snapshots: all that singular values and time courses need of a path.

A path has n snapshots of m parameters, n much below m. Its n × n Gram matrix in float64 costs
2 n² m flops in one pass over the path, after which nothing depends on m any more. In float32 the
squares of singular values would drown: what is below √eps = 3.5e-4 of the largest is noise, and
raw snapshots of a network that moves by a tenth of its norm have most of theirs there.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from fracjax._types import Leaf
from fracjax.estimators.settings import check_choice
from fracjax.learning.policy_paths.batching import in_float64
from fracjax.learning.policy_paths.path_matrix import check_path

__all__ = [
    "Centering",
    "PathGram",
    "Precision",
    "by_columns",
    "centred_gram",
    "in_blocks",
    "joined",
    "path_gram",
    "split",
]

Centering = Literal["none", "mean", "first"]
Precision = Literal["float64", "float32"]
_BLOCK = 4096  # columns in float64 at a time: 64 MB of 2000 snapshots


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PathGram:
    """Inner products of the first snapshot and of the displacements from it.

    Attributes:
        parts: (p, n, n). Row 0 belongs to θ_1 and row i to θ_{i+1} - θ_1. The sum of the parts
            is the matrix: a float64 number is two float32 ones where JAX has no float64.
        finite: Whether every snapshot was finite.
        stride: Optimiser steps between snapshots.
        num_parameters: m.
        precision: How products were added up.
    """

    parts: Leaf
    finite: Leaf
    stride: Leaf
    num_parameters: int = dataclasses.field(metadata={"static": True})
    precision: Precision = dataclasses.field(default="float64", metadata={"static": True})


def path_gram(
    snapshots: Float[Array | np.ndarray, "n m"],
    *,
    stride: int | float | Array = 1,
    precision: Precision = "float64",
) -> PathGram:
    """Compute the Gram matrix of a path, blockwise in float64 also where JAX is in float32.

    Displacements are formed before they are squared, so that a large norm of θ_1 costs no
    digits. Against NumPy in float64 entries differ by less than 1e-14 of ‖θ_1‖².

    Args:
        snapshots: Path, one row per snapshot.
        stride: Optimiser steps between snapshots; handed through.
        precision: `"float32"` is for comparison only, see the note at the top.

    Raises:
        ValueError: If `snapshots` is no matrix with two rows at least.
    """
    check_path(snapshots)
    snapshots = jnp.asarray(snapshots)
    check_choice("precision", precision, get_args(Precision))
    return PathGram(
        parts=_wide(snapshots) if precision == "float64" else _narrow(snapshots),
        finite=jnp.isfinite(snapshots).all(),
        stride=jnp.asarray(stride, snapshots.dtype),
        num_parameters=snapshots.shape[1],
        precision=precision,
    )


@jax.jit
def _wide(snapshots: Float[Array, "n m"]) -> Float[Array, "p n n"]:
    def of_block(block: Array) -> Array:
        block = block.at[1:].add(-block[0])
        return block @ block.T

    def compute(path: Array) -> Array:
        return split(in_blocks(of_block, path, jnp.float64), snapshots.dtype)

    return in_float64(compute)(snapshots)


def _narrow(snapshots: Float[Array, "n m"]) -> Float[Array, "1 n n"]:
    block = snapshots.at[1:].add(-snapshots[0]).astype(jnp.float32)
    product = jnp.matmul(block, block.T, precision="highest")
    return product.astype(snapshots.dtype)[None]


def centred_gram(gram: Float[Array, "n n"], center: Centering) -> Float[Array, "n n"]:
    """Turn the matrix of a `PathGram` into inner products of centred snapshots."""
    start, cross = gram[0, 0], gram[0].at[0].set(0)
    moved = gram.at[0].set(0).at[:, 0].set(0)
    if center == "first":
        return moved
    if center == "mean":
        rows = moved.mean(axis=1)
        return moved - rows[:, None] - rows[None, :] + rows.mean()
    return start + (cross[:, None] + cross[None, :]) + moved


def in_blocks(function: Callable[[Array], Array], matrix: Array, dtype: DTypeLike) -> Array:
    """Add up a function of blocks of columns, each cast to `dtype`."""
    columns = matrix.shape[1]
    count, rest = divmod(columns, _BLOCK)
    shape = jax.eval_shape(lambda: function(jnp.zeros((matrix.shape[0], 1), dtype))).shape

    def add(total: Array, index: Array) -> tuple[Array, None]:
        block = jax.lax.dynamic_slice_in_dim(matrix, index * _BLOCK, _BLOCK, axis=1)
        return total + function(block.astype(dtype)), None

    total = jnp.zeros(shape, dtype)
    if count:
        total = jax.lax.scan(add, total, jnp.arange(count))[0]
    if rest:
        total = total + function(matrix[:, count * _BLOCK :].astype(dtype))
    return total


def by_columns(function: Callable[[Array], Array], matrix: Array, dtype: DTypeLike) -> Array:
    """Put the results of a function of blocks of columns beside each other."""
    count, rest = divmod(matrix.shape[1], _BLOCK)
    found = []

    def of_index(index: Array) -> Array:
        block = jax.lax.dynamic_slice_in_dim(matrix, index * _BLOCK, _BLOCK, axis=1)
        return function(block.astype(dtype))

    if count:
        several = jnp.moveaxis(jax.lax.map(of_index, jnp.arange(count)), 0, 1)
        found.append(several.reshape(several.shape[0], -1))
    if rest:
        found.append(function(matrix[:, count * _BLOCK :].astype(dtype)))
    return jnp.concatenate(found, axis=1)


def split(values: Float[Array, "..."], dtype: DTypeLike) -> Float[Array, "p ..."]:
    """Write float64 numbers as sums of numbers of `dtype`: two of float32, 48 bits, or one."""
    high = values.astype(dtype)
    if jnp.dtype(dtype) == jnp.float64:
        return high[None]
    return jnp.stack([high, (values - high.astype(values.dtype)).astype(dtype)])


def joined(parts: Float[Array, "p ..."]) -> Float[Array, "..."]:
    """Undo `split`, inside of `in_float64`."""
    return parts.astype(jnp.float64).sum(axis=0)
