"""Programs of ours with several batched LAPACK calls make them one after the other.

The calls that could run at once are those that could wait for each other forever; see
`fracjax.sequential_lapack`. Hanging is a matter of luck, what a program orders is not.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lapack_order import unordered

from fracjax import curvature, estimators, learning, orthonormal
from fracjax.sequential_lapack import after

KEY = jax.random.key(0)


def draws(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def traced_by(method):
    def loss(params, weights):
        return (weights * params**4).sum() + jnp.sin(params.sum())

    def function(params):
        operator = curvature.hessian(loss, params, jnp.arange(1.0, params.size + 1))
        return curvature.trace(operator, KEY, method=method, num_products=12).value

    return function


def network(first, second, kernel):
    params = {"first": kernel, "second": {"inner": 2 * kernel.T}}
    return learning.measure_network({"first": first, "second": second}, params)


CASES = {  # a function, its arguments, and how many LAPACK calls it makes
    "angles": (lambda vectors: estimators.subspace_angles(vectors, 2), [draws(3, 4, 6)], 6),
    "angles with a line": (
        lambda vectors: estimators.subspace_angles(vectors, 1),
        [draws(3, 3, 6)],
        6,
    ),
    "xtrace": (traced_by("xtrace"), [draws(3, 9)], 3),
    "hutch++": (traced_by("hutch++"), [draws(3, 9)], 2),
    "network": (network, [draws(3, 8, 4), draws(3, 8, 5), draws(3, 4, 6)], 4),
    "cholesky frame": (
        lambda rows: orthonormal.orthonormalize(rows, "cholesky"),
        [draws(3, 9, 40)],
        4,
    ),
    "derivative of a large frame": (
        jax.grad(lambda rows: orthonormal.orthonormalize(rows, "householder")[0].sum()),
        [draws(3, 130, 132)],
        3,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_call_waits_for_the_ones_before(name):
    function, arguments, calls = CASES[name]
    assert unordered(jax.vmap(function), *arguments) == ([], calls)


def singular_values_twice(wait):
    def function(matrix):
        def step(_, carry):
            return jnp.linalg.qr(carry)[0] + 0.1 * carry

        first = jax.lax.fori_loop(0, 4, step, matrix)
        second = after(matrix, first) if wait else jax.lax.optimization_barrier((matrix, first))[0]
        return first, jnp.linalg.svd(second, compute_uv=False)

    return function


def test_a_call_beside_a_loop_of_calls_is_found():
    """And what XLA's own barrier leaves, which is nothing."""
    matrices = draws(3, 5, 5)
    pairs, calls = unordered(jax.vmap(singular_values_twice(wait=False)), matrices)
    assert (len(pairs), calls) == (1, 3)
    assert unordered(jax.vmap(singular_values_twice(wait=True)), matrices) == ([], 3)
