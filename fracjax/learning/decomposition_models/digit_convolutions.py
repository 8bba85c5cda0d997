"""A small residual convolutional network on the 8 × 8 digits, as plain functions of a pytree."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from fracjax import tree
from fracjax._types import Key, Leaf, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.weight_diffusion.networks import neighbourhoods

__all__ = ["DigitNetwork", "TrainedDigits", "train_digits"]


@dataclasses.dataclass(frozen=True)
class DigitNetwork:
    """Stem, one residual block of two 3 × 3 convolutions, mean over pixels by quarters, logits.

    The stem halves the image to 4 × 4, so that the block sees 16 places. Convolutions are sums
    over shifted copies: a gradient per sample of XLA's own convolution is ten times slower on a
    CPU.

    Attributes:
        channels: Of stem and block.
        num_classes: Outputs.
    """

    channels: int = 16
    num_classes: int = 10

    def __post_init__(self) -> None:
        """Check the sizes."""
        check_at_least(channels=(self.channels, 1), num_classes=(self.num_classes, 2))

    def init(self, key: Key) -> PyTree:
        """Draw He-normal kernels (3, 3, inputs, outputs), and biases of zero."""
        channels = self.channels

        def layer(*shape: int) -> dict[str, Array]:
            return {"kernel": jnp.zeros(shape), "bias": jnp.zeros(shape[-1])}

        shapes = {
            "stem": layer(3, 3, 1, channels),
            "block": {
                "first": layer(3, 3, channels, channels),
                "second": layer(3, 3, channels, channels),
            },
            "logits": layer(4 * channels, self.num_classes),
        }
        drawn = tree.random_normal(key, shapes)

        def scaled(leaf: Array) -> Array:
            inputs = math.prod(leaf.shape[:-1])
            return leaf * math.sqrt(2 / inputs) if leaf.ndim > 1 else jnp.zeros_like(leaf)

        return jax.tree.map(scaled, drawn)

    def apply(self, params: PyTree, image: Float[Array, "8 8"]) -> Float[Array, " classes"]:
        """Logits of one image with pixels in [0, 1]."""
        units = jax.nn.relu(_convolve(params["stem"], image[:, :, None], 2))
        inner = jax.nn.relu(_convolve(params["block"]["first"], units, 1))
        units = jax.nn.relu(units + _convolve(params["block"]["second"], inner, 1))
        quarters = units.reshape(2, 2, 2, 2, self.channels).mean(axis=(1, 3)).ravel()
        return quarters @ params["logits"]["kernel"] + params["logits"]["bias"]


def _convolve(layer: PyTree, units: Float[Array, "rows columns inputs"], stride: int) -> Array:
    """Convolve with a 3 × 3 kernel, zeros around, every `stride`-th place."""
    kernel = layer["kernel"].reshape(-1, layer["kernel"].shape[-1])
    return neighbourhoods(units[None], stride=stride)[0] @ kernel + layer["bias"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainedDigits:
    """A trained network.

    Attributes:
        params: Its parameters.
        trace: Cross entropy of every epoch, in nats.
        accuracy: Share of training images that it names rightly.
    """

    params: PyTree
    trace: Leaf
    accuracy: Leaf


def train_digits(
    network: DigitNetwork,
    images: Float[Array | np.ndarray, "n 8 8"],
    labels: Int[Array | np.ndarray, " n"],
    key: Key,
    *,
    num_epochs: int = 30,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
) -> TrainedDigits:
    """Train by Adam on the cross entropy; the learning rate falls to zero along a cosine.

    Args:
        network: Which.
        images: Of `load_digits`.
        labels: Of `load_digits`.
        key: Of weights and batches.
        num_epochs: Passes over the images; what does not fill a batch is left out of one.
        batch_size: Images per update, at most as many as there are.
        learning_rate: At the start.

    Raises:
        ValueError: If a number is below 1, or there are fewer images than a batch takes.
    """
    count = len(images)
    check_at_least(
        num_epochs=(num_epochs, 1), batch_size=(batch_size, 1), images=(count, batch_size)
    )
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    num_updates = num_epochs * (count // batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_updates))
    outputs = jax.vmap(network.apply, in_axes=(None, 0))

    def loss(params: PyTree, chosen: Array) -> Array:
        logits = outputs(params, images[chosen])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[chosen])
        return jnp.mean(losses)

    def update(carry: tuple, chosen: Array) -> tuple[tuple, Array]:
        params, state = carry
        value, slope = jax.value_and_grad(loss)(params, chosen)
        change, state = optimizer.update(slope, state, params)
        return (optax.apply_updates(params, change), state), value

    def one_epoch(carry: tuple, key: Key) -> tuple[tuple, Array]:
        order = jax.random.permutation(key, count)[: count // batch_size * batch_size]
        carry, losses = jax.lax.scan(update, carry, order.reshape(-1, batch_size))
        return carry, jnp.mean(losses)

    of_weights, of_batches = jax.random.split(key)
    params = network.init(of_weights)
    carry = (params, optimizer.init(params))
    (params, _), trace = jax.lax.scan(one_epoch, carry, jax.random.split(of_batches, num_epochs))
    named = jnp.argmax(outputs(params, images), axis=1)
    return TrainedDigits(params, trace, jnp.mean(named == labels, dtype=trace.dtype))
