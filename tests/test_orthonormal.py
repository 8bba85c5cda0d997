"""Three kernels of one factorisation: identities, failure, and the derivative given by hand."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.orthonormal import choose_method, orthonormalize, solve_lower

KEY = jax.random.key(0)
METHODS = ("gram-schmidt", "cholesky", "householder")
compiled = jax.jit(orthonormalize, static_argnums=1)  # op by op it takes longer to compile
solve = jax.jit(solve_lower)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 8, 12])
def test_it_is_a_factorisation(method, count, x64):
    rows = jax.random.normal(KEY, (count, 12))
    basis, lower = compiled(rows, method)
    chex.assert_trees_all_close(basis @ basis.T, jnp.eye(count), atol=1e-12)
    chex.assert_trees_all_close(lower @ basis, rows, atol=1e-12)
    chex.assert_trees_all_close(lower, jnp.tril(lower), atol=1e-15)
    assert jnp.all(jnp.diagonal(lower) > 0)


@pytest.mark.parametrize("decades", [3, 7, 9, 13])
def test_cholesky_repairs_or_falls_back(decades, x64):
    """Condition numbers up to 1e13: Cholesky of the Gram matrix alone fails from 1e8 on."""
    rows = jax.random.normal(KEY, (10, 200))
    rows = jnp.logspace(0, -decades, 10)[:, None] * (rows[0] + rows)
    basis, lower = compiled(rows, "cholesky")
    _, exact = compiled(rows, "householder")
    np.testing.assert_allclose(basis @ basis.T, np.eye(10), atol=1e-12)
    np.testing.assert_allclose(np.diag(lower), np.diag(exact), rtol=1e-10)


def test_a_batch_falls_back_where_it_must(x64):
    good = jax.random.normal(KEY, (10, 100))
    bad = good.at[9].set(good[8] + 1e-12 * good[9])
    batched = jax.jit(jax.vmap(functools.partial(orthonormalize, method="cholesky")))
    basis, lower = batched(jnp.stack([good, bad]))
    chex.assert_trees_all_close((basis[0], lower[0]), compiled(good, "cholesky"), atol=1e-13)
    chex.assert_trees_all_close((basis[1], lower[1]), compiled(bad, "householder"), atol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_dependent_rows_vanish_and_spoil_nothing(method):
    rows = jax.random.normal(KEY, (10, 80))
    rows = rows.at[-1].set(rows[-2])
    basis, lower = compiled(rows, method)
    assert (jnp.diagonal(lower) == 0).tolist() == [*[False] * 9, True]
    assert jnp.all(jnp.isfinite(basis))
    chex.assert_trees_all_close(lower @ basis, rows, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_zero_rows_stay_finite(method):
    basis, lower = compiled(jnp.zeros((10, 80)), method)
    assert jnp.all(jnp.isfinite(basis))
    assert jnp.all(lower == 0)


@pytest.mark.parametrize(
    ("method", "count"),
    [
        ("gram-schmidt", 5),
        pytest.param("cholesky", 11, marks=pytest.mark.slow),
        ("householder", 11),
    ],
)
def test_the_derivative_matches_finite_differences_in_both_modes(method, count, x64):
    """Central differences of step 1e-6: the truncation is 1e-10 or less."""
    rows, direction, weights = jax.random.normal(KEY, (3, count, 50))

    def value(rows):
        basis, lower = orthonormalize(rows, method)
        return jnp.vdot(weights, basis) + jnp.sum(jnp.log(jnp.diagonal(lower))) + jnp.sum(lower**2)

    scale = 1e-6
    moved = jnp.stack([rows + scale * direction, rows - scale * direction])
    above, below = jax.jit(lambda pair: jax.lax.map(value, pair))(moved)
    rough = (above - below) / (2 * scale)
    forward = jax.jit(lambda r: jax.jvp(value, (r,), (direction,))[1])(rows)
    backward = jnp.vdot(jax.jit(jax.grad(value))(rows), direction)
    np.testing.assert_allclose(forward, rough, rtol=1e-7)
    np.testing.assert_allclose(backward, forward, rtol=1e-10)


def test_the_method_follows_the_size_unless_named():
    assert choose_method("auto", 8, 8) == "gram-schmidt"
    assert choose_method("auto", 16, 80) == "cholesky"
    assert choose_method("auto", 40, 40) == "householder"
    assert choose_method("householder", 2, 2) == "householder"
    with pytest.raises(ValueError, match="Argument `method` must be one of"):
        inspect.unwrap(choose_method)("qr", 2, 2)


@pytest.mark.parametrize("size", [1, 7, 8, 20, 130])
def test_solve_lower_solves(size, x64):
    lower = jnp.tril(jax.random.normal(KEY, (size, size))) / size + jnp.eye(size)
    right = jax.random.normal(jax.random.key(1), (size, 3))
    np.testing.assert_allclose(lower @ solve(lower, right), right, atol=1e-12)


def test_solve_lower_reads_a_zero_on_the_diagonal_as_one(x64):
    lower = jnp.array([[2.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(solve(lower, jnp.array([[2.0], [3.0]])), [[1.0], [2.0]])
