"""Runs of descent: layers against JAX's own, the update rule, and tails of gradient noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.weight_diffusion import descent_runs as descent
from fracjax.learning.weight_diffusion.networks import (
    convolutional_network,
    multilayer_perceptron,
)
from fracjax.learning.weight_diffusion.noise_tails import gradient_noise_tails

KEY = jax.random.key(5)


def pictures(count=60):
    """Noise around ten patterns."""
    first, second = jax.random.split(KEY)
    labels = jnp.arange(count) % 10
    patterns = jax.random.normal(first, (10, 8, 8))
    return patterns[labels] + 0.3 * jax.random.normal(second, (count, 8, 8)), labels


def test_layers_are_convolutions(x64):
    """Exact: patches and products equal `lax.conv_general_dilated`."""
    network = convolutional_network((3, 5))
    params = jax.random.normal(KEY, (network.size,))
    images, _ = pictures(4)
    cuts = np.cumsum([27, 3, 135, 5, 800, 10])
    w1, b1, w2, b2, w3, b3 = np.split(np.asarray(params), cuts)[:-1]
    assert network.size == cuts[-1]
    settings = {"padding": [(1, 1), (1, 1)], "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    conv = jax.lax.conv_general_dilated
    hidden = conv(images[..., None], w1.reshape(3, 3, 1, 3), (1, 1), **settings)
    hidden = jax.nn.relu(hidden + b1)
    hidden = jax.nn.relu(conv(hidden, w2.reshape(3, 3, 3, 5), (2, 2), **settings) + b2)
    expected = hidden.reshape(4, -1) @ w3.reshape(80, 10) + b3
    np.testing.assert_allclose(network.logits(params, images), expected, rtol=1e-10)


@pytest.mark.slow
def test_runs_descend_and_are_reproducible():
    """Paths follow the rule, runs of one seed share batches, and the loss falls."""
    images, labels = pictures()
    network = multilayer_perceptron((6,))
    runs = descent.grid_of_runs((0, 1), (0.02, 0.2), (8, 60))
    assert runs.seed.shape == (8,)
    segments = list(
        descent.descend(
            network, images, labels, runs, num_segments=2, segment_length=40, loss_stride=10
        )
    )
    assert [segment.waiting_time for segment in segments] == [0, 40]
    assert segments[0].paths.shape == (8, 40, network.size)
    assert segments[0].full_losses.shape == (8, 4)
    fall = segments[0].full_losses[:, 0] - segments[1].full_losses[:, -1]
    assert np.all(fall > 0)
    assert np.all(fall[np.asarray(runs.learning_rate) > 0.1] > 0.5)
    # Equal seeds start from equal weights; the first steps are as the learning rates.
    starts = np.asarray(segments[0].paths[:, 0])
    np.testing.assert_array_equal(starts[0], starts[2])
    assert np.abs(starts[0] - starts[1]).max() > 0.1
    steps = np.asarray(segments[0].paths[:, 1] - segments[0].paths[:, 0])
    np.testing.assert_allclose(10 * steps[0], steps[2], rtol=1e-3, atol=1e-6)
    again = next(descent.descend(network, images, labels, runs, num_segments=1, segment_length=40))
    np.testing.assert_array_equal(again.paths, segments[0].paths)
    with pytest.raises(ValueError, match="segment_length"):
        next(descent.descend(network, images, labels, runs, num_segments=1, segment_length=5))


@pytest.mark.slow
def test_gradient_noise():
    """Mean zero by construction; strung together, unequal coordinates that cancel say nothing.

    The gradient of a softmax layer adds up to zero over classes, so that strings of coordinates
    read above 2, where coordinates by themselves are Gaussian.
    """
    images, labels = pictures()
    contrast = 10.0 ** -jnp.linspace(0, 3, 64).reshape(8, 8)
    network = multilayer_perceptron(())
    params = network.initial(KEY)
    noise = descent.minibatch_noise(network, params, images * contrast, labels, KEY, batch_size=20)
    assert noise.shape == (400, network.size)
    error = noise.std(axis=0) / 20
    assert np.mean(abs(noise.mean(axis=0)) < 4 * error) > 0.99
    tails = gradient_noise_tails(noise)
    assert tails.by_coordinate.value > 1.8
    assert tails.flattened.value > 3
    assert tails.flattened.status == Status.NO_SCALING_REGION
    assert np.median(np.asarray(tails.characteristic.value)) > 1.9
