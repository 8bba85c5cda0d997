"""A convolutional or dense Flax network with the interventions that change an architecture."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float

from fracjax.rl.networks import ACTIVATIONS

__all__ = ["FeatureNetwork"]


class FeatureNetwork(linen.Module):
    """Convolutions, dense layers, a linear head; every hidden activation under its name.

        network = FeatureNetwork(num_outputs=10, hidden=(256, 256), channels=(64, 64))
        variables = network.init(key, images)
        outputs, hidden = network.apply(variables, images, features=True)

    The defaults are Lyle et al.'s: two dense layers of 512 without `channels`, with them kernels of
    5 × 5 and 3 × 3 without pooling. Layers are called `conv_0, …, hidden_0, …, output`, and the
    norms `norm_conv_0, …`, as are the activations, (samples, ..., units). With the layer norm a
    hidden layer is activation(norm(linear)); which order the paper took is not said.

    With `spectral_norm` the first layer's kernel is divided by its largest singular value: the
    variables then have a collection `batch_stats`, which `apply(..., update_stats=True,
    mutable=["batch_stats"])` updates by one power iteration.

    Attributes:
        num_outputs: Of the head: actions, or actions · bins for a categorical one.
        hidden: Widths of the dense layers.
        channels: Channels of the convolutions; none for vectors, and images are flattened.
        kernel_sizes: Sizes of the convolutions' square kernels.
        activation: Name in `fracjax.rl.networks.ACTIVATIONS`.
        layer_norm: Whether hidden layers are normed.
        spectral_norm: Whether the first layer is.
    """

    num_outputs: int
    hidden: Sequence[int] = (512, 512)
    channels: Sequence[int] = ()
    kernel_sizes: Sequence[int] = (5, 3)
    activation: str = "relu"
    layer_norm: bool = False
    spectral_norm: bool = False

    @linen.compact
    def __call__(
        self,
        inputs: Float[Array, "samples ..."],
        *,
        features: bool = False,
        update_stats: bool = False,
    ) -> Array | tuple[Array, dict[str, Array]]:
        """Map samples to outputs.

        Args:
            inputs: Vectors (samples, size), or images (samples, height, width, channels).
            features: Whether to return hidden activations too.
            update_stats: Whether to make a power iteration.

        Returns:
            Outputs (samples, outputs), with `features` a pair of them and the activations.
        """
        if len(self.kernel_sizes) < len(self.channels):
            msg = (
                f"Argument `kernel_sizes` must have one entry for each of {len(self.channels)}"
                f" convolutions, but is {tuple(self.kernel_sizes)}."
            )
            raise ValueError(msg)
        found: dict[str, Array] = {}
        value = inputs
        layers: list[tuple[str, linen.Module]] = [
            (f"conv_{i}", linen.Conv(size, (self.kernel_sizes[i],) * 2, name=f"conv_{i}"))
            for i, size in enumerate(self.channels)
        ]
        layers += [
            (f"hidden_{i}", linen.Dense(size, name=f"hidden_{i}"))
            for i, size in enumerate(self.hidden)
        ]
        for index, (name, layer) in enumerate(layers):
            if not name.startswith("conv"):
                value = value.reshape(len(value), -1)
            if self.spectral_norm and index == 0:
                normed = linen.SpectralNorm(layer, name=f"spectral_{name}")
                value = normed(value, update_stats=update_stats)
            else:
                value = layer(value)
            if self.layer_norm:
                value = linen.LayerNorm(name=f"norm_{name}")(value)
            value = ACTIVATIONS[self.activation](value)
            found[name] = value
        outputs = linen.Dense(self.num_outputs, name="output")(jnp.reshape(value, (len(value), -1)))
        return (outputs, found) if features else outputs
