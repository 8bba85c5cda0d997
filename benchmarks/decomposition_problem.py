"""What `decomposition.py` fits: a network, samples, first factors, batches; the same for all."""

import jax
import jax.numpy as jnp
import numpy as np

from fracjax.learning.decomposition.fits import epoch_batches, start_fit
from fracjax.learning.decomposition.sample_gradients import other_samples
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition.toy_models import superposition

__all__ = [
    "EPOCHS_CHECKED",
    "MODEL",
    "SAMPLES",
    "SEEDS",
    "SETTINGS",
    "SHAPES",
    "Problem",
]

SEEDS, SAMPLES, EPOCHS_CHECKED = 8, 1000, 3
MODEL = superposition(5, 2)
SETTINGS = FitSettings(num_subnetworks=5)
SHAPES = {"bias": (5,), "decoder": (2, 5), "encoder": (5, 2)}  # in the order of tree leaves


class Problem:
    """A network, samples, first factors, batches and references, the same for all."""

    def __init__(self) -> None:
        angles = 2 * np.pi * np.arange(5) / 5
        encoder = 1.13 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        bias = np.full(5, -0.245)
        network = {"encoder": encoder, "decoder": encoder.T, "bias": bias}
        self.params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), network)
        self.inputs = MODEL.inputs(jax.random.key(1), SAMPLES)
        self.keys = jax.random.split(jax.random.key(0), SEEDS)
        self.states = jax.vmap(lambda key: start_fit(self.params, key, SETTINGS))(self.keys)
        self.layout = SETTINGS.layout(self.params)
        self.entries = SETTINGS.batch_size * SETTINGS.num_subnetworks

        def batches(key: jax.Array, epoch: jax.Array) -> tuple[jax.Array, jax.Array]:
            order, draws = epoch_batches(key, epoch, SAMPLES, SETTINGS.batch_size)
            return order, jax.vmap(lambda k: other_samples(k, SETTINGS.batch_size))(draws)

        epochs = jnp.arange(EPOCHS_CHECKED)
        over = jax.vmap(jax.vmap(batches, in_axes=(None, 0)), in_axes=(0, None))
        # (seeds, epochs, batches, samples)
        self.order, self.others = map(np.asarray, over(self.states.key, epochs))

    def kept(self, epoch: int) -> int:
        """Entries that are kept of a batch."""
        warm = epoch < SETTINGS.warm_epochs
        return round(self.entries * (SETTINGS.warm_fraction if warm else SETTINGS.fraction))
