"""Gradients, one per sample, of a divergence between outputs and references."""

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.decomposition.divergences import Divergence, squared_error

__all__ = [
    "Apply",
    "Reference",
    "flat_samples",
    "other_samples",
    "reference_outputs",
    "sample_gradients",
]

Apply: TypeAlias = Callable[[PyTree, PyTree], PyTree]
Reference: TypeAlias = Literal["other", "uniform", "mean", "zero"]


def reference_outputs(outputs: PyTree, key: Key, kind: Reference = "other") -> PyTree:
    """Choose a reference output for every sample of a batch.

    Args:
        outputs: Outputs of a batch, leaves (samples, ...).
        key: For `"other"`.
        kind: `"other"`: of a sample drawn uniformly from the other ones of the batch (the
            published code may draw the sample itself). `"uniform"`: equal outputs, each the mean
            of the sample's own; of logits, the uniform distribution. `"mean"`: the mean over the
            batch, of logits before the softmax. `"zero"`: zeros; of logits, the same as uniform.

    Returns:
        References of the shapes of `outputs`, detached.

    Raises:
        ValueError: If `kind` is none of these, or there is no other sample.
    """
    if kind not in get_args(Reference):
        msg = f"Argument `kind` must be one of {get_args(Reference)}, but is {kind!r}."
        raise ValueError(msg)
    outputs = jax.lax.stop_gradient(outputs)
    if kind == "zero":
        return jax.tree.map(jnp.zeros_like, outputs)
    if kind == "mean":
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(jnp.mean(leaf, axis=0), leaf.shape), outputs
        )
    if kind == "uniform":
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(jnp.mean(leaf, axis=-1, keepdims=True), leaf.shape),
            outputs,
        )
    count = len(jax.tree.leaves(outputs)[0])
    if count < 2:
        msg = f"Argument `outputs` must hold two samples or more, but holds {count}."
        raise ValueError(msg)
    chosen = other_samples(key, count)
    return jax.tree.map(lambda leaf: leaf[chosen], outputs)


def other_samples(key: Key, count: int) -> Int[Array, " count"]:
    """Draw, for every sample of a batch, the index of another one, uniformly."""
    return (jnp.arange(count) + jax.random.randint(key, (count,), 1, count)) % count


def sample_gradients(
    apply: Apply,
    params: PyTree,
    inputs: PyTree,
    references: PyTree,
    *,
    divergence: Divergence = squared_error,
    chunk: int | None = None,
) -> PyTree:
    """Differentiate D(f(x_i, W), y_i) with respect to W, for every sample i.

    Memory is that of `chunk` backward passes, plus the result: samples times parameters.

    Args:
        apply: `(params, x) -> output` of one sample x, e.g. `module.apply` of Flax. To decompose
            some parameters only, close over the others. To take the tokens of a sequence as
            samples, let x be a sequence and a position, and return the logits there.
        params: Pytree of floating arrays.
        inputs: Samples, leaves (samples, ...).
        references: Reference outputs, leaves (samples, ...), from `reference_outputs`.
        divergence: `(output, reference) -> scalar` of one sample.
        chunk: Samples per backward pass; all at once by default.

    Returns:
        Gradients with leaves (samples, *leaf.shape).

    Raises:
        ValueError: If `chunk` is below 1.
    """
    check_at_least(chunk=(chunk, 1))

    def slope(sample: tuple[PyTree, PyTree]) -> PyTree:
        x, reference = sample
        return jax.grad(lambda weights: divergence(apply(weights, x), reference))(params)

    if chunk is None:
        return jax.vmap(slope)((inputs, references))
    return jax.lax.map(slope, (inputs, references), batch_size=chunk)


def flat_samples(tree: PyTree) -> Float[Array, "samples size"]:
    """Join leaves (samples, ...) to one matrix, in the order of `jax.tree.leaves`."""
    leaves = jax.tree.leaves(tree)
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
