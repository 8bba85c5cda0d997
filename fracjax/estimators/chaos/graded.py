"""Products of many triangular factors and their singular values, kept as logarithms.

The product of the factors of a tangent frame has columns whose lengths differ by factors
such as e^1000. Held as unit columns and the logarithms of their lengths, neither overflows,
and one-sided Jacobi rotations find all singular values to relative accuracy, the small ones
included: an ordinary SVD loses those below the rounding of the largest.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["graded_product", "graded_singular_values"]

_SWEEPS = 10


def graded_product(
    lowers: Float[Array, "times k k"],
) -> tuple[Float[Array, "k k"], Float[Array, " k"]]:
    """Multiply lower triangular factors from the left to the right.

    Args:
        lowers: Factors in the order of time, as `frames.advance_frame` returns them.

    Returns:
        Unit columns and the logarithms of their lengths; the product is
        `columns * exp(logs)`. A zero column has −inf.
    """
    size = lowers.shape[-1]

    def multiply(carry: tuple[Array, Array], lower: Array) -> tuple[tuple[Array, Array], None]:
        columns, logs = carry
        # Column j takes from columns j, j + 1, …, and is scaled by the largest of these.
        largest = jax.lax.cummax(logs, reverse=True)
        largest = jnp.where(jnp.isfinite(largest), largest, 0)
        weights = jnp.tril(lower * jnp.exp(logs[:, None] - largest[None, :]))
        return _unit(jnp.matmul(columns, weights, precision="highest"), largest), None

    identity = jnp.eye(size, dtype=lowers.dtype), jnp.zeros(size, lowers.dtype)
    return jax.lax.scan(multiply, identity, lowers)[0]


def graded_singular_values(
    columns: Float[Array, "k k"], logs: Float[Array, " k"]
) -> tuple[Float[Array, " k"], Float[Array, "k k"]]:
    """Find the singular values of `columns * exp(logs)`, by Jacobi rotations of column pairs.

    Args:
        columns: Unit columns, or zero.
        logs: Logarithms of their lengths.

    Returns:
        The logarithms of the singular values, largest first, and the left singular vectors as
        columns.

    References:
        Demmel and Veselić (1992), https://doi.org/10.1137/0613074.
    """
    size = len(logs)
    pairs = np.array(list(itertools.combinations(range(size), 2)), np.int32).reshape(-1, 2)

    def rotate(carry: tuple[Array, Array], pair: Array) -> tuple[tuple[Array, Array], None]:
        columns, logs = carry
        swap = logs[pair[0]] < logs[pair[1]]
        pair = jnp.where(swap, pair[::-1], pair)
        long, short = columns[:, pair[0]], columns[:, pair[1]]
        ratio = jnp.exp(2 * (logs[pair[1]] - logs[pair[0]]))
        ratio = jnp.where(jnp.isnan(ratio), 0, ratio)
        cosine = jnp.sum(long * short)
        # The tangent of the rotation over the ratio of lengths: finite however small that is.
        gap = 1 - ratio
        base = gap + jnp.sqrt(gap**2 + 4 * ratio * cosine**2)
        turn = -2 * cosine / jnp.where(base > 0, base, 1)
        scale = 1 / jnp.sqrt(1 + ratio * turn**2)
        rotated = scale * jnp.stack([long - ratio * turn * short, short + turn * long], axis=1)
        units, lengths = _unit(rotated, logs[pair])
        return (columns.at[:, pair].set(units), logs.at[pair].set(lengths)), None

    if size > 1:
        sweeps = jnp.asarray(np.tile(pairs, (_SWEEPS if size > 2 else 1, 1)))
        (columns, logs), _ = jax.lax.scan(rotate, (columns, logs), sweeps)
    order = jnp.argsort(-logs)
    return logs[order], columns[:, order]


def _unit(columns: Float[Array, "n k"], logs: Float[Array, " k"]) -> tuple[Array, Array]:
    """Take the lengths out of columns and add their logarithms."""
    length = jnp.sqrt(jnp.sum(columns**2, axis=0))
    return columns / jnp.where(length > 0, length, 1), logs + jnp.log(length)
