"""Random projections keep distances, within the error that they state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.paths.layouts import layout_of
from fracjax.learning.paths.projections import Projection, project

KEYS = 400
SIZE = 3000


def vectors():
    rng = np.random.default_rng(0)
    rows = np.zeros((4, SIZE), np.float32)
    rows[0] = rng.normal(size=SIZE)
    rows[1, 17], rows[1, 2999] = 1.0, -1.0
    rows[2] = np.sin(np.arange(SIZE) / 400)
    rows[3, ::64] = 1.0
    return rows


@pytest.mark.parametrize("dimensions", [64, 256])
def test_squared_norms_are_unbiased_with_the_stated_error(dimensions):
    """Dense, two spikes, smooth and comb; the bounds are 4.5 standard errors away.

    The standard deviation of a sample of 400 has a relative standard error of 3.5 % for a normal
    law, some more for chi squared: its upper bound is 20 % off. Two spikes fall on each other in
    half of the rows and are easier: ±2 or 0.
    """
    keys = jax.random.split(jax.random.key(1), KEYS)
    rows = vectors()

    def ratio(key):
        found = jax.vmap(lambda row: project(row, key, dimensions=dimensions))(rows)
        return jnp.sum(found**2, axis=1)

    ratios = np.asarray(jax.jit(jax.vmap(ratio))(keys)) / np.sum(rows**2, axis=1)
    stated = Projection(dimensions).error
    np.testing.assert_array_less(abs(ratios.mean(0) - 1), 4.5 * stated / KEYS**0.5)
    np.testing.assert_array_less(ratios.std(0), 1.2 * stated)
    assert ratios.std(0)[0] > 0.8 * stated


def test_one_map_for_all_snapshots_keeps_the_distances_between_them():
    """A walk of 60 snapshots: all 1770 pairs, of which many share steps, within 5 errors."""
    walk = np.random.default_rng(2).normal(size=(60, 20_000)).cumsum(0).astype(np.float32)
    projection = Projection(512, seed=3)
    kept = np.asarray(jax.jit(jax.vmap(lambda row: projection.leaf(row, 0)))(walk))
    assert kept.shape == (60, 512)
    left, right = np.triu_indices(60, 1)
    true = np.sum((walk[left] - walk[right]) ** 2, axis=1)
    found = np.sum((kept[left] - kept[right]) ** 2, axis=1)
    assert np.max(abs(found / true - 1)) < 5 * projection.error
    # Linear, and another map for another leaf or another seed.
    between, other_leaf = jax.jit(
        lambda first, second: (projection.leaf(second - first, 0), projection.leaf(first, 1))
    )(walk[0], walk[1])
    np.testing.assert_allclose(between, kept[1] - kept[0], atol=2e-4 * abs(kept[1]).max())
    other_seed = jax.jit(lambda row: Projection(512, seed=4).leaf(row, 0))(walk[0])
    for other in (other_leaf, other_seed):
        overlap = np.dot(other, kept[0]) / np.linalg.norm(other) / np.linalg.norm(kept[0])
        assert abs(overlap) < 5 / 512**0.5


def test_small_leaves_stay_and_layers_stay_apart(x64):
    params = {"a": {"w": jnp.arange(300.0), "b": jnp.arange(4.0)}, "c": jnp.ones((20, 30))}
    layout = layout_of(params, projection=Projection(32))
    assert layout.layers == ("a", "c")
    assert [(leaf.name, leaf.start, leaf.stop, leaf.projected) for leaf in layout.leaves] == [
        ("a/b", 0, 4, False),
        ("a/w", 4, 36, True),
        ("c", 36, 68, True),
    ]
    row, second = jax.jit(
        lambda tree: (layout.row(tree, "float64"), Projection(32).leaf(tree["a"]["w"], 1))
    )(params)
    assert row.dtype == jnp.float64
    np.testing.assert_array_equal(row[:4], params["a"]["b"])
    np.testing.assert_allclose(row[4:36], second, rtol=1e-12)
    with pytest.raises(ValueError, match="random projections"):
        layout.tree(row)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="`dimensions`"):
        Projection(1)
    with pytest.raises(ValueError, match="leading axis of 3 seeds"):
        layout_of({"w": jnp.ones((2, 3))}, num_seeds=3)
    with pytest.raises(ValueError, match="must be real"):
        layout_of({"w": jnp.ones(2, complex)})
    with pytest.raises(ValueError, match="empty"):
        layout_of({})
