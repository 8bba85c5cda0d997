"""Small networks on images, as plain functions of a pytree, with their hidden activations."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.learning.interventions.layer_norm import layer_norm
from fracjax.learning.interventions.spectral_norm import power_iteration
from fracjax.learning.weight_diffusion.networks import neighbourhoods

__all__ = ["ToyNetwork"]

_POWER_ITERATIONS = 8


@dataclasses.dataclass(frozen=True)
class ToyNetwork:
    """A perceptron, or convolutions followed by one, with ReLU between layers.

    Parameters are `{"layer_0": {"kernel", "bias"}, ..., "head": {"kernel", "bias"}}`, with
    `"scale"` and `"offset"` in hidden layers where there is layer normalisation. Hashable, so that
    it can be a static argument. It is what `train_on_relabelled` and `train_dqn` train; everything
    else takes any `apply(params, inputs)`, so do not rewrite a network of your own as one.

    Attributes:
        image_shape: Height and width of an image.
        hidden: Units of the dense hidden layers.
        num_outputs: Outputs.
        channels: Channels of 3 × 3 convolutions before them; every one but the first halves the
            image.
        layer_norm: Whether pre-activations of hidden layers are normalised over their units (of
            convolutions: the channels of a place), with a learned scale and offset.
        spectral_norm: Whether the kernel of the first layer is divided by its largest singular
            value, found by eight power iterations from a fixed start: nothing to remember.
    """

    image_shape: tuple[int, int]
    hidden: tuple[int, ...] = (128, 128)
    num_outputs: int = 10
    channels: tuple[int, ...] = ()
    layer_norm: bool = False
    spectral_norm: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the kernels, by layer from input to output."""
        channels = (1, *self.channels)
        kernels: list[tuple[int, ...]] = [(3, 3, a, b) for a, b in itertools.pairwise(channels)]
        height, width = self.image_shape
        for _ in self.channels[1:]:
            height, width = -(-height // 2), -(-width // 2)
        widths = (height * width * channels[-1], *self.hidden, self.num_outputs)
        kernels += itertools.pairwise(widths)
        names = [f"layer_{index}" for index in range(len(kernels) - 1)] + ["head"]
        return dict(zip(names, kernels, strict=True))

    @property
    def hidden_names(self) -> tuple[str, ...]:
        """Names of the hidden layers, from input to output."""
        return tuple(self.shapes)[:-1]

    def init(self, key: Key) -> PyTree:
        """Draw weights and biases uniform on ±1/√fan-in, the default of PyTorch's layers."""
        sizes = {name: math.prod(shape) + shape[-1] for name, shape in self.shapes.items()}
        bounds = [
            np.full(sizes[name], 1 / math.sqrt(math.prod(shape[:-1])))
            for name, shape in self.shapes.items()
        ]
        total = sum(sizes.values())
        dtype = jnp.result_type(float)
        drawn = jax.random.uniform(key, (total,), dtype, -1, 1)
        drawn = drawn * jnp.asarray(np.concatenate(bounds), dtype)
        params, used = {}, 0
        for name, shape in self.shapes.items():
            end = used + math.prod(shape)
            layer = {
                "kernel": drawn[used:end].reshape(shape),
                "bias": drawn[end : end + shape[-1]],
            }
            if self.layer_norm and name != "head":
                layer |= {
                    "scale": jnp.ones(shape[-1], dtype),
                    "offset": jnp.zeros(shape[-1], dtype),
                }
            params[name] = layer
            used += sizes[name]
        return params

    def apply(self, params: PyTree, images: Float[Array, "n h w"]) -> Float[Array, "n outputs"]:
        """Evaluate a batch of images."""
        return self.evaluate(params, images)[0]

    def activations(self, params: PyTree, images: Float[Array, "n h w"]) -> dict[str, Array]:
        """Hidden activations after ReLU, by layer: (n, units), or (n, h, w, channels)."""
        return self.evaluate(params, images)[1]

    def evaluate(
        self, params: PyTree, images: Float[Array, "n h w"]
    ) -> tuple[Float[Array, "n outputs"], dict[str, Array]]:
        """Outputs and hidden activations."""
        images = jnp.asarray(images)
        hidden = images[..., None] if self.channels else images.reshape(len(images), -1)
        seen: dict[str, Array] = {}
        for number, (name, shape) in enumerate(self.shapes.items()):
            layer = params[name]
            kernel = layer["kernel"]
            if self.spectral_norm and number == 0:
                kernel = kernel / _largest_singular_value(kernel)
            if len(shape) == 4:
                # Patches and a product: fast also where a vmap gives every run its own weights.
                patches = neighbourhoods(hidden, stride=1 if number == 0 else 2)
                hidden = patches @ kernel.reshape(-1, shape[-1]) + layer["bias"]
            else:
                hidden = hidden.reshape(len(hidden), -1) @ kernel + layer["bias"]
            if name == "head":
                break
            if self.layer_norm:
                hidden = layer_norm(hidden, layer["scale"], layer["offset"])
            hidden = jax.nn.relu(hidden)
            seen[name] = hidden
        return hidden, seen


def _largest_singular_value(kernel: Array) -> Array:
    start = np.random.default_rng(0).normal(size=kernel.shape[-1])
    return power_iteration(
        kernel, jnp.asarray(start, kernel.dtype), num_iterations=_POWER_ITERATIONS
    )[0]
