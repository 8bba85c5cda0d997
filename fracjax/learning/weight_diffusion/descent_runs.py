"""Many runs of plain stochastic gradient descent at once, with every parameter after every step."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fracjax._types import Key
from fracjax.estimators.settings import check_at_least
from fracjax.learning.weight_diffusion.networks import Classifier

__all__ = ["Runs", "Segment", "classification_loss", "descend", "grid_of_runs", "minibatch_noise"]


class Runs(NamedTuple):
    """What differs between runs; all have the leading axis of runs.

    Attributes:
        seed: Of the initial weights and of the batches.
        learning_rate: η.
        batch_size: Images of a batch.
    """

    seed: Int[Array, " runs"]
    learning_rate: Float[Array, " runs"]
    batch_size: Int[Array, " runs"]


class Segment(NamedTuple):
    """A stretch of all runs.

    Attributes:
        waiting_time: Steps before it.
        paths: Parameters before every step, (runs, steps, size).
        losses: Loss of the batch at them, (runs, steps).
        full_losses: Loss on all images at every `stride`-th of them, (runs, steps / stride).
    """

    waiting_time: int
    paths: Float[Array, "runs steps size"]
    losses: Float[Array, "runs steps"]
    full_losses: Float[Array, "runs fewer"]


def grid_of_runs(
    seeds: tuple[int, ...], learning_rates: tuple[float, ...], batch_sizes: tuple[int, ...]
) -> Runs:
    """Combine all seeds, learning rates and batch sizes; seeds vary fastest."""
    grid = np.meshgrid(batch_sizes, learning_rates, seeds, indexing="ij")
    batch, rate, seed = (part.ravel() for part in grid)
    return Runs(jnp.asarray(seed), jnp.asarray(rate, jnp.result_type(float)), jnp.asarray(batch))


def classification_loss(
    network: Classifier,
    params: Float[Array, " size"],
    images: Float[Array, "n 8 8"],
    labels: Int[Array, " n"],
    weights: Float[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Mean cross-entropy, of weighted images if weights are given."""
    logs = jax.nn.log_softmax(network.logits(params, images))
    own = -jnp.take_along_axis(logs, labels[:, None], axis=1)[:, 0]
    if weights is None:
        return own.mean()
    return jnp.sum(own * weights) / jnp.sum(weights)


def descend(
    network: Classifier,
    images: Float[Array | np.ndarray, "n 8 8"],
    labels: Int[Array | np.ndarray, " n"],
    runs: Runs,
    *,
    num_segments: int,
    segment_length: int = 1000,
    loss_stride: int = 10,
) -> Iterator[Segment]:
    """Train all runs side by side by plain SGD, one compiled scan per segment.

    No momentum, no decay, no schedule, no normalisation, as in the protocol of Chen, Qu and
    Gong. Batches are drawn with replacement, so that noise is independent from step to step; the
    published loops go through the images in random order once per epoch, which makes noise
    anticorrelated over an epoch. Batches of all sizes are the first images of one larger draw: runs
    of one seed share it.

    A segment is held in memory at a time: runs × steps × parameters numbers.

    Args:
        network: The classifier.
        images: Training images.
        labels: Their classes.
        runs: Seeds, learning rates and batch sizes, see `grid_of_runs`.
        num_segments: How many segments.
        segment_length: Steps of a segment.
        loss_stride: Steps between evaluations of the loss on all images.

    Yields:
        Segments in order.

    Raises:
        ValueError: If a setting is out of range.
    """
    check_at_least(
        num_segments=(num_segments, 1),
        segment_length=(segment_length, loss_stride),
        loss_stride=(loss_stride, 1),
    )
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    largest = int(np.max(np.asarray(runs.batch_size)))

    def one_run(params: Array, key: Key, rate: Array, batch_size: Array) -> tuple[Array, ...]:
        inside = (jnp.arange(largest) < batch_size).astype(params.dtype)

        def step(params: Array, own: Key) -> tuple[Array, tuple[Array, Array]]:
            chosen = jax.random.randint(own, (largest,), 0, len(images))
            loss, slope = jax.value_and_grad(
                lambda p: classification_loss(network, p, images[chosen], labels[chosen], inside)
            )(params)
            return params - rate * slope, (params, loss)

        last, (path, losses) = jax.lax.scan(step, params, jax.random.split(key, segment_length))
        looked = path[::loss_stride]
        full = jax.lax.map(lambda p: classification_loss(network, p, images, labels), looked)
        return last, path, losses, full

    advance = jax.jit(jax.vmap(one_run))
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(0), seed))(runs.seed)
    params = jax.vmap(lambda key: network.initial(jax.random.fold_in(key, 0)))(keys)
    for number in range(num_segments):
        own = jax.vmap(lambda key, n=number: jax.random.fold_in(key, n + 1))(keys)
        params, paths, losses, full = advance(params, own, runs.learning_rate, runs.batch_size)
        yield Segment(number * segment_length, paths, losses, full)


def minibatch_noise(
    network: Classifier,
    params: Float[Array, " size"],
    images: Float[Array | np.ndarray, "n 8 8"],
    labels: Int[Array | np.ndarray, " n"],
    key: Key,
    *,
    num_draws: int = 400,
    batch_size: int = 32,
) -> Float[Array, "draws size"]:
    """Draw minibatch gradients minus the full gradient, all at the same parameters.

    Args:
        network: The classifier.
        params: Where.
        images: Training images.
        labels: Their classes.
        key: Draws the batches, with replacement.
        num_draws: How many.
        batch_size: Images of a batch.
    """
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    slope = jax.grad(lambda p, x, y: classification_loss(network, p, x, y))
    full = slope(params, images, labels)

    def draw(own: Key) -> Array:
        chosen = jax.random.randint(own, (batch_size,), 0, len(images))
        return slope(params, images[chosen], labels[chosen]) - full

    return jnp.asarray(jax.lax.map(draw, jax.random.split(key, num_draws)))
