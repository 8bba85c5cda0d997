"""Activations of Flax modules: after the function, by layer, without inputs and outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from fracjax.learning.interventions.layers import sequential_layers
from fracjax.learning.interventions.redo import recycle_dormant
from fracjax.rl.activations import capture_activations, policy_activations
from fracjax.rl.feature_networks import FeatureNetwork
from fracjax.rl.networks import Normalizer, PolicyNetwork

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def case():
    network = FeatureNetwork(3, hidden=(6,), channels=(4,))
    images = jax.random.normal(KEY, (5, 4, 4, 1))
    variables = jax.jit(network.init)(jax.random.key(1), images)
    bias = variables["params"]["hidden_0"]["bias"].at[2].set(-50.0)
    variables["params"]["hidden_0"]["bias"] = bias
    return network, variables, images


class Shared(linen.Module):
    """An encoder that is called twice and sows what it makes."""

    @linen.compact
    def __call__(self, inputs):
        layer = linen.Dense(4, name="shared")
        first = jnp.tanh(layer(inputs))
        second = jnp.tanh(layer(first))
        self.sow("intermediates", "features", second)
        return linen.Dense(1, name="head")(second)


def test_three_ways_to_see_the_same_units_and_recycling_them(case):
    """The module's own report, outputs through ReLU, inputs of the next layer; no head.

    Recycling dead units of a Flax network leaves its outputs as they are, to the bit.
    """
    network, variables, images = case

    @jax.jit
    def see(variables, fresh):
        captured = capture_activations(network, variables, images, activation=jax.nn.relu)
        read = capture_activations(network, variables, images, source="inputs")
        outputs, own = network.apply(variables, images, features=True)
        layers = sequential_layers(variables)
        found, _, chosen = recycle_dormant(variables, fresh, captured, layers, tau=0.0)
        return captured, read, own, outputs, network.apply(found, images), chosen

    fresh = jax.tree.map(jnp.ones_like, variables)
    captured, read, own, outputs, after, chosen = see(variables, fresh)
    assert set(captured) == {"conv_0", "hidden_0"}
    assert set(read) == {"hidden_0", "output"}
    jax.tree.map(np.testing.assert_array_equal, captured, own)
    np.testing.assert_array_equal(read["output"], own["hidden_0"])
    np.testing.assert_array_equal(read["hidden_0"], own["conv_0"].reshape(5, -1))
    np.testing.assert_array_equal(chosen["hidden_0"], np.all(own["hidden_0"] == 0, axis=0))
    assert chosen["hidden_0"][2]
    np.testing.assert_array_equal(outputs, after)


def test_shared_layers_and_sown_features():
    inputs = jnp.ones((2, 4))
    module = Shared()
    variables = module.init(KEY, inputs)
    called = capture_activations(
        module, variables, inputs, activation={"shared": jnp.tanh, "shared@1": jnp.tanh}
    )
    assert list(called) == ["shared", "shared@1"]
    sown = capture_activations(module, variables, inputs, source="sown")
    assert list(sown) == ["features"]
    np.testing.assert_array_equal(sown["features"], called["shared@1"])
    read = capture_activations(module, variables, inputs, source="inputs")
    assert list(read) == ["shared@1", "head"]
    np.testing.assert_array_equal(read["shared@1"], called["shared"])


@pytest.mark.slow
def test_norms_of_the_feature_network():
    """Spectral norm brings the first layer's norm to 1; layer norm centres before the function."""
    inputs = jax.random.normal(KEY, (64, 5))
    network = FeatureNetwork(2, hidden=(8, 8), layer_norm=True, spectral_norm=True)
    variables = jax.jit(network.init)(KEY, inputs)
    step = jax.jit(
        lambda v: network.apply(v, inputs, update_stats=True, mutable=["batch_stats"])[1]
    )
    for _ in range(60):
        variables = {**variables, **step(variables)}
    (sigma,) = (x for x in jax.tree.leaves(variables["batch_stats"]) if x.ndim == 0)
    kernel = variables["params"]["hidden_0"]["kernel"]
    np.testing.assert_allclose(sigma, np.linalg.norm(kernel, 2), rtol=1e-4)
    _, hidden = network.apply(variables, inputs, features=True)
    # ReLU of eight centred numbers of variance 1: the squares of both signs add up to 8.
    assert 0 < float(jnp.square(hidden["hidden_1"]).sum(axis=1).max()) < 8
    assert float(jnp.square(hidden["hidden_1"]).sum(axis=1).mean()) > 2


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "activation"),
        ({"source": "sown", "activation": jax.nn.relu}, "activation"),
        ({"source": "sown"}, "module"),
        ({"activation": {"conv_0": jax.nn.relu}}, "activation"),
        ({"source": "inputs", "layers": ("conv_0",)}, "layers"),
    ],
)
def test_bad_settings_are_named(case, settings, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        capture_activations(*case, **settings)


def test_hidden_units_of_a_policy_are_those_that_it_acts_by(x64):
    """The last layer on them gives the policy's outputs; all is in the parameters' dtype."""
    network = PolicyNetwork(3, 2, (5, 4), "tanh", observation_clip=1.5)
    params = network.init(KEY)
    normalizer = Normalizer(jnp.array([0.1, -0.2, 0.3]), jnp.array([0.5, 0.1, 2.0]))
    assert normalizer.mean.dtype == jnp.float64
    observations = jax.random.normal(jax.random.key(2), (7, 3), jnp.float32)
    assert (jnp.abs((observations - normalizer.mean) / normalizer.std) > 1.5).any()
    hidden = policy_activations(network, params, normalizer, observations)
    assert {name: value.shape for name, value in hidden.items()} == {
        "hidden_0": (7, 5),
        "hidden_1": (7, 4),
    }
    assert {value.dtype for value in hidden.values()} == {jnp.dtype("float32")}
    head = params["params"]["hidden_2"]
    outputs = hidden["hidden_1"] @ head["kernel"] + head["bias"]
    expected = jax.vmap(lambda one: network.logits(params, normalizer, one))(observations)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
