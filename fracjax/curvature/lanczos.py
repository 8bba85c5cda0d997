"""Lanczos' tridiagonal form of a symmetric operator, re-orthogonalised in full or not at all."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key, Leaf, PyTree

__all__ = [
    "LanczosState",
    "Tridiagonal",
    "from_basis",
    "lanczos",
    "lanczos_start",
    "lanczos_step",
    "tridiagonal_matrix",
]

_VANISHED = 32.0  # a remainder below this many roundings of the operator is zero
_SHRUNK = 0.6  # a remainder below this share of the vector holds amplified rounding
_ONE_BLOCK = 2**21  # numbers in a basis that is worth cutting into blocks
_NUM_BLOCKS = 5
_dot = functools.partial(jnp.matmul, precision="highest")  # never TF32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tridiagonal:
    """An operator seen from an orthonormal basis: `basis A basisᵀ` is tridiagonal.

    Attributes:
        basis: Orthonormal rows, (iterations, n), or None where it was not kept.
        diagonal: (iterations,).
        off_diagonal: (iterations - 1,); zero where an invariant subspace was complete and the
            basis went on with a new random vector.
        remainder: Length of what the last product has outside the basis. A Ritz vector of
            coefficients s has the residual `remainder · |s[-1]|`.
    """

    basis: PyTree
    diagonal: Leaf
    off_diagonal: Leaf
    remainder: Leaf

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
        basis: Blocks of the rows found so far, then zeros, each (rows, n).
        vector: The next row.
        largest: Length of the longest product so far.
    """

    basis: tuple[Array, ...]
    vector: Array
    largest: Array


def lanczos(
    operator: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    start: Float[Array, " n"],
    key: Key,
    *,
    num_iterations: int,
    keep_basis: bool = True,
) -> Tridiagonal:
    """Run Lanczos' iteration: one product with the operator per step.

    Every new vector w is made orthogonal to the rows Q of all before it by w - Qᵀ(Q w), as
    products with blocks of Q, so that no eigenvalue shows up as several copies of itself; a second
    time where the first left less than .6 of its length, because rounding, which is relative to
    w, then weighs more in what is left (always under `vmap`, where both branches are computed). An
    invariant subspace (a remainder that is zero up to rounding) is followed by a random vector
    orthogonal to it, by which multiple eigenvalues and operators of low rank are found in full.

    Peak memory is the basis, `num_iterations · n` numbers (400 MB for 100 iterations in 10⁶
    dimensions in float32), once more if the basis is returned from a large problem.

    Warning:
        `keep_basis=False` keeps two vectors instead. Orthogonality is lost as soon as the first
        eigenvalue has converged, and copies ("ghosts") of it follow: of ten outliers over 1990
        values in [0, 1], 100 iterations in float32 give 64 values above 1.5, nine of them copies
        of the largest. Sums of functions
        over the spectrum (quadratures, densities) survive this, because the copies share the
        weight of the one; numbers of eigenvalues and eigenvectors do not. Use it for densities
        of operators whose basis does not fit.

    Args:
        operator: Symmetric linear map; only products with it are taken.
        start: First vector, of any length but zero.
        key: Draws the vectors after an invariant subspace.
        num_iterations: Steps, at least 1 and at most n.
        keep_basis: Whether to re-orthogonalise, against all rows.

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
        after, diagonal, coupling = lanczos_step(
            carry, operator(carry.vector), index, key, keep_basis=keep_basis
        )
        return after, (diagonal, coupling)

    begin = lanczos_start(start, num_iterations if keep_basis else 2)
    final, (diagonal, coupling) = jax.lax.scan(step, begin, jnp.arange(num_iterations))
    basis = jnp.concatenate(final.basis) if keep_basis else None
    return Tridiagonal(basis, diagonal, coupling[:-1], coupling[-1])


def lanczos_start(start: Float[Array, " n"], num_rows: int) -> LanczosState:
    """The state before the first step, with room for a number of rows."""
    num_blocks = min(_NUM_BLOCKS, num_rows) if num_rows * len(start) > _ONE_BLOCK else 1
    cuts = [num_rows * number // num_blocks for number in range(num_blocks + 1)]
    basis = tuple(
        jnp.zeros((end - begin, len(start)), start.dtype) for begin, end in itertools.pairwise(cuts)
    )
    return LanczosState(basis, start / jnp.linalg.norm(start), jnp.zeros((), start.dtype))


def from_basis(
    coefficients: Float[Array, "k rows"], basis: tuple[Float[Array, "_ n"], ...]
) -> Float[Array, "k n"]:
    """Vectors of given coefficients in a basis in blocks."""
    cuts = np.cumsum([len(block) for block in basis])[:-1]
    parts = jnp.split(coefficients, cuts, axis=1)
    first, *others = (_dot(part, block) for part, block in zip(parts, basis, strict=True))
    return sum(others, first)


def lanczos_step(
    state: LanczosState,
    image: Float[Array, " n"],
    index: Array,
    key: Key,
    *,
    keep_basis: bool = True,
) -> tuple[LanczosState, Float[Array, ""], Float[Array, ""]]:
    """Take in the product of the operator with `state.vector`.

    Without a basis the blocks hold the last two vectors in turn.

    Returns:
        The next state, and the entries of the matrix on the diagonal and below it.
    """
    row = index if keep_basis else index % 2
    basis, begins, begin = [], [], 0
    for block in state.basis:  # rows not yet found are zero
        inside = (row >= begin) & (row < begin + len(block))
        where = jnp.where(inside, row - begin, len(block))
        basis.append(block.at[where].set(state.vector, mode="drop"))
        begins.append(begin)
        begin += len(block)

    def orthogonal(vector: Array) -> Array:
        for begin, block in zip(begins, basis, strict=True):
            if begin == 0:
                vector = _without(vector, block)
            else:
                vector = jax.lax.cond(row >= begin, _without, _as_it_is, vector, block)
        return vector

    def remainder(vector: Array) -> Array:
        once = orthogonal(vector)
        shrunk = jnp.linalg.norm(once) < _SHRUNK * jnp.linalg.norm(vector)
        return jax.lax.cond(shrunk, orthogonal, lambda kept: kept, once)

    quotient = jnp.dot(state.vector, image)
    rest = remainder(image - quotient * state.vector)
    length = jnp.linalg.norm(rest)
    largest = jnp.maximum(state.largest, jnp.linalg.norm(image))
    complete = length <= _VANISHED * jnp.finfo(image.dtype).eps * largest

    def afresh() -> Array:
        drawn = jax.random.normal(jax.random.fold_in(key, index), image.shape, image.dtype)
        return remainder(drawn)

    rest = jax.lax.cond(complete, afresh, lambda: rest)
    after = LanczosState(tuple(basis), rest / jnp.linalg.norm(rest), largest)
    return after, quotient, jnp.where(complete, 0, length)


def _without(vector: Array, rows: Array) -> Array:
    return vector - _dot(_dot(rows, vector), rows)


def _as_it_is(vector: Array, rows: Array) -> Array:
    del rows
    return vector
