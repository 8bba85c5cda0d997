"""Exactly as many entries as asked for, the largest of the batch, with ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.decomposition.selection import batch_top_k, selected_count

SHAPE = (6, 5)
TOP_K = jax.jit(batch_top_k)


@pytest.mark.parametrize("kind", ["distinct", "ties", "equal", "zeros"])
@pytest.mark.parametrize("count", [0, 1, 7, 15, 23, 29, 30])
def test_the_count_is_exact_and_the_first_of_equals_wins(kind, count):
    draws = np.random.default_rng(3)
    values = {
        "distinct": draws.normal(size=SHAPE),
        "ties": draws.integers(-2, 3, SHAPE).astype(float),
        "equal": np.where(draws.random(SHAPE) < 0.5, -1.5, 1.5),
        "zeros": np.zeros(SHAPE),
    }[kind]
    found = np.asarray(TOP_K(jnp.asarray(values, jnp.float32), count))
    order = np.argsort(-np.abs(values.astype(np.float32)).ravel(), kind="stable")
    expected = np.zeros(values.size, bool)
    expected[order[:count]] = True
    np.testing.assert_array_equal(found.ravel(), expected)
    assert found.sum() == count


def test_batches_of_batches_and_nan():
    values = jnp.asarray(np.random.default_rng(0).integers(-3, 4, (4, *SHAPE)), jnp.float32)
    values = values.at[1, 2].set(jnp.nan)
    found = jax.jit(jax.vmap(lambda one: batch_top_k(one, 8)))(values)
    alone = jnp.stack([TOP_K(one, 8) for one in values])
    np.testing.assert_array_equal(found, alone)
    np.testing.assert_array_equal(found.sum((1, 2)), 8)
    assert not found[1, 2].any()
    few = values[0].at[2:].set(jnp.nan)
    assert TOP_K(few, 15).sum() == 10  # what there is


def test_float64_is_compared_in_full(x64):
    values = 1 + jnp.arange(30.0).reshape(SHAPE) * 1e-12
    np.testing.assert_array_equal(TOP_K(values, 3).ravel(), np.arange(30) >= 27)


def test_the_count_of_a_fraction():
    assert selected_count(160, 0.1) == 16
    assert selected_count(160, 0.999) == 160
    assert selected_count(3200, 0.999) == 3197
    assert selected_count(4, 0.1) == 1
