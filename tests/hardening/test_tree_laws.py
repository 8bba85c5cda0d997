"""Trees are vector spaces of any shapes; directions have the lengths and angles they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hardening.damage import fuzz
from hypothesis import given
from hypothesis import strategies as st

from fracjax import directions, tree

SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
KINDS = st.sampled_from((np.float16, np.float32, np.float64))
SEEDS = st.integers(0, 2**32 - 1)
# Exact in every dtype here, and so are sums of few products of them.
SMALL = st.integers(-8, 8).map(float)


@st.composite
def trees(draw, count=1, *, shapes=SHAPES, kinds=KINDS, least=0):
    """Trees of one structure and dtypes, of small integers."""
    leaves = draw(st.lists(st.tuples(shapes, kinds), min_size=1, max_size=4))
    if sum(int(np.prod(shape)) for shape, _ in leaves) < least:
        leaves.append(((least,), np.float32))
    places = draw(st.permutations(range(len(leaves))))
    seed = draw(SEEDS)
    rng = np.random.default_rng(seed)

    def one():
        arrays = [rng.integers(-8, 9, shape).astype(kind) for shape, kind in leaves]
        arrays = [jnp.asarray(array) for array in arrays]
        return {"a": [arrays[i] for i in places[:2]], "b": {str(i): arrays[i] for i in places[2:]}}

    return tuple(one() for _ in range(count))


def flat(*some):
    return [np.concatenate([np.ravel(x).astype(float) for x in jax.tree.leaves(t)]) for t in some]


def kinds_of(some):
    return [(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(some)]


@pytest.mark.usefixtures("x64")
@fuzz(8)
@given(trees(3), SMALL, SMALL)
def test_trees_are_a_vector_space(three, s, t):
    u, v, w = three
    x, y, z = flat(u, v, w)
    assert tree.size(u) == len(x)
    for found, exact in (
        (tree.add_scaled(u, s, v), x + s * y),
        (tree.add_scaled(tree.add_scaled(u, 1.0, v), 1.0, w), x + y + z),
        (tree.add_scaled(v, 1.0, u), y + x),
        (tree.scale(s, tree.scale(t, u)), s * t * x),
        (tree.scale(s + t, u), (s + t) * x),
        (tree.add_scaled(tree.scale(s, u), t, u), (s + t) * x),
        (tree.add_scaled(u, -1.0, u), 0 * x),
        (tree.scale(1.0, u), x),
    ):
        np.testing.assert_array_equal(flat(found)[0], exact)
        assert kinds_of(found) == kinds_of(u)
    assert float(tree.dot(u, v)) == x @ y == float(tree.dot(v, u))
    assert float(tree.dot(tree.add_scaled(u, 1.0, w), v)) == x @ y + z @ y
    assert float(tree.norm(u)) == pytest.approx(np.sqrt(x @ x), rel=1e-3)


@pytest.mark.usefixtures("x64")
@fuzz(8)
@given(trees(1), st.sampled_from(("float16", "float32", "float64")))
def test_casting_keeps_small_integers_structure_and_what_is_no_float(one, kind):
    both = {"x": one[0], "n": jnp.arange(3)}
    cast = tree.astype(both, kind)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(cast["x"])} == {kind}
    assert cast["n"].dtype == both["n"].dtype
    assert jax.tree.structure(cast) == jax.tree.structure(both)
    np.testing.assert_array_equal(flat(cast)[0], flat(both)[0])


@pytest.mark.usefixtures("x64")
@fuzz(5)
@given(trees(1, least=1), SEEDS)
def test_noise_has_the_shapes_and_follows_the_key(one, seed):
    drawn = tree.random_normal(jax.random.key(seed), one[0])
    assert kinds_of(drawn) == kinds_of(one[0])
    again = tree.random_normal(jax.random.key(seed), one[0])
    np.testing.assert_array_equal(*flat(drawn, again))
    other = tree.random_normal(jax.random.key(seed + 1), one[0])
    assert (flat(drawn)[0] != flat(other)[0]).any()
    assert np.isfinite(flat(drawn)[0]).all()


# --- directions -------------------------------------------------------------------------------


@st.composite
def parameters(draw):
    """One of two structures, which are compiled once."""
    shapes = draw(st.sampled_from((((2, 3), (3,)), ((3, 1, 2), (4,), (2, 2)))))
    rng = np.random.default_rng(draw(SEEDS))
    return {str(i): jnp.float32(rng.integers(-8, 9, shape)) for i, shape in enumerate(shapes)}


PARAMS = parameters()


def rows(stacked):
    parts = [np.asarray(x, float).reshape(len(x), -1) for x in jax.tree.leaves(stacked)]
    return np.concatenate(parts, axis=1)


@fuzz(6)
@given(PARAMS, SEEDS, st.sampled_from((1, 3)))
def test_orthonormal_directions(params, seed, count):
    found = rows(directions.draw("orthonormal", jax.random.key(seed), params, count))
    size = found.shape[1]
    np.testing.assert_allclose(found @ found.T / size, np.eye(count), atol=2e-6)
    more = rows(directions.draw("orthonormal", jax.random.key(seed), params, 4))
    np.testing.assert_allclose(more[:count], found, atol=2e-5 * np.abs(found).max())


@fuzz(6)
@given(PARAMS, SEEDS, st.sampled_from((0.125, 0.5, 2.0, 1024.0)), st.integers(0, 2))
def test_filter_normalised_directions_scale_with_each_filter(params, seed, factor, which):
    """Scaling one leaf's parameters scales that part of the direction alike, and no other."""
    leaves, structure = jax.tree.flatten(params)
    which %= len(leaves)
    changed = [factor * leaf if i == which else leaf for i, leaf in enumerate(leaves)]
    key = jax.random.key(seed)
    before = directions.filter_normalized(key, params)
    after = directions.filter_normalized(key, jax.tree.unflatten(structure, changed))
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    for index, (old, new) in enumerate(pairs):
        wanted = factor * old if index == which else old
        np.testing.assert_allclose(new, wanted, rtol=1e-6)
    for drawn, leaf in zip(jax.tree.leaves(before), leaves, strict=True):
        axes = tuple(range(leaf.ndim - 1)) if leaf.ndim > 1 else None
        lengths = [np.sqrt(np.sum(np.square(x, dtype=float), axis=axes)) for x in (drawn, leaf)]
        np.testing.assert_allclose(*lengths, rtol=1e-5)


@fuzz(6)
@given(PARAMS, SEEDS, st.sampled_from(("gaussian", "filter")), st.sampled_from((1, 3)))
def test_a_direction_is_made_by_its_own_key(params, seed, kind, count):
    key = jax.random.key(seed)
    several = directions.draw(kind, key, params, count)
    make = {"gaussian": directions.gaussian, "filter": directions.filter_normalized}[kind]
    alone = make(jax.random.fold_in(key, count - 1), params)
    np.testing.assert_allclose(rows(several)[-1], flat(alone)[0], rtol=1e-6, atol=1e-7)


@fuzz(6)
@given(PARAMS, SEEDS, st.sampled_from((1e-30, 1e-6, 1.0, 1e20)))
def test_normalising_forgets_the_length(params, seed, length):
    drawn = directions.draw("gaussian", jax.random.key(seed), params, 2)
    scaled = jax.tree.map(lambda leaf: jnp.float32(length) * leaf, drawn)
    once = rows(directions.normalize(scaled))
    np.testing.assert_allclose(np.mean(once**2, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(once, rows(directions.normalize(drawn)), rtol=2e-4, atol=1e-5)
