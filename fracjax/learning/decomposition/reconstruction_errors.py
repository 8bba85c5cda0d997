"""How much of the gradients of other samples a decomposition leaves unexplained."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.estimators.intervals import masked_mean, student_quantile
from fracjax.learning.decomposition.losses import reconstruction_loss
from fracjax.learning.decomposition.sample_gradients import (
    Apply,
    reference_outputs,
    sample_gradients,
)
from fracjax.learning.decomposition.selection import selected_count
from fracjax.learning.decomposition.settings import FitSettings

__all__ = ["reconstruction_error"]


def reconstruction_error(
    apply: Apply,
    params: PyTree,
    inputs: PyTree,
    factors: Float[Array, "2 subnetworks numbers"],
    key: Key,
    settings: FitSettings,
) -> Estimate:
    """Average the loss over batches of samples, without fitting.

    The mean of ratios of batches, as published errors are; on a finite batch that is not the
    ratio of means. Compare errors only at the same divergence, ratio, batch size and
    `fraction * num_subnetworks`. Samples of the fit give an optimistic number: take new ones.

    Args:
        apply: `(params, x) -> output` of one sample.
        params: W0.
        inputs: Samples, leaves (samples, ...); what does not fill a batch is left out.
        factors: Of a fit, `state.factors`.
        key: Of the references.
        settings: As in the fit.

    Returns:
        The error with a Student interval over batches, which are independent if the samples are.
        Details: `losses` of the batches and `frequency` of the subnetworks. `DIVERGED` where a
        loss is not finite, `TOO_FEW_POINTS` with fewer than two batches.

    Raises:
        ValueError: If the samples do not fill a batch.
    """
    layout, batch = settings.layout(params), settings.batch_size
    batches = len(jax.tree.leaves(inputs)[0]) // batch
    if batches == 0:
        msg = f"Argument `inputs` must hold at least {batch} samples, a batch, but holds fewer."
        raise ValueError(msg)
    count = selected_count(batch * settings.num_subnetworks, settings.fraction)
    outputs = jax.vmap(apply, in_axes=(None, 0))

    def one(taken_and_key: tuple[PyTree, Key]) -> tuple[Array, Array]:
        taken, draw = taken_and_key
        references = reference_outputs(outputs(params, taken), draw, settings.reference)
        gradients = sample_gradients(
            apply, params, taken, references, divergence=settings.divergence, chunk=settings.chunk
        )
        return reconstruction_loss(layout, factors, gradients, count, settings)

    cut = jax.tree.map(
        lambda leaf: leaf[: batches * batch].reshape(batches, batch, *leaf.shape[1:]), inputs
    )
    losses, frequencies = jax.lax.map(one, (cut, jax.random.split(key, batches)))
    finite = jnp.all(jnp.isfinite(losses))
    mean, error, _ = masked_mean(losses, jnp.ones(losses.shape, bool))
    reach = student_quantile(batches - 1, batches).astype(losses.dtype) * error
    seen = Status.OK if batches > 1 else Status.TOO_FEW_POINTS
    status = jnp.where(finite, int(seen), int(Status.DIVERGED))
    details = {"losses": losses, "frequency": jnp.mean(frequencies, axis=0)}
    return Estimate(mean, error, mean - reach, mean + reach, status, details)
