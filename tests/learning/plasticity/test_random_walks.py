"""Walks have the steps, or the displacement, that they were matched to."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import tree
from fracjax.learning.plasticity.random_walks import displacement_matched, step_matched_walk

KEY = jax.random.key(0)
START = {"a": jnp.ones((40, 50)), "b": jnp.zeros(500)}


def test_a_walk_of_matched_steps_spreads_as_they_add_up():
    """Squared distance Σ s² (1 ± √(2/2500)); increments orthogonal; 100 steps at once or apart."""
    squares = jnp.asarray([4.0, 9.0, 1.0])
    points = jax.jit(step_matched_walk)(START, squares, KEY)
    assert points["a"].shape == (3, 40, 50)
    places = [START, *(jax.tree.map(lambda leaf, i=i: leaf[i], points) for i in range(3))]
    moves = [jax.tree.map(jnp.subtract, b, a) for a, b in itertools.pairwise(places)]
    lengths = np.array([tree.dot(move, move) for move in moves])
    np.testing.assert_allclose(lengths, squares, rtol=5 * np.sqrt(2 / 2500))
    cosine = tree.dot(moves[0], moves[1]) / np.sqrt(lengths[0] * lengths[1])
    assert abs(cosine) < 5 / np.sqrt(2500)
    # Exact in law: a sum of 100 steps of length .2 gets as far as one call says.
    small = step_matched_walk(START, jnp.full(100, 0.04), KEY)
    end = jax.tree.map(lambda leaf, start: leaf[-1] - start, small, START)
    np.testing.assert_allclose(tree.dot(end, end), 4, rtol=5 * np.sqrt(2 / 2500))


@pytest.mark.parametrize("matching", ["network", "leaf"])
def test_a_matched_displacement_is_exact(matching):
    like = {"a": START["a"] + 0.1, "b": START["b"] - 0.5}
    found = displacement_matched(START, like, KEY, matching=matching)
    moved = jax.tree.map(jnp.subtract, found, START)
    wanted = jax.tree.map(jnp.subtract, like, START)
    np.testing.assert_allclose(tree.norm(moved), tree.norm(wanted), rtol=1e-5)
    share = tree.norm(moved["b"]) / tree.norm(moved)
    expected = {"leaf": tree.norm(wanted["b"]) / tree.norm(wanted), "network": 0.2**0.5}[matching]
    np.testing.assert_allclose(share, expected, rtol=1e-5 if matching == "leaf" else 0.2)


def test_a_bad_matching_is_named():
    with pytest.raises(Exception, match="matching"):
        displacement_matched(START, START, KEY, matching="layer")
