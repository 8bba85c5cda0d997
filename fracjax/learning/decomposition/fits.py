"""Fit directions to per-sample gradients: one compiled program for all epochs and batches.

    settings = FitSettings(num_subnetworks=5)
    fit = jax.jit(lambda key: decompose(network, params, inputs, key, settings))
    found = jax.vmap(fit)(jax.random.split(key, 8))      # eight seeds at once
    found.subnetworks, found.loss[:, -1]

In parts, with progress, or to be continued later from a saved state:

    state = start_fit(params, key, settings)
    advance = jax.jit(lambda s: continue_fit(network, params, inputs, s, settings, num_epochs=50))
    for _ in range(20):
        state, trace = advance(state)
        print(trace.loss[-1])
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from fracjax._types import Key, Leaf, PyTree, Status
from fracjax.estimators.settings import check_at_least
from fracjax.learning.decomposition.losses import reconstruction_loss
from fracjax.learning.decomposition.sample_gradients import (
    Apply,
    reference_outputs,
    sample_gradients,
)
from fracjax.learning.decomposition.selection import selected_count
from fracjax.learning.decomposition.settings import FitSettings, Norm
from fracjax.learning.decomposition.tucker import TuckerLayout

__all__ = [
    "Decomposition",
    "FitState",
    "FitTrace",
    "continue_fit",
    "decompose",
    "epoch_batches",
    "normalize_directions",
    "start_fit",
    "state_from_arrays",
    "state_to_arrays",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FitState:
    """Where a fit stands; all that is needed to continue it exactly.

    Attributes:
        factors: Of encoder and decoder, (2, subnetworks, factor numbers), see `TuckerLayout`.
        optimizer: Moments of Adam.
        epoch: Epochs done.
        key: From which the shuffles and references of every epoch follow.
    """

    factors: Leaf
    optimizer: PyTree
    epoch: Leaf
    key: Leaf


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FitTrace:
    """What was seen while fitting.

    Attributes:
        loss: Mean loss over the batches of every epoch, (epochs,).
        frequency: Share of samples in which a subnetwork was kept in the last epoch,
            (subnetworks,). Dead ones have 0.
    """

    loss: Leaf
    frequency: Leaf


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Decomposition:
    """Directions in parameter space, with how they were found.

    Attributes:
        subnetworks: Decoder directions, multiplied out: the structure of the parameters with a
            leading axis of subnetworks. Signs are arbitrary.
        encoder: Encoder directions, likewise; they measure attributions.
        loss: Mean loss over the batches of every epoch, (epochs,).
        frequency: Share of samples in which a subnetwork was kept in the last epoch.
        state: To continue from.
        status: `DIVERGED` where the last loss is not finite.
    """

    subnetworks: PyTree
    encoder: PyTree
    loss: Leaf
    frequency: Leaf
    state: FitState
    status: Leaf


def normalize_directions(
    layout: TuckerLayout, rows: Float[Array, "n factors"], norm: Norm = "euclidean"
) -> Float[Array, "n factors"]:
    """Divide directions by their norm, spread evenly over the factors of every tensor.

    Args:
        layout: Of the factors.
        rows: The factors.
        norm: See `FitSettings`.
    """
    norms = layout.tensor_norms(rows)
    size = jnp.sum(norms**2, axis=0) if norm == "euclidean" else jnp.sum(norms, axis=0)
    powers = jnp.asarray(layout.powers() / 2, rows.dtype)
    return rows * jnp.exp(-jnp.log(size)[:, None] * powers)


def epoch_batches(
    key: Key, epoch: int | Int[Array, ""], samples: int, batch: int
) -> tuple[Int[Array, "batches batch"], Key]:
    """Shuffle the samples of one epoch into batches, with a key for the references of each.

    Args:
        key: Of the fit.
        epoch: Its number.
        samples: How many there are; what does not fill a batch is left out.
        batch: Samples per batch.
    """
    shuffle, draw = jax.random.split(jax.random.fold_in(key, epoch))
    order = jax.random.permutation(shuffle, samples)[: samples // batch * batch]
    return order.reshape(-1, batch), jax.random.split(draw, samples // batch)


def start_fit(params: PyTree, key: Key, settings: FitSettings) -> FitState:
    """Draw the first directions: factors N(0, 1)/subnetworks, normalised; encoder = decoder.

    Args:
        params: Parameters of the network, as wide as the computation is to be.
        key: Of the fit.
        settings: Of the fit.
    """
    layout = settings.layout(params)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    first, later = jax.random.split(key)
    shape = (settings.num_subnetworks, layout.num_factors)
    rows = jax.random.normal(first, shape, dtype) / settings.num_subnetworks
    rows = normalize_directions(layout, rows, settings.norm)
    factors = jnp.stack([rows, rows])
    return FitState(factors, optax.scale_by_adam().init(factors), jnp.int32(0), later)


def continue_fit(
    apply: Apply,
    params: PyTree,
    inputs: PyTree,
    state: FitState,
    settings: FitSettings,
    *,
    num_epochs: int,
) -> tuple[FitState, FitTrace]:
    """Fit for some more epochs.

    Any cut of the epochs into calls gives the same result. Batches are shuffled, and references
    drawn, by `fold_in(state.key, epoch)`.

    Args:
        apply: `(params, x) -> output` of one sample, see `sample_gradients`.
        params: Parameters of the network.
        inputs: Samples, leaves (samples, ...).
        state: From `start_fit` or an earlier call with the same settings.
        settings: Of the fit.
        num_epochs: How many epochs.

    Returns:
        The new state, and losses and frequencies of these epochs.

    Raises:
        ValueError: If there are fewer samples than a batch takes, or `num_epochs` is below 1.
    """
    check_at_least(num_epochs=(num_epochs, 1))
    samples, batch = len(jax.tree.leaves(inputs)[0]), settings.batch_size
    if samples < batch:
        msg = (
            f"Argument `inputs` must hold at least `batch_size` = {batch} samples, but holds"
            f" {samples}."
        )
        raise ValueError(msg)
    layout = settings.layout(params)
    adam = optax.scale_by_adam()
    entries = batch * settings.num_subnetworks
    warm, later = (
        selected_count(entries, share) for share in (settings.warm_fraction, settings.fraction)
    )
    outputs = jax.vmap(apply, in_axes=(None, 0))

    def update(carry: tuple, batch_of: tuple[Array, Array]) -> tuple[tuple, tuple[Array, Array]]:
        factors, moments, count, rate = carry
        chosen, key = batch_of
        taken = jax.tree.map(lambda leaf: leaf[chosen], inputs)
        references = reference_outputs(outputs(params, taken), key, settings.reference)
        gradients = sample_gradients(
            apply, params, taken, references, divergence=settings.divergence, chunk=settings.chunk
        )

        def loss(factors: Array) -> tuple[Array, Array]:
            return reconstruction_loss(layout, factors, gradients, count, settings)

        (value, frequency), slope = jax.value_and_grad(loss, has_aux=True)(factors)
        change, moments = adam.update(slope, moments)
        inward, outward = factors - rate * change
        outward = normalize_directions(layout, outward, settings.norm)
        return (jnp.stack([inward, outward]), moments, count, rate), (value, frequency)

    def one_epoch(carry: tuple, offset: Array) -> tuple[tuple, tuple[Array, Array]]:
        factors, moments = carry
        epoch = state.epoch + offset
        order, keys = epoch_batches(state.key, epoch, samples, batch)
        decays = (epoch // settings.decay_every).astype(factors.dtype)
        rate = settings.learning_rate * settings.decay**decays
        count = jnp.where(epoch < settings.warm_epochs, warm, later)
        start = (factors, moments, count, rate.astype(factors.dtype))
        end, (losses, frequencies) = jax.lax.scan(update, start, (order, keys))
        return end[:2], (jnp.mean(losses), jnp.mean(frequencies, axis=0))

    (factors, moments), (losses, frequencies) = jax.lax.scan(
        one_epoch, (state.factors, state.optimizer), jnp.arange(num_epochs)
    )
    state = FitState(factors, moments, state.epoch + num_epochs, state.key)
    return state, FitTrace(losses, frequencies[-1])


def decompose(
    apply: Apply, params: PyTree, inputs: PyTree, key: Key, settings: FitSettings
) -> Decomposition:
    """Find directions of which few explain the gradient of any one sample.

    Not for: networks whose samples all use all parameters alike (a linear map of dense inputs);
    comparing errors between divergences, `fraction * num_subnetworks`, or batch sizes.

    Args:
        apply: `(params, x) -> output` of one sample, e.g. `module.apply` of Flax.
        params: Parameters W0 of the trained network.
        inputs: Samples, leaves (samples, ...). Every feature should be on in hundreds of them, as
            company that it keeps by chance bends its subnetwork: on the toy model of superposition
            40-10 |cos| to the weights is .95 with 57 samples per feature, and .996 with 570 after
            fewer updates.
        key: Of the fit; `vmap` over keys, and over params and inputs, for many fits at once.
        settings: Of the fit.

    Returns:
        The directions. `num_subnetworks` dense copies of the parameters: for large networks
        take `start_fit` and `continue_fit`, whose state holds the factors only.

    References:
        Chrisman, Bushnaq and Sharkey (2025), https://arxiv.org/abs/2504.00194.
    """
    state = start_fit(params, key, settings)
    state, trace = continue_fit(
        apply, params, inputs, state, settings, num_epochs=settings.num_epochs
    )
    layout = settings.layout(params)
    finite = jnp.isfinite(trace.loss[-1])
    return Decomposition(
        layout.tree(state.factors[1]),
        layout.tree(state.factors[0]),
        trace.loss,
        trace.frequency,
        state,
        jnp.where(finite, int(Status.OK), int(Status.DIVERGED)),
    )


def state_to_arrays(state: FitState) -> dict[str, np.ndarray]:
    """Take a state apart into named NumPy arrays, e.g. for `np.savez`."""
    key = state.key
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    leaves = jax.tree.leaves((state.factors, state.optimizer, state.epoch, key))
    return {f"leaf_{index}": np.asarray(leaf) for index, leaf in enumerate(leaves)}


def state_from_arrays(
    arrays: Mapping[str, np.ndarray], *, implementation: str | None = None
) -> FitState:
    """Put a state together again, with its key as a typed one.

    Args:
        arrays: From `state_to_arrays`, e.g. read by `np.load`.
        implementation: Of the key, by default JAX's.
    """
    factors, *moments, epoch, key = (
        jnp.asarray(arrays[f"leaf_{index}"]) for index in range(len(arrays))
    )
    shape = jax.eval_shape(optax.scale_by_adam().init, factors)
    optimizer = jax.tree.unflatten(jax.tree.structure(shape), moments)
    return FitState(factors, optimizer, epoch, jax.random.wrap_key_data(key, impl=implementation))
