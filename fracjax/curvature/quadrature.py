"""Stochastic Lanczos quadrature: sums of functions over the spectrum of an operator."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import Estimate, Key, Leaf, Status
from fracjax.curvature.draws import (
    Probe,
    check_count,
    check_probe,
    draw_probe,
    mean_of_draws,
    probes_at_once,
)
from fracjax.curvature.lanczos import lanczos, tridiagonal_matrix
from fracjax.curvature.operators import CurvatureOperator, flat_operator

__all__ = ["Quadrature", "lanczos_quadrature", "spectral_mean"]

_ITERATIONS = 80


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Quadrature:
    """Nodes and weights that stand for the spectrum, of every draw.

    Attributes:
        nodes: Eigenvalues of the tridiagonal matrices, ascending, (draws, m).
        weights: What share of the spectrum a node stands for; they sum to 1, (draws, m).
        status: `OK`, or `NONFINITE_TANGENT` where a product is not finite.
        size: Dimension n of the operator.
    """

    nodes: Leaf
    weights: Leaf
    status: Leaf
    size: int = dataclasses.field(metadata={"static": True})


def lanczos_quadrature(
    operator: CurvatureOperator,
    key: Key,
    *,
    num_draws: int = 10,
    num_iterations: int | None = None,
    probe: Probe = "normal",
    keep_basis: bool = True,
    chunk_size: int | None = None,
) -> Quadrature:
    """Take Lanczos' quadrature from random starts: (1/n) tr f(A) ≈ mean Σ w_i f(θ_i).

    The tridiagonal matrix T of m iterations from a start v has eigenvalues θ_i and eigenvectors
    whose first entries squared are weights w_i: a Gauss quadrature of the spectrum as seen from
    v, exact for polynomials of degree below 2m. Its mean over random v is the spectrum's. With
    m = n it is exact but for the weights, which remain those of v.

    Args:
        operator: See `hessian` and its neighbours.
        key: Draws the starts.
        num_draws: Starts. Errors come from the scatter between them, so at least 2; a single
            one has status `TOO_FEW_POINTS` in what is computed from it.
        num_iterations: m, at most n; 80 (or n) if not given.
        probe: Distribution of starts; their lengths do not matter.
        keep_basis: Re-orthogonalise, see `lanczos`, at m·n numbers of memory for each draw in
            flight. Without, ghosts share the weight of what they are copies of.
        chunk_size: Draws at once; by default as many as keep their bases below 16 MB.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Golub and Meurant (2009), Matrices, Moments and Quadrature. Ubaru, Chen and Saad (2017),
        SIAM J. Matrix Anal. Appl. 38, 1075. Ghorbani et al. (2019), arXiv 1901.10159.
    """
    size = operator.size
    if num_iterations is None:
        num_iterations = min(size, _ITERATIONS)
    check_count("num_draws", num_draws, 1)
    check_count("num_iterations", num_iterations, 1, size)
    check_probe(probe)
    chunk_size = probes_at_once(chunk_size, num_draws, size, num_iterations if keep_basis else 2)
    return _quadrature(operator, key, num_draws, num_iterations, probe, keep_basis, chunk_size)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5, 6))
def _quadrature(
    operator: CurvatureOperator,
    key: Key,
    num_draws: int,
    num_iterations: int,
    probe: Probe,
    keep_basis: bool,
    chunk_size: int,
) -> Quadrature:
    apply, flat, _ = flat_operator(operator)

    def draw(key: Key) -> tuple[Array, Array]:
        first, later = jax.random.split(key)
        start = draw_probe(first, flat.size, flat.dtype, probe)
        found = lanczos(apply, start, later, num_iterations=num_iterations, keep_basis=keep_basis)
        return found.diagonal, found.off_diagonal

    keys = jax.random.split(key, num_draws)
    if chunk_size == 1:  # a batch of one would compute both branches of every re-orthogonalisation
        diagonal, beside = jax.lax.map(draw, keys)
    else:
        diagonal, beside = jax.lax.map(draw, keys, batch_size=chunk_size)
    matrices = jax.vmap(tridiagonal_matrix)(diagonal, beside)
    finite = jnp.isfinite(matrices).all()
    nodes, vectors = jnp.linalg.eigh(jnp.where(finite, matrices, 0))
    weights = vectors[:, 0, :] ** 2
    missing = jnp.full((), jnp.nan, nodes.dtype)
    return Quadrature(
        jnp.where(finite, nodes, missing),
        jnp.where(finite, weights / weights.sum(axis=1, keepdims=True), missing),
        jnp.where(finite, int(Status.OK), int(Status.NONFINITE_TANGENT)),
        flat.size,
    )


def spectral_mean(quadrature: Quadrature, function: Callable[[Array], Array]) -> Estimate:
    """Estimate the mean of a function over the eigenvalues, (1/n) tr f(A).

    The mean over draws, with standard error and Student interval from their scatter. Unbiased
    for polynomials of degree below 2m, as starts of length 1 are uniform on the sphere or have
    entries of equal magnitude.
    `spectral_mean(q, lambda x: x**2)` is ‖A‖²_F/n, `lambda x: (x > a).astype(x.dtype)` the share
    above a (whose own bias is the width of the nodes), times `q.size` a number of eigenvalues.

    Args:
        quadrature: See `lanczos_quadrature`.
        function: Of an array of eigenvalues, elementwise.
    """
    values = function(quadrature.nodes)
    draws = jnp.sum(jnp.where(quadrature.weights > 0, quadrature.weights * values, 0), axis=1)
    draws = jnp.where(quadrature.status == Status.OK, draws, jnp.nan)
    return mean_of_draws(draws)
