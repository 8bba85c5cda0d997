"""Products of triangular factors against NumPy where it can follow, and where it cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.estimators.chaos.graded import graded_product, graded_singular_values


def factors(seed, batch, times, size):
    rng = np.random.default_rng(seed)
    lower = np.tril(rng.normal(size=(batch, times, size, size)))
    index = np.arange(size)
    lower[..., index, index] = np.abs(lower[..., index, index])
    return lower


@jax.jit
@jax.vmap
def decompose(lowers):
    return graded_singular_values(*graded_product(lowers))


@pytest.mark.parametrize(("size", "times"), [(1, 2), (2, 1), (4, 3)])
def test_singular_values_and_vectors_of_short_products(size, times, x64):
    lowers = factors(0, 40, times, size)
    logs, vectors = decompose(jnp.asarray(lowers))
    for lower, log, vector in zip(lowers, logs, vectors, strict=True):
        product = np.linalg.multi_dot([np.eye(size), np.eye(size), *lower])
        left, values, _ = np.linalg.svd(product)
        keep = values > 1e-6 * values[0]  # NumPy knows the others to fewer digits
        np.testing.assert_allclose(log[keep], np.log(values[keep]), atol=1e-8)
        np.testing.assert_allclose(abs(np.sum(left[:, 0] * vector[:, 0])), 1, atol=1e-10)


def test_long_products_keep_every_exponent(x64):
    """diag(e³, e, e⁻²) in a constant lower triangular matrix, 1000 times: range e^5000.

    The unstable direction of the product is an eigenvector of the transpose; exponents are
    eigenvalues up to a constant over time, which two lengths give away.
    """
    matrix = np.array([[np.exp(3.0), 0, 0], [5.0, np.exp(1.0), 0], [-3.0, 2.0, np.exp(-2.0)]])
    short, long = (decompose(jnp.asarray(np.tile(matrix, (1, t, 1, 1))))[0] for t in (500, 1000))
    np.testing.assert_allclose((long - short)[0] / 500, [3.0, 1.0, -2.0], atol=1e-12)
    np.testing.assert_allclose(long.sum(), 2.0 * 1000, atol=1e-8)


def test_a_zero_factor_gives_minus_infinity():
    lowers = jnp.asarray([[[[2.0, 0.0], [1.0, 0.0]]] * 3])
    logs, _ = decompose(lowers)
    np.testing.assert_allclose(logs[0, 0], np.log(np.sqrt(16 + 4) * 2), rtol=1e-6)
    assert logs[0, 1] == -np.inf
