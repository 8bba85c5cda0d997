"""How much of each subnetwork the samples use, and how often it is among the most used."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.learning.decomposition.divergences import Divergence, squared_error
from fracjax.learning.decomposition.sample_gradients import (
    Apply,
    Reference,
    flat_samples,
    reference_outputs,
    sample_gradients,
)
from fracjax.learning.decomposition.selection import batch_top_k, selected_count

__all__ = ["activation_frequency", "attributions"]


def attributions(
    apply: Apply,
    params: PyTree,
    inputs: PyTree,
    encoder: PyTree,
    key: Key,
    *,
    divergence: Divergence = squared_error,
    reference: Reference = "other",
    num_references: int = 10,
    chunk: int | None = None,
) -> Float[Array, "samples subnetworks"]:
    """Average |V_in[k] · ∇_W D(f(x), y)| over several references y of every sample x.

    Args:
        apply: `(params, x) -> output` of one sample.
        params: W0.
        inputs: Samples, leaves (samples, ...); references are drawn from all of them.
        encoder: Encoder directions, leaves (subnetworks, ...).
        key: Of the references.
        divergence: As in the fit.
        reference: As in the fit.
        num_references: The paper's 10; one is enough for those that are not drawn.
        chunk: Samples per backward pass.
    """
    outputs = jax.vmap(apply, in_axes=(None, 0))(params, inputs)
    directions = flat_samples(encoder)

    def once(total: Array, key: Key) -> tuple[Array, None]:
        references = reference_outputs(outputs, key, reference)
        gradients = sample_gradients(
            apply, params, inputs, references, divergence=divergence, chunk=chunk
        )
        return total + jnp.abs(flat_samples(gradients) @ directions.T), None

    samples = len(jax.tree.leaves(inputs)[0])
    start = jnp.zeros((samples, len(directions)), directions.dtype)
    total, _ = jax.lax.scan(once, start, jax.random.split(key, num_references))
    return total / num_references


def activation_frequency(
    found: Float[Array, "samples subnetworks"], fraction: float = 0.1
) -> Float[Array, " subnetworks"]:
    """Share of samples in which each subnetwork is among the largest entries of all.

    Args:
        found: `attributions`, or encoder products.
        fraction: Share of all entries that count, as in the fit.
    """
    count = selected_count(found.size, fraction)
    return jnp.mean(batch_top_k(found, count), axis=0, dtype=found.dtype)
