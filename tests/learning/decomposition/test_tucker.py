"""Tucker contractions against dense sums, written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.decomposition.tucker import tucker_layout

SHAPES = {"convolution": (3, 2, 4), "kernel": (5, 4), "bias": (6,), "scalar": ()}
RANKS = {"convolution": [2, 1, 3], "kernel": [2, 3], "bias": 1, "scalar": [1]}
COUNT = 7


def case(ranks=None, *, seed=0):
    params = {name: jnp.zeros(shape) for name, shape in SHAPES.items()}
    layout = tucker_layout(params, RANKS if ranks is None else ranks)
    draws = np.random.default_rng(seed)
    rows = jnp.asarray(draws.normal(size=(COUNT, layout.num_factors)))
    gradients = [jnp.asarray(draws.normal(size=(9, *shape))) for shape in layout.shapes]
    return layout, rows, gradients


def summed(layout, rows):
    """Every entry as an explicit sum over ranks, in NumPy."""
    dense = []
    for core, *modes in layout.cut(rows):
        letters, ranks = "ijk"[: len(modes)], "abc"[: len(modes)]
        factors = ",".join(f"n{i}{a}" for i, a in zip(letters, ranks, strict=True))
        dense.append(np.einsum(f"n{ranks},{factors}->n{letters}", core, *modes))
    return dense


@pytest.mark.parametrize("ranks", [RANKS, 1])
def test_products_are_those_of_the_dense_tensors(x64, ranks):
    layout, rows, gradients = case(ranks)
    dense = summed(layout, rows)
    assert layout.num_parameters == 3 * 2 * 4 + 5 * 4 + 6 + 1
    flat = np.concatenate([tensor.reshape(COUNT, -1) for tensor in dense], axis=1)
    samples = np.concatenate([leaf.reshape(9, -1) for leaf in gradients], axis=1)
    norms = [np.linalg.norm(tensor.reshape(COUNT, -1), axis=1) for tensor in dense]

    @jax.jit
    def measured(rows, gradients):
        return (
            layout.dense(rows),
            layout.matrix(rows),
            layout.products(rows, gradients),
            layout.gram(rows),
            layout.tensor_norms(rows),
            # All tensors are divided alike by factors divided to these powers.
            layout.matrix(rows * 3.0 ** -layout.powers()),
            layout.tree(rows),
        )

    found = measured(rows, gradients)
    for one, expected in zip(found[0], dense, strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-12)
    expected = (flat, samples @ flat.T, flat @ flat.T, norms, flat / 3)
    for one, other in zip(found[1:], expected, strict=False):
        np.testing.assert_allclose(one, other, atol=1e-11)
    assert jax.tree.map(jnp.shape, found[-1]) == {
        name: (COUNT, *(shape or (1,))) for name, shape in SHAPES.items()
    }


def test_ranks_are_cut_off_and_checked():
    layout, *_ = case(4)
    by_leaf = dict(zip(sorted(SHAPES), layout.ranks, strict=True))
    assert by_leaf == {
        "convolution": (3, 2, 4),
        "kernel": (4, 4),
        "bias": (1,),
        "scalar": (1,),
    }
    params = {"kernel": jnp.zeros((5, 4))}
    with pytest.raises(ValueError, match="one rank per mode of"):
        tucker_layout(params, {"kernel": [2]})
    with pytest.raises(ValueError, match="`ranks` must be at least 1"):
        tucker_layout(params, 0)
    with pytest.raises(ValueError, match="must have a tensor"):
        tucker_layout({})
