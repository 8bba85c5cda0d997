"""Null walks: what they keep, how they are drawn, and how often a walk departs from its own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.policy_paths.analysis import policy_path
from fracjax.learning.policy_paths.path_gram import path_gram
from fracjax.learning.policy_paths.temporal_svd import temporal_svd
from fracjax.learning.policy_paths.walk_nulls import draw_walk, walk_null

KEY = jax.random.key(0)


def walks(key, number, steps, size, drift=0.0, radius=0.0):
    made = jax.random.normal(key, (number, steps, size)) / np.sqrt(size) + drift / np.sqrt(size)
    start = jnp.full((1, size), radius / np.sqrt(size))
    moved = jnp.concatenate([jnp.zeros((number, 1, size)), jnp.cumsum(made, axis=1)], axis=1)
    return start + moved


def matrix(path):
    return np.asarray(path_gram(path).parts, float).sum(axis=0)


@pytest.mark.parametrize("size", [20, 4000])
def test_nulls_keep_what_they_say(x64, size):
    """Mean step lengths, start, end and angle to the start; fewer and more parameters than steps.

    Means over 400 draws: squared steps have a relative standard error of √(2/(400·size)) each.
    """
    path = walks(KEY, 1, 30, size, drift=0.3, radius=5.0)[0]
    gram = jnp.asarray(matrix(path))
    keys = jax.random.split(KEY, 400)

    def drawn(walk):
        draw = functools.partial(draw_walk, walk=walk, num_parameters=size)
        return np.asarray(jax.jit(jax.vmap(draw, (None, 0)))(gram, keys))

    def squares(one):
        moved = one.copy()
        moved[..., 0, :] = moved[..., :, 0] = 0
        return np.diagonal(np.diff(np.diff(moved, axis=-1), axis=-2), axis1=-2, axis2=-1)

    own = squares(np.asarray(gram))
    tolerance = 5 * np.sqrt(2 / (400 * size))
    free, drifting, shuffled = (drawn(walk) for walk in ("free", "drifting", "shuffled"))
    for found in (free, drifting, shuffled):
        np.testing.assert_allclose(found[:, 0, 0], gram[0, 0])
    np.testing.assert_allclose(squares(free).mean(axis=0), own, rtol=tolerance)
    ends = drifting[:, [-1, 0], [-1, -1]]
    np.testing.assert_allclose(ends, np.tile(gram[jnp.array([-1, 0]), -1], (400, 1)), rtol=1e-6)
    # The drift of each step is in proportion to its length: all lengths hold to O(1/steps).
    np.testing.assert_allclose(squares(drifting).mean(axis=0), own, rtol=tolerance + 0.02)
    np.testing.assert_allclose(np.sort(squares(shuffled)[0]), np.sort(own))
    np.testing.assert_allclose(shuffled[:, -1, -1], gram[-1, -1])
    np.testing.assert_allclose(shuffled[:, 0, -1], gram[0, -1])
    # In a free walk displacements are no longer than the steps make them.
    np.testing.assert_allclose(free[:, -1, -1].mean(), own.sum(), rtol=8 / np.sqrt(400 * size))


@pytest.mark.parametrize(("walk", "drift"), [("free", 0.0), ("drifting", 0.2), ("shuffled", 0.2)])
def test_a_walk_departs_from_its_null_as_often_as_stated(walk, drift):
    """200 walks: 5 % outside of pointwise bands, so at most 10 % (3.2 standard errors) each.

    A number that is discrete, like D(β), falls outside less often.
    """
    paths = walks(KEY, 200, 24, 300, drift=drift, radius=3.0)
    keys = jax.random.split(jax.random.key(1), 200)

    def outside(path, key):
        gram = path_gram(path)
        found = temporal_svd(gram, center="mean", num_directions=4)
        null = walk_null(gram, key, walk=walk, center="mean", num_directions=4)
        return {
            name: getattr(null, name).departs(getattr(found, name))
            for name in ("information", "dimensionality", "detour", "final")
        }

    departs = jax.jit(lambda a, b: jax.lax.map(lambda pair: outside(*pair), (a, b)))(paths, keys)
    share = {name: np.asarray(one).mean(axis=0) for name, one in departs.items()}
    for name, one in share.items():
        assert one.max() <= 0.10, name
    assert share["detour"].mean() > 0.02
    assert share["information"][:10].mean() > 0.02


def test_an_ordered_path_departs():
    """Steps that keep their direction for a while need fewer small directions than shuffled."""
    noise = jax.random.normal(KEY, (67, 300))
    steps = sum(noise[lag : lag + 60] for lag in range(8))
    path = jnp.cumsum(steps, axis=0)
    found = policy_path(path, KEY, walk="shuffled", stride=10, num_draws=19)["network"]
    assert (found.svd.dimensionality < found.null.dimensionality.low)[4:].all()
    assert found.null.level == pytest.approx(0.9)
    assert found.stride == found.svd.stride == found.changes.stride == 10


@pytest.mark.slow
def test_layers_and_seeds_are_batched():
    tree = {
        "first": {"kernel": walks(KEY, 2, 15, 40), "bias": walks(jax.random.key(1), 2, 15, 4)},
        "last": {"kernel": walks(jax.random.key(2), 2, 15, 9)},
    }
    keys = jax.random.split(KEY, 2)
    analyse = functools.partial(policy_path, num_directions=3, num_draws=3, walk="shuffled")
    assert list(jax.eval_shape(jax.vmap(analyse), tree, keys)) == ["first", "last", "network"]
    analyse = jax.jit(functools.partial(analyse, whole=False))
    batch = jax.vmap(analyse)(tree, keys)
    one = analyse(jax.tree.map(lambda leaf: leaf[1], tree), keys[1])
    for mine, many in zip(jax.tree.leaves(one), jax.tree.leaves(batch), strict=True):
        np.testing.assert_allclose(many[1], mine, rtol=2e-4, atol=1e-5)


def test_nulls_of_broken_paths_and_settings():
    path = walks(KEY, 1, 6, 5)[0]
    null = walk_null(path.at[2, 2].set(jnp.nan), KEY, num_draws=3)
    assert np.isnan(null.dimensionality.low).all()
    with pytest.raises(ValueError, match="`num_draws` must be at least 3"):
        walk_null(path, KEY, num_draws=2)
    with pytest.raises(ValueError, match="Gram matrix in float64"):
        walk_null(path_gram(path, precision="float32"), KEY)
