"""Eigenvectors of symmetric operators on parameters: of the Hessian, matrix-free."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, Label, Leaf, Objective, PyTree, Status
from fracjax.curvature.hessian_products import (
    HessianMethod,
    Operator,
    check_hessian_settings,
    flattened,
    hessian_operator,
)
from fracjax.curvature.lanczos import from_basis, lanczos_start, lanczos_step, tridiagonal_matrix
from fracjax.curvature.operators import CurvatureOperator

__all__ = [
    "Eigenpairs",
    "Which",
    "top_eigenpairs",
    "top_eigenvectors",
    "top_hessian_eigenvectors",
]

# Which eigenvalues are wanted; see `top_hessian_eigenvectors`.
Which = Literal["magnitude", "largest", "smallest", "both ends"]
_NUM_ITERATIONS = 64
_START = 0x5EED  # folded into the objective's key for vectors that are no business of its own


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues and eigenvectors, each with what speaks for it.

    Attributes:
        values: Eigenvalues in the order asked for, (k,). Each lies within its residual of an
            eigenvalue of the operator.
        vectors: Pytree like the parameters with a leading axis of length k: orthogonal,
            Euclidean length 1, the entry of largest magnitude positive.
        residuals: |A v - value v|, measured afresh, (k,).
        status: Per pair `OK`, `NOT_CONVERGED` (the residual is above the tolerance),
            `NONFINITE_TANGENT` (a product or the objective is not finite).
        ritz_values: All eigenvalues of the tridiagonal matrix, ascending, (iterations,).
        method: How the operator was applied.
        step: Length of the step of finite differences; None where there is none.
    """

    values: Leaf
    vectors: PyTree
    residuals: Leaf
    status: Leaf
    ritz_values: Leaf
    method: Label
    step: Leaf | None


def top_hessian_eigenvectors(
    objective: Objective,
    params: PyTree,
    key: Key,
    *,
    num_eigenvectors: int = 2,
    which: Which = "magnitude",
    num_iterations: int | None = None,
    tolerance: float = 1e-3,
    method: HessianMethod = "auto",
    step: float | Float[Array, ""] | None = None,
    chunk_size: int | None = None,
) -> Eigenpairs:
    """Find extreme eigenvectors of the Hessian of `objective(params, key)`.

    Lanczos with two passes of re-orthogonalisation against all vectors so far: one
    Hessian-vector product per iteration, nothing returns to the host in between, and
    `num_iterations · n` numbers of memory. Every pair comes with the residual |H v - λ v|
    from one more product; λ lies within it of an eigenvalue, and v within residual/gap
    (radians) of its eigenvector, where gap is the distance to the other eigenvalues. Of a
    cluster closer together than the residual only the span is determined, and of an exactly
    multiple eigenvalue one vector is found until the iteration has exhausted the others.
    That no larger eigenvalue was missed is not certain but, from a random start, all but.

    Prefer float64. Measured residuals over the largest eigenvalue, exact products and
    differences: 1e-15 and 1e-10 in float64, 3e-7 and 5e-5 in float32 (a quadratic); 4e-16 and
    3e-8, 3e-7 and 5e-5 (a pendulum's return). A network of 10⁶ parameters: 64 iterations
    take 5 s in float32 and 10 s in float64 on two cores, mostly for re-orthogonalisation.

    Do not use it where the objective is rough (see the package's note). Exact derivatives of
    a fractal objective converge to numbers that hold over no step one can take; by
    differences its "Hessian" is not even linear, and the pairs come back `NOT_CONVERGED`.

    Args:
        objective: Pure function of parameters and key returning one number, hashable. A new
            closure is compiled anew.
        params: Pytree of floating arrays, where the Hessian is taken.
        key: The objective's key: scan with the same one. The random start comes from a key
            folded from it.
        num_eigenvectors: How many.
        which: `"magnitude"`: largest absolute values first. `"largest"` and `"smallest"`:
            algebraically, most extreme first. `"both ends"`: half of them (rounded up) the
            largest, then the smallest; the usual plane of sharpest rise and fall.
        num_iterations: Hessian-vector products, at most the number of parameters; 64 (or
            that number) if not given. Not all of a crowded spectrum needs to be resolved:
            doubling it helps where pairs have not converged.
        tolerance: Residual that counts as converged, relative to the largest Ritz value.
        method: See `hessian_vector_product`; the result names the one used.
        step: Of differences, see there.
        chunk_size: Of forward-mode gradients, see `gradient`.

    Raises:
        ValueError: If a setting is out of range, the objective does not return one number,
            or the parameters are not floating.

    References:
        Parlett (1998), The Symmetric Eigenvalue Problem. Ghorbani, Krishnan and Xiao (2019),
        arXiv 1901.10159, for Hessians of networks. Sullivan et al. (2022), Cliff Diving,
        arXiv 2205.07015, for planes of returns along eigenvectors.
    """
    check_hessian_settings(objective, params, key, method, step, chunk_size)
    num_iterations = _checked_iterations(tree.size(params), num_eigenvectors, which, num_iterations)
    static = (objective, method, chunk_size, num_eigenvectors, which, num_iterations)
    return _top(*static, params, key, step, tolerance)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _top(
    objective: Objective,
    method: HessianMethod,
    chunk_size: int | None,
    num_eigenvectors: int,
    which: Which,
    num_iterations: int,
    params: PyTree,
    key: Key,
    step: Array | float | None,
    tolerance: Array | float,
) -> Eigenpairs:
    operator, label, step = hessian_operator(objective, params, key, method, step, chunk_size)
    pairs = top_eigenvectors(
        operator,
        params,
        jax.random.fold_in(key, _START),
        num_eigenvectors=num_eigenvectors,
        which=which,
        num_iterations=num_iterations,
        tolerance=tolerance,
    )
    return dataclasses.replace(pairs, method=label, step=step)


