"""Lanczos' iteration on operators whose spectra are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.curvature import lanczos

KEY = jax.random.key(0)


def run(diagonal, num_iterations):
    start = jax.random.normal(jax.random.key(1), diagonal.shape, diagonal.dtype)
    found = jax.jit(lambda d: lanczos(lambda v: d * v, start, KEY, num_iterations=num_iterations))(
        diagonal
    )
    values = np.linalg.eigvalsh(np.asarray(found.dense(), np.float64))
    gram = np.asarray(found.basis, np.float64) @ np.asarray(found.basis, np.float64).T
    return found, values, np.abs(gram - np.eye(num_iterations)).max()


def test_no_eigenvalue_shows_up_twice():
    """Ten outliers over 1990 values in [0, 1], in single precision.

    Without re-orthogonalisation 100 iterations give nine copies of the largest.
    """
    outliers = np.linspace(20, 60, 10)
    diagonal = np.concatenate([np.linspace(0, 1, 1990), outliers])
    _, values, error = run(jnp.asarray(diagonal, jnp.float32), 100)
    assert error < 2e-6
    assert np.sum(values > 1.5) == 10
    np.testing.assert_allclose(values[-10:], outliers, rtol=2e-6)


@pytest.mark.parametrize(
    "diagonal",
    [
        np.ones(12),
        np.zeros(12),
        np.repeat([2.0, 0.0, -1.0], 4),
        np.concatenate([[5.0, 5.0], np.zeros(10)]),
        np.linspace(-1, 1, 12),
    ],
    ids=["identity", "zero", "three", "low rank", "distinct"],
)
def test_as_many_iterations_as_dimensions_find_every_eigenvalue(diagonal, x64):
    """Also multiple ones: the iteration goes on behind an invariant subspace."""
    found, values, error = run(jnp.asarray(diagonal), 12)
    assert error < 1e-14
    np.testing.assert_allclose(values, np.sort(diagonal), atol=1e-13)
    distinct = len(set(diagonal))
    if distinct < 12:
        assert found.off_diagonal[distinct - 1] == 0


def test_the_basis_makes_the_operator_tridiagonal(x64):
    diagonal = jnp.linspace(-3.0, 2.0, 40) ** 3
    found, _, _ = run(diagonal, 10)
    projected = (found.basis * diagonal) @ found.basis.T
    np.testing.assert_allclose(projected, found.dense(), atol=1e-13)


@pytest.mark.parametrize("num_iterations", [0, 4])
def test_bad_numbers_of_iterations_are_named(num_iterations):
    with pytest.raises(ValueError, match="num_iterations"):
        lanczos(lambda v: v, jnp.ones(3), KEY, num_iterations=num_iterations)
