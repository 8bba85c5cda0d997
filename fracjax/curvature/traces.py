"""Traces and diagonals of operators that are only ever multiplied with vectors."""

import functools
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import Estimate, Key, PyTree
from fracjax.curvature.draws import (
    Probe,
    check_count,
    check_probe,
    draw_probe,
    mean_of_draws,
    probes_at_once,
)
from fracjax.curvature.operators import CurvatureOperator, flat_operator
from fracjax.sequential_lapack import after

__all__ = ["TraceMethod", "diagonal", "trace"]

# Estimators of a trace; see `trace`.
TraceMethod = Literal["hutchinson", "hutch++", "xtrace"]
Products: TypeAlias = Callable[[Array], Array]
_dot = functools.partial(jnp.matmul, precision="highest")  # never TF32
_CORRELATED = 2**0.5  # what the error of XTrace is, at worst, over that of independent samples
_DEFAULT = 60  # products
_PRODUCTS = {"hutchinson": (1, 1), "hutch++": (3, 6), "xtrace": (2, 4)}  # per sample; at least


def trace(
    operator: CurvatureOperator,
    key: Key,
    *,
    method: TraceMethod = "xtrace",
    num_products: int | None = None,
    probe: Probe | None = None,
    chunk_size: int | None = None,
) -> Estimate:
    """Estimate the trace from products with random vectors.

    `"hutchinson"`: mean of zᵀAz, of variance 2‖A‖²_F (normal z) or 2 Σ_{i≠j} A²_ij (Rademacher:
    none for a diagonal matrix) over the number of products. Right where the spectrum is flat.

    `"hutch++"`: a third of the products find a range Q, a third give the trace within it
    exactly, a third are Hutchinson's for the rest. Right where the spectrum decays.

    `"xtrace"`: every vector is left out once from the range and used for the rest, so that half
    the products find a range and all test it; with the rest normalised. The best where the
    spectrum decays; where it is flat its error is √2 times Hutchinson's. Like Hutch++ it holds
    its vectors in memory, at most n of them.

    All three are unbiased. Errors are the scatter of the samples, intervals Student's. Those of
    XTrace are correlated, by which the scatter states too small an error (its factor over six
    spectra, 24 and 60 products, 1500 keys: 1.07 to 1.45); the error given is √2 times it, which
    is right where the spectrum decays slowly and exponentially, and up to a third too large where
    it is flat. Coverage of the nominal 95 %, same measurement: Hutchinson .92 to .955, Hutch++
    .925 to .95 (few skewed samples), XTrace .935 to .99. On 0.7^i in 1000 dimensions 24 products
    have root mean square errors of .39, .08 and .03 for a trace of 3.33.

    Args:
        operator: See `hessian` and its neighbours.
        key: Draws the vectors.
        method: See above.
        num_products: Budget, of which the largest multiple of the products per sample (1, 3, 2)
            is spent; 60 if not given, or as many as span all n dimensions.
        probe: Distribution of vectors; Rademacher by default. XTrace takes normal ones, always:
            its normalisation is exact for them.
        chunk_size: Products at once; by default as many as keep their vectors below 16 MB.

    Returns:
        The trace. `details`: `draws`, whose mean it is (independent for Hutchinson, for Hutch++
        given the range), and `num_products`, those spent.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Hutchinson (1990), Communications in Statistics 19, 433. Meyer, Musco, Musco and Woodruff
        (2021), arXiv 2010.09649. Epperly, Tropp and Webber (2024), arXiv 2301.07825.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import curvature
        >>> def loss(params, weights):
        ...     return 0.5 * (weights * params**2).sum()
        >>> operator = curvature.hessian(loss, jnp.zeros(3), jnp.array([4.0, 2.0, 1.0]))
        >>> f"{curvature.trace(operator, jax.random.key(0)).value:.4f}"
        '7.0000'
    """
    if method not in get_args(TraceMethod):
        msg = f"Argument `method` must be one of {get_args(TraceMethod)}, but is {method!r}."
        raise ValueError(msg)
    if operator.size == 1:
        method = "hutchinson"  # one product is exact, and there is nothing to leave out
    each, least = _PRODUCTS[method]
    most = None if method == "hutchinson" else each * (operator.size + 1) - 1
    if num_products is None:
        num_products = _DEFAULT if most is None else min(_DEFAULT, most)
    check_count("num_products", num_products, least, most)
    samples = num_products // each
    if method == "xtrace" and probe not in (None, "normal"):
        msg = f"Argument `probe` must be None or 'normal' for XTrace, but is {probe!r}."
        raise ValueError(msg)
    probe = probe or "rademacher"
    check_probe(probe)
    chunk_size = probes_at_once(chunk_size, samples, operator.size)
    return _trace(operator, key, method, samples, probe, chunk_size)