def top_eigenpairs(
    operator: CurvatureOperator,
    key: Key,
    *,
    num_eigenvectors: int = 2,
    which: Which = "largest",
    num_iterations: int | None = None,
    tolerance: float = 1e-3,
) -> Eigenpairs:
    """Find extreme eigenvectors of a Hessian, Gauss-Newton or Fisher operator, or of a block.

    See `top_hessian_eigenvectors` for what comes back. One block each: with
    `masks = layer_masks(params)`, `{name: top_eigenpairs(hessian(loss, params, data, mask=masks[
    name]), key) for name in masks}`; vectors of a block have None in place of the other leaves.

    Args:
        operator: See `hessian` and its neighbours.
        key: Draws the start.
        num_eigenvectors: How many.
        which: See `top_hessian_eigenvectors`.
        num_iterations: Products; 64 or n, the smaller, if not given.
        tolerance: See `top_hessian_eigenvectors`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import curvature
        >>> def loss(params, weights):
        ...     return 0.5 * (weights * params**2).sum()
        >>> operator = curvature.hessian(loss, jnp.zeros(3), jnp.array([4.0, 2.0, 1.0]))
        >>> pairs = curvature.top_eigenpairs(operator, jax.random.key(0))
        >>> print(pairs.values.round(6))
        [4. 2.]
    """
    count = _checked_iterations(operator.size, num_eigenvectors, which, num_iterations)
    return _top_of_operator(operator, key, num_eigenvectors, which, count, tolerance)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _top_of_operator(
    operator: CurvatureOperator,
    key: Key,
    num_eigenvectors: int,
    which: Which,
    num_iterations: int,
    tolerance: Array | float,
) -> Eigenpairs:
    return top_eigenvectors(
        operator.linear_map(),
        operator.params,
        key,
        num_eigenvectors=num_eigenvectors,
        which=which,
        num_iterations=num_iterations,
        tolerance=tolerance,
    )


def _checked_iterations(
    size: int, num_eigenvectors: int, which: str, num_iterations: int | None
) -> int:
    """Choose the number of iterations where it is not given; raise ValueError for bad settings."""
    if num_iterations is None:
        num_iterations = min(size, max(_NUM_ITERATIONS, 2 * num_eigenvectors))
    if which not in get_args(Which):
        msg = f"Argument `which` must be one of {get_args(Which)}, but is {which!r}."
        raise ValueError(msg)
    if not 1 <= num_eigenvectors <= num_iterations <= size:
        msg = (
            "Arguments `num_eigenvectors` and `num_iterations` must be in order from 1 to the"
            f" number of parameters ({size}), but are {num_eigenvectors} and {num_iterations}."
        )
        raise ValueError(msg)
    return num_iterations


