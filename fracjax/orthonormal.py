"""Factor k rows into orthonormal ones and a triangular factor, by the kernel that fits the size.

The derivative is given by hand. It consists of matrix products alone, because differentiating
through a library's triangular solve costs two things: on a CPU a threaded BLAS solves systems
of 16 × 80 with its own threads, which then wait for XLA's (4 ms per solve instead of 10 µs,
the whole of a 100-fold slowdown of gradients through QR), and unrolled Gram–Schmidt takes seconds
to compile backwards.
"""

import functools
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax.sequential_lapack import after

__all__ = ["Method", "choose_method", "orthonormalize", "solve_lower"]

# Ways to orthonormalise a frame; see `orthonormalize`.
Method: TypeAlias = Literal["auto", "gram-schmidt", "cholesky", "householder"]

# Up to this many rows the factorisation is unrolled: batched library QR of tiny matrices is
# slow under vmap, most of all on GPUs (1024 of 3 × 3: 60 against 420 µs on one CPU core).
_UNROLLED = 8
_TALL = 4  # from this aspect ratio on, two Cholesky passes (matrix products) beat Householder
_VANISHED = 8.0  # a remainder below this many roundings of its row is zero
_BLOCK = 8
_MOST_BLOCKS = 16
_dot = functools.partial(jnp.matmul, precision="highest")  # never TF32


def choose_method(method: Method, num_rows: int, length: int) -> Method:
    """Resolve `"auto"` for k rows of a given length.

    Raises:
        ValueError: If the name is not one of the methods.
    """
    if method not in get_args(Method):
        msg = f"Argument `method` must be one of {get_args(Method)}, but is {method!r}."
        raise ValueError(msg)
    if method != "auto":
        return method
    if num_rows <= _UNROLLED:
        return "gram-schmidt"
    return "cholesky" if length >= _TALL * num_rows else "householder"


def orthonormalize(
    rows: Float[Array, "k n"], method: Method = "auto"
) -> tuple[Float[Array, "k n"], Float[Array, "k k"]]:
    """Factor `rows = lower @ basis` with orthonormal `basis` and `diag(lower) >= 0`.

    A row that depends on the rows before it, up to rounding, gets a zero on the diagonal; its
    basis row is not a direction made of noise but zero (Gram–Schmidt), or some direction
    orthogonal to the others (Householder, to which Cholesky falls back).

    Differentiable in forward and reverse mode, with matrix products only. The derivative
    does not exist where a row vanishes.

    Args:
        rows: k vectors of length n, k <= n.
        method: `"gram-schmidt"`, modified and unrolled: for up to 8 rows. `"cholesky"`, two
            passes of Cholesky QR with a fallback to Householder where the rows are so nearly
            dependent that the first pass fails: for tall frames. `"householder"`, the
            library's QR: for the rest. `"auto"` chooses.

    Returns:
        The orthonormal rows and the lower triangular factor.

    References:
        Yamamoto, Nakatsukasa, Yanagisawa and Fukaya (2015), Roundoff error analysis of the
        CholeskyQR2 algorithm, ETNA 44.
    """
    return _factor(choose_method(method, *rows.shape), rows)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _factor(
    method: Method, rows: Float[Array, "k n"]
) -> tuple[Float[Array, "k n"], Float[Array, "k k"]]:
    factors = {
        "gram-schmidt": _gram_schmidt,
        "cholesky": _cholesky_twice,
        "householder": _householder,
    }
    basis, lower = factors[method](rows)
    diagonal = jnp.diagonal(lower)
    length = jnp.sqrt(jnp.sum(lower**2, axis=1))
    vanished = diagonal <= _VANISHED * jnp.finfo(rows.dtype).eps * length
    if method == "gram-schmidt":
        basis = jnp.where(vanished[:, None], 0, basis)
    return basis, lower - jnp.diag(jnp.where(vanished, diagonal, 0))


