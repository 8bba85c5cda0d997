"""The convolutional network is one, and learns the digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.decomposition_models.digit_convolutions import (
    DigitNetwork,
    _convolve,
    train_digits,
)
from fracjax.learning.digits import load_digits


@pytest.mark.parametrize("stride", [1, 2])
def test_sums_of_shifted_copies_are_convolutions(stride):
    draws = np.random.default_rng(0)
    units, kernel = draws.normal(size=(8, 8, 3)), draws.normal(size=(3, 3, 3, 5))
    layer = {"kernel": jnp.asarray(kernel), "bias": jnp.arange(5.0)}

    @jax.jit
    def both(layer, units):
        expected = jax.lax.conv_general_dilated(
            units[None],
            layer["kernel"],
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )[0]
        return _convolve(layer, units, stride), expected + layer["bias"]

    found, expected = both(layer, jnp.asarray(units))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_the_block_is_residual():
    network, draws = DigitNetwork(channels=4), np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.asarray(draws.normal(size=leaf.shape)), shapes)

    @jax.jit
    def all_of_it(params, image):
        without = {**params, "block": jax.tree.map(jnp.zeros_like, params["block"])}
        stem = jax.nn.relu(_convolve(params["stem"], image[:, :, None], 2))
        return network.apply(params, image), network.apply(without, image), stem

    image = jnp.asarray(draws.uniform(size=(8, 8)))
    logits, without, stem = map(np.asarray, all_of_it(params, image))
    quarters = np.stack(
        [stem[r : r + 2, c : c + 2].mean(axis=(0, 1)) for r in (0, 2) for c in (0, 2)]
    ).ravel()
    layer = jax.tree.map(np.asarray, params["logits"])
    expected = quarters @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(without, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(logits - expected).max() > 1e-2


@pytest.mark.slow
def test_digits_are_learnt():
    """Chance is a tenth; a linear classifier names about .96 of the test images."""
    digits = load_digits()
    network = DigitNetwork()
    found = jax.jit(lambda key: train_digits(network, digits.images, digits.labels, key))(
        jax.random.key(0)
    )
    outputs = jax.vmap(network.apply, in_axes=(None, 0))(
        found.params, jnp.asarray(digits.test_images)
    )
    assert found.accuracy > 0.97
    assert (jnp.argmax(outputs, axis=1) == digits.test_labels).mean() > 0.93


def test_too_few_images_are_named():
    with pytest.raises(ValueError, match="`images`"):
        train_digits(DigitNetwork(), jnp.zeros((3, 8, 8)), jnp.zeros(3, int), jax.random.key(0))
