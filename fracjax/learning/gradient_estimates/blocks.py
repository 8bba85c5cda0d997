"""Many samples of a gradient, kept as block means: memory does not grow with their number.

    found = gradient_blocks(sampler, params, key, num_samples=1024)           # inside jit, vmap
    found = map_points(gradient_block(sampler, 32), np.arange(32), params, key, chunk_size=8)

Both give the same numbers up to rounding. The second spreads the blocks over devices.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from fracjax._types import Key, Leaf, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.gradient_estimates.samplers import GradientSampler

__all__ = ["GradientBlocks", "exact_gradient", "gradient_block", "gradient_blocks"]

_Block: TypeAlias = Callable[[Array, PyTree, Key], "GradientBlocks"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientBlocks:
    """Independent samples of a gradient, summed up in blocks of equal size.

    Attributes:
        means: Mean of every block, (blocks, d), in the order of `ravel_pytree`.
        squares: Sum of squared distances of a block's samples from its mean, (blocks,).
        size: Samples per block, (blocks,).
        failed: Samples per block that are not finite; they make the block's mean NaN.
    """

    means: Leaf
    squares: Leaf
    size: Leaf
    failed: Leaf


def gradient_block(sampler: GradientSampler, size: int, *, batch_size: int = 1) -> _Block:
    """Make `(index, params, key) -> GradientBlocks` of one block, without the leading axis.

    Sample j of block i sees `fold_in(key, i · size + j)`, so that samples do not depend on how
    they are cut into blocks.

    Args:
        sampler: Draws one sample.
        size: Samples of the block, a multiple of `batch_size`.
        batch_size: Samples of a block that are drawn together.

    Raises:
        ValueError: If a size is out of range.
    """
    check_at_least(size=(size, 1), batch_size=(batch_size, 1))
    if size % batch_size:
        msg = f"Argument `size` must be a multiple of `batch_size` = {batch_size}, but is {size}."
        raise ValueError(msg)

    def block(index: Array, params: PyTree, key: Key) -> GradientBlocks:
        flat = ravel_pytree(params)[0]

        def draw(number: Array) -> Array:
            sample = sampler(params, jax.random.fold_in(key, number))
            return ravel_pytree(sample)[0].astype(flat.dtype)

        def add(carry: tuple, step: Array) -> tuple[tuple, None]:
            """Join a batch with what there is: exact where all samples are equal."""
            mean, squares, failed = carry
            offsets = step * batch_size + jnp.arange(batch_size)
            samples = jax.vmap(draw)(index * size + offsets)
            shifted = samples - samples[0]
            own = samples[0] + shifted.mean(axis=0)
            inside = jnp.sum((samples - own) ** 2)
            count = (step * batch_size).astype(flat.dtype)
            total = count + batch_size
            gap = own - mean
            mean = mean + gap * (batch_size / total)
            squares = squares + inside + jnp.sum(gap**2) * (count * batch_size / total)
            failed = failed + jnp.sum(~jnp.isfinite(samples).all(axis=1))
            return (mean, squares, failed), None

        zero = jnp.zeros((), flat.dtype)
        start = jnp.zeros_like(flat), zero, jnp.zeros((), jnp.result_type(int))
        (mean, squares, failed), _ = jax.lax.scan(add, start, jnp.arange(size // batch_size))
        return GradientBlocks(mean, squares, jnp.asarray(size), failed)

    return block


def gradient_blocks(
    sampler: GradientSampler,
    params: PyTree,
    key: Key,
    *,
    num_samples: int,
    num_blocks: int = 32,
    batch_size: int = 1,
    blocks_together: int | None = None,
) -> GradientBlocks:
    """Draw samples of a gradient; `num_blocks` × `batch_size` are evaluated at once.

    Args:
        sampler: Draws one sample.
        params: Where to sample.
        key: Sample i sees `fold_in(key, i)`.
        num_samples: Multiple of `num_blocks` · `batch_size`.
        num_blocks: Blocks, from whose scatter errors are taken.
        batch_size: Samples of a block that are drawn together.
        blocks_together: Blocks that are drawn together; all if not given.

    Raises:
        ValueError: If the numbers do not divide.
    """
    check_at_least(num_blocks=(num_blocks, 2), batch_size=(batch_size, 1))
    if num_samples < 1 or num_samples % (num_blocks * batch_size):
        msg = (
            "Argument `num_samples` must be a positive multiple of `num_blocks` · `batch_size` ="
            f" {num_blocks * batch_size}, but is {num_samples}."
        )
        raise ValueError(msg)
    block = gradient_block(sampler, num_samples // num_blocks, batch_size=batch_size)
    return jax.lax.map(
        lambda index: block(index, params, key),
        jnp.arange(num_blocks),
        batch_size=blocks_together or num_blocks,
    )


def exact_gradient(gradient: PyTree) -> GradientBlocks:
    """Stand in for samples where the gradient is known: two blocks without scatter."""
    flat = ravel_pytree(gradient)[0]
    nothing = jnp.zeros(2, flat.dtype)
    count = jnp.ones(2, jnp.result_type(int))
    return GradientBlocks(jnp.stack([flat, flat]), nothing, count, jnp.zeros_like(count))
