"""Lanczos' tridiagonal form of a symmetric operator, with full re-orthogonalisation."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, Leaf

__all__ = [
    "LanczosState",
    "Tridiagonal",
    "lanczos",
    "lanczos_start",
    "lanczos_step",
    "tridiagonal_matrix",
]

_VANISHED = 32.0  # a remainder below this many roundings of the operator is zero
_dot = functools.partial(jnp.matmul, precision="highest")  # never TF32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tridiagonal:
    """An operator seen from an orthonormal basis: `basis A basisᵀ` is tridiagonal.

    Attributes:
        basis: Orthonormal rows, (iterations, n).
        diagonal: (iterations,).
        off_diagonal: (iterations - 1,); zero where an invariant subspace was complete and the
            basis went on with a new random vector.
    """

    basis: Leaf
    diagonal: Leaf
    off_diagonal: Leaf

    def dense(self) -> Float[Array, "m m"]:
        """The tridiagonal matrix."""
        return tridiagonal_matrix(self.diagonal, self.off_diagonal)


def tridiagonal_matrix(
    diagonal: Float[Array, " m"], off_diagonal: Float[Array, " m-1"]
) -> Float[Array, "m m"]:
    """The symmetric matrix of a diagonal and what stands beside it."""
    beside = jnp.diag(off_diagonal, 1)
    return jnp.diag(diagonal) + beside + beside.T


class LanczosState(NamedTuple):
    """What one step leaves for the next.

    Attributes:
        basis: Rows found so far, then zeros, (iterations, n).
        vector: The next row.
        largest: Length of the longest product so far.
    """

    basis: Array
    vector: Array
    largest: Array


def lanczos(
    operator: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    start: Float[Array, " n"],
    key: Key,
    *,
    num_iterations: int,
) -> Tridiagonal:
    """Run Lanczos' iteration: one product with the operator per step.

    Every new vector is made orthogonal to all before it, twice, so that no eigenvalue shows
    up as several copies of itself, as it does without. Costs `num_iterations · n` numbers of
    memory. An invariant subspace (a remainder that is zero up to rounding) is followed by a
    random vector orthogonal to it, by which multiple eigenvalues and operators of low rank
    are found in full.

    Args:
        operator: Symmetric linear map; only products with it are taken.
        start: First vector, of any length but zero.
        key: Draws the vectors after an invariant subspace.
        num_iterations: Steps, at least 1 and at most n.

    Raises:
        ValueError: If there are more steps than dimensions, or none.

    References:
        Lanczos (1950), J. Res. Natl. Bur. Stand. 45, 255. Parlett (1998), The Symmetric
        Eigenvalue Problem, chapter 13.
    """
    size = len(start)
    if not 1 <= num_iterations <= size:
        msg = (
            "Argument `num_iterations` must be positive and at most the number of dimensions,"
            f" but is {num_iterations} of {size}."
        )
        raise ValueError(msg)

    def step(carry: LanczosState, index: Array) -> tuple[LanczosState, tuple[Array, Array]]:
        after, diagonal, coupling = lanczos_step(carry, operator(carry.vector), index, key)
        return after, (diagonal, coupling)

    begin = lanczos_start(start, num_iterations)
    final, (diagonal, coupling) = jax.lax.scan(step, begin, jnp.arange(num_iterations))
    return Tridiagonal(final.basis, diagonal, coupling[:-1])


def lanczos_start(start: Float[Array, " n"], num_iterations: int) -> LanczosState:
    """The state before the first step."""
    basis = jnp.zeros((num_iterations, len(start)), start.dtype)
    return LanczosState(basis, start / jnp.linalg.norm(start), jnp.zeros((), start.dtype))


def lanczos_step(
    state: LanczosState, image: Float[Array, " n"], index: Array, key: Key
) -> tuple[LanczosState, Float[Array, ""], Float[Array, ""]]:
    """Take in the product of the operator with `state.vector`.

    Returns:
        The next state, and the entries of the matrix on the diagonal and below it.
    """
    basis = state.basis.at[index].set(state.vector, mode="drop")  # rows not yet found are zero

    def remainder(vector: Array) -> Array:
        for _ in range(2):  # once more, for what the first pass leaves of rounding
            vector = vector - _dot(_dot(basis, vector), basis)
        return vector

    rest = remainder(image)
    length = jnp.linalg.norm(rest)
    largest = jnp.maximum(state.largest, jnp.linalg.norm(image))
    complete = length <= _VANISHED * jnp.finfo(image.dtype).eps * largest

    def afresh() -> Array:
        drawn = jax.random.normal(jax.random.fold_in(key, index), image.shape, image.dtype)
        return remainder(drawn)

    rest = jax.lax.cond(complete, afresh, lambda: rest)
    after = LanczosState(basis, rest / jnp.linalg.norm(rest), largest)
    return after, jnp.dot(state.vector, image), jnp.where(complete, 0, length)
