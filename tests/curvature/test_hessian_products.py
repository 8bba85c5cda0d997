"""Hessian-vector products against closed forms and dense Hessians."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from tanh_network import KEY, dense_hessian, looped_loss, loss, network

from fracjax import Status, curvature, tree
from fracjax.curvature.hessian_products import flattened


@jax.custom_vjp
def slope(x):
    return 2 * x


slope.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


@jax.custom_vjp
def square(x):
    return x**2


square.defvjp(lambda x: (x**2, x), lambda x, g: (slope(x) * g,))


def rules_of_its_own(params, key):
    """A loss whose gradient has no forward mode, by the rules given for it."""
    return loss(params, key) - params[0]["bias"][0] ** 2 + square(params[0]["bias"][0])


CASES = [
    (loss, "auto", "forward over reverse", 1e-12),
    (loss, "forward over forward", "forward over forward", 1e-12),
    (loss, "differences", "differences of reverse-mode gradients", 1e-8),
    (looped_loss, "auto", "differences of forward-mode gradients", 1e-8),
    (looped_loss, "forward over forward", "forward over forward", 1e-12),
    (rules_of_its_own, "auto", "differences of reverse-mode gradients", 1e-8),
]


@pytest.mark.parametrize(("objective", "method", "used", "tolerance"), CASES)
def test_products_are_those_of_the_dense_hessian(objective, method, used, tolerance, x64):
    params = network()
    direction = tree.random_normal(jax.random.key(2), params)
    found = curvature.hessian_vector_product(objective, params, KEY, direction, method=method)
    assert found.method == used
    assert found.status == Status.OK
    assert (found.step is None) == (not used.startswith("differences"))
    expected = dense_hessian(loss, params) @ ravel_pytree(direction)[0]
    product = ravel_pytree(found.product)[0]
    assert np.linalg.norm(product - expected) < tolerance * np.linalg.norm(expected)


def test_single_precision(x64):
    """Exact products to rounding; differences to the .005 of their step, squared."""
    params = tree.astype(network(), "float32")
    direction = tree.random_normal(jax.random.key(2), params)
    expected = dense_hessian(loss, network()) @ ravel_pytree(direction)[0].astype("float64")
    for method, tolerance in (("auto", 1e-5), ("differences", 3e-3)):
        found = curvature.hessian_vector_product(loss, params, KEY, direction, method=method)
        product = ravel_pytree(found.product)[0]
        assert product.dtype == jnp.float32
        assert np.linalg.norm(product - expected) < tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("step", [1e-1, 1e-2])
def test_differences_are_off_by_the_square_of_their_step(step, x64):
    """Of x⁴ at 1 along 1: (4(1+h)³ - 4(1-h)³) / 2h = 12 + 4h²."""
    found = curvature.hessian_vector_product(
        lambda x, key: x**4, jnp.array(1.0), KEY, jnp.array(3.0), method="differences", step=step
    )
    assert found.step == step
    assert found.product == pytest.approx(3 * (12 + 4 * step**2), rel=1e-12)


def test_linear_regression_and_symmetry(x64):
    """The Hessian of a mean squared error is (2/N) XᵀX."""
    inputs = jax.random.normal(KEY, (11, 4))

    def error(weights, key):
        return jnp.mean((inputs @ weights - 1.0) ** 2)

    def product(v):
        return curvature.hessian_vector_product(error, jnp.ones(4), KEY, v).product

    found = jax.vmap(product)(jnp.eye(4))
    np.testing.assert_allclose(found, 2 / 11 * inputs.T @ inputs, rtol=1e-12)


def test_a_direction_of_zeros():
    found = curvature.hessian_vector_product(
        lambda x, key: jnp.sum(x**4), jnp.ones(3), KEY, jnp.zeros(3), method="differences"
    )
    np.testing.assert_array_equal(found.product, 0)


@pytest.mark.parametrize("method", ["auto", "forward over forward", "differences"])
@pytest.mark.parametrize(
    "objective",
    [
        lambda x, key: jnp.sum(jnp.sqrt(x - 1)),
        lambda x, key: jnp.where(x[0] > 0, jnp.nan, jnp.sum(x**2)),  # whose derivatives are zero
    ],
)
def test_what_is_not_finite_gets_a_status(objective, method):
    point = jnp.ones(3)
    found = curvature.hessian_vector_product(objective, point, KEY, point, method=method)
    assert found.status == Status.NONFINITE_TANGENT


@pytest.mark.parametrize(
    ("direction", "settings", "message"),
    [
        (jnp.ones(3), {}, "direction"),
        (jnp.ones(2), {"step": 0.0}, "step"),
        (jnp.ones(2), {"method": "reverse"}, "forward over reverse"),
    ],
)
def test_bad_settings_are_named(direction, settings, message):
    unchecked = inspect.unwrap(curvature.hessian_vector_product)
    with pytest.raises(ValueError, match=message):
        unchecked(lambda x, key: jnp.sum(x), jnp.ones(2), KEY, direction, **settings)


@pytest.mark.parametrize("count", [1, 8, 9, 70])
def test_leaves_are_put_end_to_end_in_the_order_of_ravel_pytree(count):
    """More than are summed at once, of several shapes."""
    drawn = [jax.random.normal(jax.random.fold_in(KEY, i), (i % 3 + 1, 2)) for i in range(count)]
    scaled = {f"{i:03d}": leaf for i, leaf in enumerate(drawn)}
    apply, flat, _ = flattened(lambda tree: jax.tree.map(lambda leaf: 3 * leaf, tree), scaled)
    np.testing.assert_array_equal(apply(flat), 3 * ravel_pytree(scaled)[0])
    np.testing.assert_array_equal(jax.jit(apply)(flat), 3 * flat)
