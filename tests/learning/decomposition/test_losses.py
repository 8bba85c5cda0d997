"""The share left unexplained: zero for an oracle, one for nothing, alike on both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.decomposition.losses import (
    chosen_contraction,
    encode,
    reconstruction_loss,
)
from fracjax.learning.decomposition.settings import FitSettings

SHAPES = {"kernel": (4, 3), "bias": (5,)}
WAYS = ("dense", "factored")


def axes(layout, places):
    """Directions along single coordinates of the kernel: rank 1, orthonormal."""
    rows = np.zeros((len(places), layout.num_factors))
    cut = {"bias": slice(0, 6), "core": slice(6, 7), "left": slice(7, 11), "right": slice(11, 14)}
    for row, (i, j) in zip(rows, places, strict=True):
        row[cut["core"]] = 1
        row[cut["left"]][i] = 1
        row[cut["right"]][j] = 1
    return jnp.asarray(rows)


@pytest.mark.parametrize(("way", "ratio"), [("dense", "squared"), ("factored", "norm")])
def test_an_orthonormal_oracle_explains_everything(x64, way, ratio):
    params = {name: jnp.zeros(shape) for name, shape in SHAPES.items()}
    places = [(0, 0), (1, 2), (3, 1)]
    settings = FitSettings(num_subnetworks=3, contraction=way, ratio=ratio)
    layout = settings.layout(params)
    rows = axes(layout, places)
    used = np.array([0, 1, 2, 1, 0, 2, 2, 1])  # each sample moves along one of them
    sizes = np.random.default_rng(0).normal(size=8)
    gradients = {"kernel": np.zeros((8, 4, 3)), "bias": np.zeros((8, 5))}
    for sample, place in enumerate(used):
        gradients["kernel"][(sample, *places[place])] = sizes[sample]
    gradients = jax.tree.map(jnp.asarray, gradients)
    factors = jnp.stack([rows, rows])

    @jax.jit
    def measured(gradients, count):
        return reconstruction_loss(layout, factors, gradients, count, settings)

    loss, frequency = measured(gradients, 8)
    assert loss < 1e-7
    np.testing.assert_allclose(frequency, np.bincount(used) / 8)
    # With three of eight entries, what is left are the five smallest.
    loss, _ = measured(gradients, 3)
    squares = np.sort(sizes**2)
    expected = squares[:5].sum() / squares.sum()
    np.testing.assert_allclose(loss, expected if ratio == "squared" else np.sqrt(expected))
    # A gradient that no direction sees is left whole.
    unseen = {"kernel": jnp.zeros((8, 4, 3)), "bias": jnp.ones((8, 5))}
    np.testing.assert_allclose(measured(unseen, 8)[0], 1, rtol=1e-9)


def test_the_two_ways_agree_with_their_slopes(x64):
    params = {"kernel": jnp.zeros((4, 3)), "tensor": jnp.zeros((2, 3, 2)), "bias": jnp.zeros(5)}
    draws = np.random.default_rng(1)
    gradients = jax.tree.map(lambda p: jnp.asarray(draws.normal(size=(6, *p.shape))), params)
    ranks = {"kernel": [2, 2], "tensor": 1, "bias": 1}
    found, codes = {}, {}
    for way in WAYS:
        settings = FitSettings(num_subnetworks=4, ranks=ranks, contraction=way)
        layout = settings.layout(params)
        draw = np.random.default_rng(2).normal(size=(2, 4, layout.num_factors))
        factors = jnp.asarray(draw)

        @jax.jit
        def measured(factors, layout=layout, settings=settings, way=way):
            def loss(factors):
                return reconstruction_loss(layout, factors, gradients, 7, settings)

            codes = encode(layout, factors[0], gradients, contraction=way)
            return jax.value_and_grad(loss, has_aux=True)(factors), codes

        found[way], codes[way] = measured(factors)
    np.testing.assert_allclose(codes["dense"], codes["factored"], atol=1e-12)
    (dense, _), dense_slope = found["dense"]
    (factored, _), factored_slope = found["factored"]
    np.testing.assert_allclose(dense, factored, rtol=1e-12)
    np.testing.assert_allclose(dense_slope, factored_slope, atol=1e-10 * abs(dense_slope).max())


@pytest.mark.parametrize(
    ("width", "ranks", "way"),
    [(20, 1, "dense"), (100, 1, "factored"), (100, 3, "dense"), (4096, 3, "factored")],
)
def test_large_directions_are_not_multiplied_out(width, ranks, way):
    settings = FitSettings(num_subnetworks=100, ranks=ranks)
    layout = settings.layout({"kernel": jax.ShapeDtypeStruct((width, width), jnp.float32)})
    assert chosen_contraction(layout, settings) == way


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("fraction", 0.0), ("decay", 1.5), ("learning_rate", -1.0), ("batch_size", 1)],
)
def test_settings_are_checked(name, wrong):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        FitSettings(num_subnetworks=3, **{name: wrong})