@_factor.defjvp
def _factor_jvp(method: Method, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    """Differentiate: with A = lower⁻¹ d(rows), d(lower) = lower T and d(basis) = A - T basis.

    T is the lower triangle of S = A basisᵀ plus its mirrored upper one, so that
    S - T is antisymmetric and the basis stays orthonormal.
    """
    (rows,), (moved,) = primals, tangents
    basis, lower = _factor(method, rows)
    triangle = lower
    if len(rows) > _BLOCK * _MOST_BLOCKS:  # solved by the library, as the basis may be made by it
        triangle = after(lower, basis)
    inverse = solve_lower(triangle, jnp.eye(len(rows), dtype=rows.dtype))
    solved = _dot(inverse, moved)
    square = _dot(solved, basis.T)
    mirrored = jnp.tril(square) + jnp.triu(square, 1).T
    return (basis, lower), (solved - _dot(mirrored, basis), _dot(lower, mirrored))


def _gram_schmidt(rows: Float[Array, "k n"]) -> tuple[Array, Array]:
    count = rows.shape[0]
    basis, columns = [], []
    for index in range(count):
        length = jnp.sqrt(jnp.sum(rows[0] ** 2))
        unit = rows[0] / jnp.where(length > 0, length, 1)
        # Sums of products, not matrix products: those may round to TF32 on a GPU.
        overlap = jnp.sum(rows[1:] * unit, axis=1)
        rows = rows[1:] - overlap[:, None] * unit
        basis.append(unit)
        columns.append(jnp.concatenate([jnp.zeros(index, unit.dtype), length[None], overlap]))
    return jnp.stack(basis), jnp.stack(columns, axis=1)


def _householder(rows: Float[Array, "k n"]) -> tuple[Array, Array]:
    basis, upper = jnp.linalg.qr(rows.T)
    sign = jnp.where(jnp.diagonal(upper) < 0, -1, 1).astype(rows.dtype)
    return (basis * sign).T, (upper * sign[:, None]).T


def _cholesky_twice(rows: Float[Array, "k n"]) -> tuple[Array, Array]:
    """Two passes: the second repairs the first's loss of orthogonality, if that is small."""
    first = jnp.linalg.cholesky(_dot(rows, rows.T), symmetrize_input=False)
    basis = solve_lower(first, rows)
    gram = _dot(basis, basis.T)
    second = jnp.linalg.cholesky(gram, symmetrize_input=False)
    factors = solve_lower(second, basis), _dot(first, second)
    # A batch enters the loop when one of its members must, instead of always paying for both.
    failed = ~(jnp.max(jnp.abs(gram - jnp.eye(len(rows), dtype=rows.dtype))) < 0.1)

    def repair(carry: tuple) -> tuple:
        # Whatever does not depend on the carry is moved out of the loop, and then always paid for.
        return *_householder(jnp.where(carry[2], rows, 0)), jnp.zeros_like(failed)

    return jax.lax.while_loop(lambda carry: carry[2], repair, (*factors, failed))[:2]


def solve_lower(lower: Float[Array, "k k"], right: Float[Array, "k m"]) -> Float[Array, "k m"]:
    """Solve `lower @ solution = right`, reading a zero on the diagonal as one.

    Up to 128 rows by blocks of 8, with matrix products; beyond by the library, whose threads
    then have something to do.
    """
    size = len(lower)
    diagonal = jnp.diagonal(lower)
    lower = lower + jnp.diag(jnp.where(diagonal > 0, 0, 1 - diagonal))
    blocks = -(-size // _BLOCK)
    if blocks > _MOST_BLOCKS:
        return jax.scipy.linalg.solve_triangular(lower, right, lower=True)
    width = min(size, _BLOCK)
    padding = blocks * width - size
    padded = jnp.pad(lower, (0, padding)) + jnp.diag(
        jnp.concatenate([jnp.zeros(size, lower.dtype), jnp.ones(padding, lower.dtype)])
    )
    inverses = _invert(
        jnp.stack(
            [
                padded[start : start + width, start : start + width]
                for start in range(0, blocks * width, width)
            ]
        )
    )
    right = jnp.pad(right, ((0, padding), (0, 0)))
    solution = jnp.zeros((0, right.shape[1]), right.dtype)
    for index in range(blocks):
        start = index * width
        known = _dot(padded[start : start + width, :start], solution)
        part = _dot(inverses[index], right[start : start + width] - known)
        solution = jnp.concatenate([solution, part])
    return solution[:size]


def _invert(lower: Float[Array, "b w w"]) -> Float[Array, "b w w"]:
    """Invert small triangular blocks by forward substitution, all at once."""
    width = lower.shape[-1]
    identity = jnp.eye(width, dtype=lower.dtype)
    rows: list[Array] = []
    for index in range(width):
        row = jnp.broadcast_to(identity[index], (len(lower), width))
        if rows:
            known = jnp.stack(rows, axis=1)
            row = row - jnp.sum(lower[:, index, :index, None] * known, axis=1)
        rows.append(row / lower[:, index, index, None])
    return jnp.stack(rows, axis=1)
