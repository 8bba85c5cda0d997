"""Algebra on pytrees, and directions through them."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import directions, tree

PARAMS = {"w": jnp.arange(6.0).reshape(3, 2), "v": jnp.ones((3, 2)), "b": jnp.zeros(2)}


def test_algebra():
    assert tree.size(PARAMS) == 14
    assert tree.dot(PARAMS, PARAMS) == pytest.approx(55 + 6)
    assert tree.norm(PARAMS) == pytest.approx(61**0.5)
    moved = tree.add_scaled(PARAMS, 2.0, PARAMS)
    np.testing.assert_allclose(moved["w"], 3 * PARAMS["w"])
    assert tree.scale(2.0, {"n": jnp.ones(1, jnp.float16)})["n"].dtype == jnp.float16
    cast = tree.astype({"x": jnp.ones(2), "n": jnp.arange(2)}, "float16")
    assert cast["x"].dtype == jnp.float16
    assert jnp.issubdtype(cast["n"].dtype, jnp.integer)


def test_equal_shaped_leaves_get_different_noise():
    noise = tree.random_normal(jax.random.key(0), PARAMS)
    assert abs(np.corrcoef(noise["w"].ravel(), noise["v"].ravel())[0, 1]) < 0.95
    assert not np.array_equal(noise["w"], noise["v"])


def test_gaussian_directions_have_unit_root_mean_square_on_average():
    drawn = directions.draw("gaussian", jax.random.key(0), {"a": jnp.zeros(50)}, 400)
    assert float(jnp.mean(drawn["a"] ** 2)) == pytest.approx(1.0, abs=0.05)


def test_filter_normalised_directions_copy_the_norms_of_filters():
    drawn = directions.filter_normalized(jax.random.key(1), PARAMS)
    np.testing.assert_allclose(
        jnp.linalg.norm(drawn["w"], axis=0), jnp.linalg.norm(PARAMS["w"], axis=0), rtol=1e-6
    )
    np.testing.assert_array_equal(drawn["b"], 0.0)


def test_direction_i_does_not_depend_on_how_many_are_drawn():
    few = directions.draw("gaussian", jax.random.key(0), PARAMS, 2)
    many = directions.draw("gaussian", jax.random.key(0), PARAMS, 5)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:2]), few, many)


def test_unknown_kind():
    unchecked = inspect.unwrap(directions.draw)  # past the tests' own type checks
    with pytest.raises(ValueError, match="gaussian"):
        unchecked("hessian", jax.random.key(0), PARAMS, 1)
