"""Layer normalisation for plain parameters; Flax has `flax.linen.LayerNorm`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["layer_norm"]


def layer_norm(
    values: Float[Array, "*batch units"],
    scale: Float[Array, " units"] | None = None,
    bias: Float[Array, " units"] | None = None,
    *,
    epsilon: float = 1e-6,
) -> Float[Array, "*batch units"]:
    """Centre and scale over the last axis: (h - mean)/√(variance + ε) · scale + bias.

    Args:
        values: h, before or after the activation function; Lyle et al. norm each hidden layer.
        scale: Factors; 1 if not given.
        bias: Offsets; 0 if not given.
        epsilon: ε; Flax's 1e-6 (PyTorch has 1e-5).

    References:
        Ba et al. (2016), https://arxiv.org/abs/1607.06450.
    """
    centred = values - jnp.mean(values, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    found = centred * jax.lax.rsqrt(variance + epsilon)
    found = found if scale is None else found * scale
    return found if bias is None else found + bias