def top_eigenvectors(
    operator: Operator,
    like: PyTree,
    key: Key,
    *,
    num_eigenvectors: int,
    which: Which,
    num_iterations: int,
    tolerance: float | Array,
) -> Eigenpairs:
    """Find extreme eigenvectors of any symmetric operator on pytrees like `like`."""
    apply, flat, unravel = flattened(operator, like)
    first, later = jax.random.split(key)
    start = jax.random.normal(first, flat.shape, flat.dtype)
    ritz, rows, values, residuals = _iterate(
        apply, start, later, num_eigenvectors, which, num_iterations
    )
    finite = jnp.isfinite(ritz).all()
    finite = finite & jnp.isfinite(residuals)
    converged = residuals <= tolerance * jnp.max(jnp.abs(ritz))
    status = jnp.select(
        [~finite, ~converged],
        [int(Status.NONFINITE_TANGENT), int(Status.NOT_CONVERGED)],
        int(Status.OK),
    )
    missing = jnp.full((), jnp.nan, flat.dtype)
    return Eigenpairs(
        values=jnp.where(finite, values, missing),
        vectors=jax.vmap(unravel)(jnp.where(finite[:, None], rows, missing)),
        residuals=jnp.where(finite, residuals, missing),
        status=status,
        ritz_values=ritz,
        method=Label("given operator"),
        step=None,
    )


def _iterate(
    apply: Callable[[Array], Array],
    start: Array,
    key: Key,
    num_eigenvectors: int,
    which: Which,
    num_iterations: int,
) -> tuple[Array, Array, Array, Array]:
    """Run Lanczos' iteration and apply the operator to the vectors that come out of it.

    One loop for both, so that the operator is compiled once: a simulator takes a minute.

    Returns:
        Ritz values, vectors, their Rayleigh quotients and residuals.
    """
    last = num_iterations - 1

    def extract(basis: tuple[Array, ...], diagonal: Array, coupling: Array) -> tuple[Array, Array]:
        matrix = tridiagonal_matrix(diagonal, coupling[:-1])
        finite = jnp.isfinite(matrix).all()
        ritz, coefficients = jnp.linalg.eigh(jnp.where(finite, matrix, 0))
        chosen = _choose(ritz, num_eigenvectors, which)
        rows = from_basis(coefficients[:, chosen].T, basis)
        rows = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
        peaks = jnp.take_along_axis(rows, jnp.argmax(jnp.abs(rows), axis=1)[:, None], axis=1)
        rows = rows * jnp.where(peaks < 0, -1, 1).astype(rows.dtype)
        return jnp.where(finite, ritz, jnp.nan), rows

    def step(carry: tuple, index: Array) -> tuple[tuple, tuple[Array, Array]]:
        state, diagonal, coupling, found = carry
        vector = state.vector
        image = apply(vector)
        state, quotient, beside = lanczos_step(state, image, index, key)
        diagonal = diagonal.at[index].set(quotient, mode="drop")
        coupling = coupling.at[index].set(beside, mode="drop")
        found = jax.lax.cond(
            index == last, lambda: extract(state.basis, diagonal, coupling), lambda: found
        )
        following = jnp.where(index < last, state.vector, found[1][jnp.maximum(index - last, 0)])
        residual = jnp.linalg.norm(image - quotient * vector)
        carry = (state._replace(vector=following), diagonal, coupling, found)
        return carry, (quotient, residual)

    zeros = jnp.zeros(num_iterations, start.dtype)
    rows = jnp.zeros((num_eigenvectors, len(start)), start.dtype)
    begin = (lanczos_start(start, num_iterations), zeros, zeros, (zeros, rows))
    count = num_iterations + num_eigenvectors
    final, (quotients, residuals) = jax.lax.scan(step, begin, jnp.arange(count))
    return *final[3], quotients[num_iterations:], residuals[num_iterations:]


def _choose(ritz: Array, count: int, which: Which) -> Array | np.ndarray:
    """Positions among ascending Ritz values."""
    if which == "magnitude":
        return jnp.argsort(-jnp.abs(ritz))[:count]
    ascending = np.arange(len(ritz))
    above = {"largest": count, "smallest": 0, "both ends": -(-count // 2)}[which]
    return np.concatenate([ascending[::-1][:above], ascending[: count - above]])
