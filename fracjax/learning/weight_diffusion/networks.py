"""Two small classifiers of 8 × 8 images whose parameters are one vector."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key

__all__ = ["Classifier", "convolutional_network", "multilayer_perceptron", "neighbourhoods"]

_SIDE, _CLASSES = 8, 10


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Layers of a network: shapes, and how they are wired.

    Attributes:
        shapes: Of the weights, each followed by its bias of the last axis's length.
        convolutions: How many of the first layers are 3 × 3 convolutions; every one but the
            first halves the image.
    """

    shapes: tuple[tuple[int, ...], ...]
    convolutions: int = 0

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) + shape[-1] for shape in self.shapes)

    def initial(self, key: Key) -> Float[Array, " size"]:
        """Draw weights N(0, 2/inputs) and zero biases."""
        scales = [
            np.concatenate(
                [
                    np.full(math.prod(shape), math.sqrt(2 / math.prod(shape[:-1]))),
                    np.zeros(shape[-1]),
                ]
            )
            for shape in self.shapes
        ]
        dtype = jnp.result_type(float)
        return jnp.asarray(np.concatenate(scales), dtype) * jax.random.normal(
            key, (self.size,), dtype
        )

    def logits(
        self, params: Float[Array, " size"], images: Float[Array, "n 8 8"]
    ) -> Float[Array, "n 10"]:
        """Evaluate a batch of images."""
        used = 0
        hidden = images[..., None] if self.convolutions else images.reshape(len(images), -1)
        for number, shape in enumerate(self.shapes):
            weights = params[used : used + math.prod(shape)].reshape(shape)
            used += math.prod(shape)
            bias = params[used : used + shape[-1]]
            used += shape[-1]
            if number < self.convolutions:
                # Patches and a product: fast also where a vmap gives every run its own weights.
                patches = neighbourhoods(hidden, stride=1 if number == 0 else 2)
                hidden = patches @ weights.reshape(-1, shape[-1]) + bias
            else:
                hidden = hidden.reshape(len(hidden), -1) @ weights + bias
            if number < len(self.shapes) - 1:
                hidden = jax.nn.relu(hidden)
        return hidden


def neighbourhoods(images: Float[Array, "n h w c"], *, stride: int) -> Float[Array, "n k l d"]:
    """Neighbourhoods of 3 × 3 points, zero outside, at every `stride`-th point."""
    _, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [
        padded[:, i : i + height : stride, j : j + width : stride]
        for i in range(3)
        for j in range(3)
    ]
    return jnp.concatenate(shifted, axis=-1)


def multilayer_perceptron(hidden: tuple[int, ...] = (16,)) -> Classifier:
    """Make a perceptron on the 64 pixels with ReLU layers of the given widths."""
    widths = (_SIDE * _SIDE, *hidden, _CLASSES)
    return Classifier(tuple(itertools.pairwise(widths)))


def convolutional_network(channels: tuple[int, ...] = (8, 16)) -> Classifier:
    """Make a network of 3 × 3 convolutions with ReLU and one dense layer.

    The first convolution keeps the 8 × 8 image, every further one halves its side.
    """
    inputs = (1, *channels[:-1])
    filters = [(3, 3, before, after) for before, after in zip(inputs, channels, strict=True)]
    side = -(-_SIDE // 2 ** (len(channels) - 1))
    shapes = (*filters, (side * side * channels[-1], _CLASSES))
    return Classifier(tuple(shapes), convolutions=len(channels))