def diagonal(
    operator: CurvatureOperator,
    key: Key,
    *,
    num_products: int = 100,
    probe: Probe = "rademacher",
    chunk_size: int | None = None,
) -> PyTree:
    """Estimate the diagonal: the mean of z ∘ Az.

    With Rademacher vectors entry i has variance Σ_{j≠i} A²_ij over the number of products, so
    that a diagonal matrix takes one. Good for sums over blocks, noisy for single entries: 100
    products leave a tenth of the length of the rest of the row.

    Args:
        operator: See `hessian` and its neighbours.
        key: Draws the vectors.
        num_products: Vectors, at least 2.
        probe: Their distribution.
        chunk_size: Products at once; by default as many as keep their vectors below 16 MB.

    Returns:
        A pytree like the parameters whose leaves are `Estimate`s, shaped as the leaf.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Bekas, Kokiopoulou and Saad (2007), Applied Numerical Mathematics 57, 1214.
    """
    check_count("num_products", num_products, 2)
    check_probe(probe)
    chunk_size = probes_at_once(chunk_size, num_products, operator.size)
    return _diagonal(operator, key, num_products, probe, chunk_size)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _trace(
    operator: CurvatureOperator,
    key: Key,
    method: TraceMethod,
    samples: int,
    probe: Probe,
    chunk_size: int,
) -> Estimate:
    apply, flat, _ = flat_operator(operator)

    def draw(key: Array) -> Array:
        return draw_probe(key, flat.size, flat.dtype, "normal" if method == "xtrace" else probe)

    if method == "hutchinson":

        def sample(key: Array) -> Array:
            vector = draw(key)
            return jnp.dot(vector, apply(vector), precision="highest")

        draws = jax.lax.map(sample, jax.random.split(key, samples), batch_size=chunk_size)
        return mean_of_draws(draws, details={"draws": draws, "num_products": samples})

    def products(vectors: Array) -> Array:
        return jax.lax.map(apply, vectors, batch_size=chunk_size)

    if method == "xtrace":
        draws = _exchanged(products, jax.vmap(draw)(jax.random.split(key, samples)))
        details = {"draws": draws, "num_products": 2 * samples}
        return mean_of_draws(draws, details=details, inflation=_CORRELATED)
    vectors = jax.vmap(draw)(jax.random.split(key, 2 * samples))
    basis = jnp.linalg.qr(products(vectors[:samples]).T)[0].T
    tests = vectors[samples:]
    tests = tests - _dot(_dot(tests, basis.T), basis)
    images = products(jnp.concatenate([basis, tests]))
    inside = jnp.sum(basis * images[:samples])
    draws = inside + jnp.sum(tests * images[samples:], axis=1)
    return mean_of_draws(draws, details={"draws": draws, "num_products": 3 * samples})


def _exchanged(products: Products, vectors: Array) -> Array:
    """The leave-one-out estimates of XTrace.

    Rows are vectors. With Y = ΩA = LQ, leaving vector i out takes from the range of Q the one
    direction s_i (in coordinates of Q) that no other row of L has a part in: row i of the
    inverse of Lᵀ, normalised.
    """
    count, size = vectors.shape
    images = products(vectors)
    basis, upper = jnp.linalg.qr(images.T)
    upper = after(upper, basis)  # or the solve below could run beside what makes the basis
    basis = basis.T
    inner = _dot(basis, products(basis).T)
    inner = (inner + inner.T) / 2
    # Where the operator has a lower rank than there are vectors, the inverse leads to directions
    # that it does not reach, with no part in the trace.
    across = jnp.diagonal(upper)
    least = jnp.finfo(upper.dtype).eps * jnp.max(jnp.abs(across))
    least = jnp.where(least > 0, least, 1)
    across = jnp.where(jnp.abs(across) < least, least, across)
    upper = jnp.where(jnp.eye(count, dtype=bool), across, upper)
    inverse = jax.scipy.linalg.solve_triangular(upper, jnp.eye(count, dtype=upper.dtype))
    left = inverse / jnp.linalg.norm(inverse, axis=1, keepdims=True)
    coordinates = _dot(vectors, basis.T)
    kept = coordinates - jnp.sum(left * coordinates, axis=1, keepdims=True) * left
    inside = jnp.trace(inner) - jnp.sum(left * _dot(left, inner), axis=1)
    outside = (
        jnp.sum(vectors * images, axis=1)
        - 2 * jnp.sum(kept * _dot(images, basis.T), axis=1)
        + jnp.sum(kept * _dot(kept, inner), axis=1)
    )
    # The rest of a normal vector is isotropic in its n - m + 1 dimensions; its length is noise.
    squared = jnp.sum(vectors**2, axis=1) - jnp.sum(kept**2, axis=1)
    return inside + outside * (size - count + 1) / squared


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _diagonal(
    operator: CurvatureOperator, key: Key, num_products: int, probe: Probe, chunk_size: int
) -> PyTree:
    apply, flat, unravel = flat_operator(operator)

    def sample(key: Array) -> Array:
        vector = draw_probe(key, flat.size, flat.dtype, probe)
        return vector * apply(vector)

    draws = jax.lax.map(sample, jax.random.split(key, num_products), batch_size=chunk_size)
    estimate = mean_of_draws(draws)
    parts = jax.tree.map(unravel, (estimate.value, estimate.stderr, estimate.low, estimate.high))
    codes = jax.tree.unflatten(
        jax.tree.structure(parts[0]), _cut(estimate.status, jax.tree.leaves(parts[0]))
    )
    return jax.tree.map(Estimate, *parts, codes)


def _cut(flat: Array, leaves: list[Array]) -> list[Array]:
    ends, end = [], 0
    for leaf in leaves:
        ends.append(flat[end : end + leaf.size].reshape(leaf.shape))
        end += leaf.size
    return ends
