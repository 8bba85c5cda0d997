"""Small networks by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import tree
from fracjax.learning.plasticity.toy_networks import ToyNetwork

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(KEY, (6, 5, 4))


def test_a_perceptron_by_hand():
    network = ToyNetwork((5, 4), (7, 3), 2)
    params = network.init(KEY)
    assert tree.size(params) == 20 * 7 + 7 + 7 * 3 + 3 + 3 * 2 + 2
    assert network.hidden_names == ("layer_0", "layer_1")
    hidden = np.asarray(IMAGES).reshape(6, 20)
    for name in network.hidden_names:
        layer = params[name]
        fan_in = hidden.shape[1]
        assert np.abs(layer["kernel"]).max() <= fan_in**-0.5
        assert np.abs(layer["kernel"]).max() > 0.8 * fan_in**-0.5
        hidden = np.maximum(hidden @ layer["kernel"] + layer["bias"], 0)
        np.testing.assert_allclose(network.activations(params, IMAGES)[name], hidden, atol=1e-5)
    expected = hidden @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(network.apply(params, IMAGES), expected, atol=1e-5)


@pytest.mark.slow
def test_convolutions_are_those_of_lax():
    network = ToyNetwork((5, 4), (3,), 2, channels=(4, 6))
    params = network.init(KEY)
    assert params["layer_2"]["kernel"].shape == (3 * 2 * 6, 3)
    hidden = IMAGES[..., None]
    for index in range(2):
        layer = params[f"layer_{index}"]
        stride = (index + 1, index + 1)
        hidden = jax.lax.conv_general_dilated(
            hidden,
            layer["kernel"],
            stride,
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        hidden = jax.nn.relu(hidden + layer["bias"])
        seen = network.activations(params, IMAGES)[f"layer_{index}"]
        np.testing.assert_allclose(seen, hidden, atol=1e-5)


@pytest.mark.parametrize("channels", [(), pytest.param((4,), marks=pytest.mark.slow)])
def test_layer_norm_ignores_the_scale_of_a_layer(channels):
    network = ToyNetwork((5, 4), (16, 16), 2, channels=channels, layer_norm=True)
    params = network.init(KEY)
    scaled = {**params, "layer_0": jax.tree.map(lambda leaf: 50 * leaf, params["layer_0"])}
    scaled["layer_0"]["scale"] = params["layer_0"]["scale"]
    scaled["layer_0"]["offset"] = params["layer_0"]["offset"]
    outputs = network.apply(params, IMAGES)
    np.testing.assert_allclose(network.apply(scaled, IMAGES), outputs, atol=2e-3)
    assert jnp.std(outputs) > 0.02
