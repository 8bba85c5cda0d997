"""Extreme eigenvectors of Hessians: known spectra, dense Hessians, honest statuses."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tanh_network import KEY, dense_hessian, looped_loss, loss, network

from fracjax import Status
from fracjax.curvature import top_hessian_eigenvectors

# A cluster of three, a near pair below zero, and a crowd in the middle.
EIGENVALUES = np.concatenate([[10.0, 9.999, 9.998, 5.0, -8.0, -8.0001], np.linspace(-1, 1, 54)])
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]
PARAMS = {"w": np.ones((7, 8)), "b": np.ones(4)}  # leaves in alphabetical order: b, w


def quadratic(params, key):
    """½ xᵀ A x, with A of the eigenvalues above."""
    x = flat(params)
    return 0.5 * jnp.sum(jnp.asarray(EIGENVALUES, x.dtype) * (x @ jnp.asarray(BASIS, x.dtype)) ** 2)


def flat(params):
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)])


def params(dtype="float64"):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), PARAMS)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        pytest.param("magnitude", [10, 9.999, 9.998, -8.0001, -8, 5], marks=pytest.mark.slow),
        pytest.param("largest", [10, 9.999, 9.998, 5, 1], marks=pytest.mark.slow),
        pytest.param("smallest", [-8.0001, -8, -1], marks=pytest.mark.slow),
        ("both ends", [10, 9.999, 9.998, -8.0001, -8]),
    ],
)
def test_a_known_spectrum_with_clusters_on_both_sides(which, expected, x64):
    found = top_hessian_eigenvectors(
        quadratic, params(), KEY, num_eigenvectors=len(expected), which=which, num_iterations=60
    )
    assert found.method == "forward over reverse"
    np.testing.assert_array_equal(found.status, Status.OK)
    np.testing.assert_allclose(found.values, expected, atol=1e-12)
    assert np.all(found.residuals < 1e-12)
    vectors = np.asarray(jax.vmap(flat)(found.vectors))
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(expected)), atol=1e-13)
    chosen = [np.argmin(np.abs(EIGENVALUES - value)) for value in expected]
    cosines = np.abs(np.sum(vectors * BASIS[:, chosen].T, axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-9)  # residual over a gap of 1e-4
    assert np.all(vectors[np.arange(len(vectors)), np.argmax(np.abs(vectors), axis=1)] > 0)


@pytest.mark.slow
def test_single_precision_agrees_and_its_residuals_say_how_well(x64):
    for method, tolerance in (("auto", 2e-5), ("differences", 2e-2)):
        found = top_hessian_eigenvectors(
            quadratic, params("float32"), KEY, num_eigenvectors=6, method=method, tolerance=5e-3
        )
        assert found.values.dtype == found.vectors["w"].dtype == jnp.float32
        np.testing.assert_array_equal(found.status, Status.OK)
        gaps = np.abs(np.asarray(found.values)[:, None] - EIGENVALUES).min(axis=1)
        assert np.all(gaps <= found.residuals + 1e-5)
        assert np.all(found.residuals < tolerance)


@pytest.mark.parametrize("num_iterations", [pytest.param(6, marks=pytest.mark.slow), 10])
def test_too_few_iterations_are_admitted(num_iterations, x64):
    """Every value lies within its residual of an eigenvalue, converged or not."""
    found = top_hessian_eigenvectors(
        quadratic, params(), KEY, num_eigenvectors=5, num_iterations=num_iterations
    )
    status = np.asarray(found.status)
    assert np.any(status == Status.NOT_CONVERGED)
    gaps = np.abs(np.asarray(found.values)[:, None] - EIGENVALUES).min(axis=1)
    assert np.all(gaps <= np.asarray(found.residuals) * (1 + 1e-9))
    np.testing.assert_array_equal(status == Status.OK, np.asarray(found.residuals) <= 1e-2)


@pytest.mark.parametrize(
    ("objective", "method", "tolerance"),
    [
        (loss, "forward over reverse", 1e-12),
        (looped_loss, "differences of forward-mode gradients", 1e-8),
    ],
)
def test_a_network_against_its_dense_hessian(objective, method, tolerance, x64):
    expected = np.linalg.eigvalsh(dense_hessian(loss, network()))
    found = top_hessian_eigenvectors(
        objective, network(), KEY, num_eigenvectors=4, which="both ends"
    )
    assert found.method == method
    np.testing.assert_array_equal(found.status, Status.OK)
    scale = np.abs(expected).max()
    ends = np.concatenate([expected[::-1][:2], expected[:2]])
    np.testing.assert_allclose(found.values, ends, atol=tolerance * scale)
    assert np.all(found.residuals < tolerance * scale)
    np.testing.assert_allclose(found.ritz_values, expected, atol=tolerance * scale)


def test_a_fractal_objective_has_no_eigenvectors_and_says_so(x64):
    """Weierstrass functions of Hölder exponent 1/2: their differences are no linear map."""
    frequencies = 2.0 ** np.arange(1, 40)

    def fractal(x, key):
        return jnp.sum(jnp.cos(frequencies * x[:, None]) / frequencies**0.5)

    point = jax.random.normal(KEY, (12,))
    found = top_hessian_eigenvectors(fractal, point, KEY, method="differences")
    np.testing.assert_array_equal(found.status, Status.NOT_CONVERGED)
    assert np.all(found.residuals > 0.1 * np.abs(found.values))


@pytest.mark.parametrize(
    "objective",
    [
        lambda x, key: jnp.sum(jnp.sqrt(x - 1.0)),
        lambda x, key: jnp.where(x[0] > 0, jnp.nan, jnp.sum(x**2)),  # whose derivatives are zero
    ],
)
def test_what_is_not_finite_gets_a_status_and_no_number(objective):
    found = top_hessian_eigenvectors(objective, jnp.ones(4), KEY)
    np.testing.assert_array_equal(found.status, Status.NONFINITE_TANGENT)
    assert np.isnan(found.values).all()
    assert np.isnan(found.vectors).all()


def test_flat_objectives_have_eigenvalues_of_zero():
    found = top_hessian_eigenvectors(lambda x, key: jnp.sum(x), jnp.ones(4), KEY)
    np.testing.assert_array_equal(found.values, 0)
    np.testing.assert_array_equal(found.status, Status.OK)


def test_it_may_be_jitted_and_vmapped(x64):
    """The Hessian of Σ x⁴ is 12 x² on the diagonal."""
    batch = jnp.array([[1.0, 2.0, 3.0], [5.0, 4.0, 1.0]])
    found = jax.jit(
        jax.vmap(lambda x: top_hessian_eigenvectors(lambda p, key: jnp.sum(p**4), x, KEY).values)
    )(batch)
    np.testing.assert_allclose(found, 12 * np.array([[3.0, 2.0], [5.0, 4.0]]) ** 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"which": "top"}, "magnitude"),
        ({"num_eigenvectors": 0}, "num_eigenvectors"),
        ({"num_eigenvectors": 3, "num_iterations": 2}, "in order"),
        ({"num_iterations": 5}, "parameters \\(4\\)"),
    ],
)
def test_bad_settings_are_named(settings, message):
    unchecked = inspect.unwrap(top_hessian_eigenvectors)
    with pytest.raises(ValueError, match=message):
        unchecked(lambda x, key: jnp.sum(x), jnp.ones(4), KEY, **settings)
