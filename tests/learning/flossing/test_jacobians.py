"""Singular values of long products: closed forms far beyond the range of floating numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.flossing.cells import driven_tanh_step, initial_tanh_network
from fracjax.learning.flossing.jacobians import long_term_jacobian

DRAWS = np.random.default_rng(0)


def linear_step(params, state, given):
    return params @ state


def turn(size):
    return np.linalg.qr(DRAWS.normal(size=(size, size)))[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_of_a_diagonal_matrix_span_what_no_float_holds(dtype):
    """300 steps of diag(10^{.5, 0, −1, −2}) in turned axes: 10^150 down to 10^−600."""
    with jax.enable_x64(dtype == np.float64):
        basis = turn(4)
        matrix = jnp.asarray(basis @ np.diag(10.0 ** np.array([0.5, 0, -1, -2])) @ basis.T, dtype)
        state = jnp.zeros(4, dtype)
        found = jax.jit(lambda m: long_term_jacobian(linear_step, m, state, 300))(matrix)
        logs = np.asarray(found.log_singular_values) / np.log(10)
        assert found.log_singular_values.dtype == dtype
        # Rounding of the matrix moves its own eigenvalues, the smallest by ε/10^−2.
        exact = 300 * np.array([0.5, 0, -1, -2])
        error = 300 * np.finfo(dtype).eps * 10.0 ** np.array([0.5, 0.5, 1.5, 2.5])
        np.testing.assert_array_less(np.abs(logs - exact), 4 * error + 1e-4 * (dtype == np.float32))
        np.testing.assert_allclose(found.log10_condition, 750, rtol=1e-3)
        assert found.status == Status.OK


def test_an_orthogonal_product_has_condition_one(x64):
    found = long_term_jacobian(linear_step, jnp.asarray(turn(5)), jnp.ones(5), 200)
    np.testing.assert_allclose(found.log_singular_values, 0, atol=1e-12)
    np.testing.assert_allclose(found.log10_condition, 0, atol=1e-12)


def test_a_product_of_different_matrices_is_known(x64):
    """Steps Q_{t+1} diag(s_t) Q_tᵀ: singular values are products over time, 1e-200 among them."""
    rates = 10.0 ** (DRAWS.uniform(-1, 0, size=(60, 3)) - np.array([0, 2, 4]))
    turns = np.array([turn(3) for _ in range(61)])
    matrices = jnp.asarray(np.einsum("tij,tj,tkj->tik", turns[1:], rates, turns[:-1]))

    def step(params, state, given):
        return given @ state

    found = jax.jit(lambda m: long_term_jacobian(step, None, jnp.ones(3), m, 2))(matrices)
    exact = np.sort(np.log(rates).sum(axis=0))[::-1]
    assert exact[-1] < np.log(1e-200)
    np.testing.assert_allclose(found.log_singular_values, exact[:2], rtol=1e-7)
    np.testing.assert_allclose(found.log10_condition, (exact[0] - exact[1]) / np.log(10), rtol=1e-5)


def test_a_network_agrees_with_its_explicit_product(x64):
    params = initial_tanh_network(jax.random.key(0), 10, 1, gain=1.4)
    inputs = jnp.asarray(DRAWS.normal(size=(6, 1)))
    state = jnp.asarray(DRAWS.normal(size=10))
    run = jax.jit(lambda params: long_term_jacobian(driven_tanh_step, params, state, inputs, 6))
    found = run(params)

    def last(state):
        for given in inputs:
            state = driven_tanh_step(params, state, given)
        return state

    explicit = np.linalg.svd(jax.jacobian(last)(state))[1]
    np.testing.assert_allclose(found.log_singular_values, np.log(explicit[:6]), atol=1e-9)
    np.testing.assert_allclose(
        found.log10_condition, np.log10(explicit[0] / explicit[5]), atol=1e-9
    )
    np.testing.assert_allclose(found.state, last(state), rtol=1e-12)


def test_batches_trees_and_failures():
    """A pair of states, one of them dead; a batch; a state that overflows."""

    def step(params, state, given):
        return {"a": params[0] * state["a"], "b": params[1] * state["b"]}

    state = {"a": jnp.ones(2), "b": jnp.ones(1)}

    @jax.jit
    @jax.vmap
    def run(params):
        return long_term_jacobian(step, params, state, 5, 3)

    found = run(jnp.array([[0.5, 2.0], [0.5, 0.0], [jnp.inf, 1.0]]))
    assert found.status.tolist() == [Status.OK, Status.NONFINITE_TANGENT, Status.DIVERGED]
    expected = 5 * np.log([2, 0.5, 0.5])
    np.testing.assert_allclose(found.log_singular_values[0], expected, rtol=1e-5)
    assert np.isneginf(found.log_singular_values[1][2])
    with pytest.raises(ValueError, match="`inputs` must have at least one step"):
        long_term_jacobian(step, jnp.ones(2), state, 0)
    with pytest.raises(ValueError, match="`num_directions` must be between 1 and 3"):
        long_term_jacobian(step, jnp.ones(2), state, 5, 4)
