"""Algebra on pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import tree

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


def test_rows_hold_every_leaf_and_can_be_cut_again():
    stacked = {"a": jnp.arange(12.0).reshape(2, 3, 2), "b": jnp.array([7, 8], jnp.float16)}
    rows = tree.to_rows(stacked)
    np.testing.assert_array_equal(rows, [[*range(6), 7], [*range(6, 12), 8]])
    again = tree.from_rows(rows, stacked)
    assert again["b"].dtype == jnp.float16
    for name, leaf in stacked.items():
        np.testing.assert_array_equal(again[name], leaf)


def test_one_number_that_is_not_finite_is_found():
    assert tree.all_finite(PARAMS)
    assert tree.all_finite(())
    for bad in (jnp.nan, jnp.inf):
        assert not tree.all_finite({**PARAMS, "v": PARAMS["v"].at[2, 1].set(bad)})
