"""Lanczos' iteration on operators whose spectra are known."""

import importlib

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
    assert error < 1e-5
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


@pytest.mark.slow
def test_without_a_basis_copies_come_and_the_guard_holds():
    """The same ten outliers: nine copies of the largest, as documented; and the identity."""
    outliers = np.linspace(20, 60, 10)
    diagonal = jnp.asarray(np.concatenate([np.linspace(0, 1, 1990), outliers]), jnp.float32)
    start = jax.random.normal(jax.random.key(1), diagonal.shape, diagonal.dtype)
    found = lanczos(lambda v: diagonal * v, start, KEY, num_iterations=100, keep_basis=False)
    values = np.linalg.eigvalsh(np.asarray(found.dense(), np.float64))
    assert found.basis is None
    assert np.sum(values > 59.9) > 3
    assert values[-1] == pytest.approx(60, rel=1e-6)
    for spectrum in (jnp.ones(9), jnp.zeros(9)):
        flat = lanczos(
            lambda v, s=spectrum: s * v, jnp.ones(9), KEY, num_iterations=5, keep_basis=False
        )
        np.testing.assert_allclose(np.linalg.eigvalsh(flat.dense()), spectrum[0], atol=1e-6)
        np.testing.assert_array_equal(flat.off_diagonal, 0)


@pytest.mark.slow
def test_a_basis_in_blocks_is_the_same(monkeypatch, x64):
    """Large bases are cut into blocks of rows that are skipped until they are needed."""
    diagonal = jnp.linspace(-3.0, 2.0, 40) ** 3
    whole, _, _ = run(diagonal, 23)
    module = importlib.import_module("fracjax.curvature.lanczos")
    monkeypatch.setattr(module, "_ONE_BLOCK", 0)
    parts, _, error = run(diagonal, 23)
    assert error < 1e-14
    np.testing.assert_allclose(parts.dense(), whole.dense(), atol=1e-12)
    np.testing.assert_allclose(parts.basis, whole.basis, atol=1e-10)


def test_the_remainder_is_the_residual_of_ritz_vectors(x64):
    diagonal = jnp.linspace(0.0, 2.0, 40) ** 3
    found, _, _ = run(diagonal, 8)
    values, coefficients = np.linalg.eigh(found.dense())
    vector = coefficients[:, -1] @ found.basis
    residual = jnp.linalg.norm(diagonal * vector - values[-1] * vector)
    assert found.remainder * abs(coefficients[-1, -1]) == pytest.approx(float(residual), rel=1e-9)


@pytest.mark.parametrize("num_iterations", [0, 4])
def test_bad_numbers_of_iterations_are_named(num_iterations):
    with pytest.raises(ValueError, match="num_iterations"):
        lanczos(lambda v: v, jnp.ones(3), KEY, num_iterations=num_iterations)
