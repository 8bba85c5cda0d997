"""Pulling parameters to zero or to where they began, and Adam with settings that stay stable."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from fracjax._types import PyTree

__all__ = ["InitialParameters", "l2_to_init", "plain_adam", "tuned_adam", "weight_decay"]

_EPSILON = 1e-9  # Lyle et al.'s in both settings


class InitialParameters(NamedTuple):
    """State of `l2_to_init`.

    Attributes:
        params: The parameters at `init`.
    """

    params: PyTree


def weight_decay(
    strength: float | Float[Array, ""], *, kernels_only: bool = True
) -> optax.GradientTransformation:
    """Add strength · θ to the updates: Optax's `add_decayed_weights`, with a mask.

    Decoupled decay stands between the preconditioner and the learning rate,

        optax.chain(optax.scale_by_adam(), weight_decay(1e-5), optax.scale_by_learning_rate(lr))

    and shrinks by lr · strength per update. Before Adam it is the gradient of the penalty
    strength · ‖θ‖²/2, which Adam rescales. Lyle et al. use 1e-5; which of the two is not said.

    Args:
        strength: The strength.
        kernels_only: Whether leaves of fewer than two axes (biases, norms) are left alone.

    References:
        Loshchilov and Hutter (2019), https://arxiv.org/abs/1711.05101.
    """
    mask = _is_kernel if kernels_only else None
    return optax.add_decayed_weights(strength, mask=mask)


def l2_to_init(
    strength: float | Float[Array, ""], *, kernels_only: bool = False
) -> optax.GradientTransformation:
    """Add strength · (θ - θ_0) to the updates, θ_0 the parameters that `init` saw.

    Before the optimiser it is the gradient of strength · ‖θ - θ_0‖²/2; the paper's penalty
    λ‖θ - θ_0‖² is strength 2 λ there. After it, before the learning rate, it is decoupled as in
    `weight_decay`. Keeps one copy of the parameters.

    Args:
        strength: The strength.
        kernels_only: Whether leaves of fewer than two axes are left alone.

    Raises:
        ValueError: By `update`, if it is given no parameters.

    References:
        Kumar et al. (2023), https://arxiv.org/abs/2308.11958.
    """

    def init(params: PyTree) -> InitialParameters:
        return InitialParameters(jax.tree.map(jnp.asarray, params))

    def update(
        updates: PyTree, state: InitialParameters, params: PyTree | None = None
    ) -> tuple[PyTree, InitialParameters]:
        if params is None:
            msg = "Argument `params` must be given to `update`, but is None."
            raise ValueError(msg)

        def pull(by: Array, here: Array, start: Array) -> Array:
            if kernels_only and jnp.ndim(here) < 2:
                return by
            return (by + strength * (here - start)).astype(by.dtype)

        return jax.tree.map(pull, updates, params, state.params), state

    return optax.GradientTransformation(init, update)


def tuned_adam(
    learning_rate: float | Float[Array, ""] | optax.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.9,
    eps: float = _EPSILON,
    eps_root: float = 1e-3,
) -> optax.GradientTransformationExtraArgs:
    """Adam that does not diverge when the task changes: b2 = .9 and a constant under the root.

    The step is lr · m̂/(√(v̂ + eps_root) + eps). With b1 = b2 both moments are averages with the
    same weights, so that by Jensen's inequality no step is longer than the learning rate. For
    `plain_adam` the bound is (1 - b1)/√((1 - b2)(1 - b1²/b2)) = 7.3 learning rates (Cauchy and
    Schwarz, after the first few updates), and 6.6 of them happen 12 updates after a gradient that
    was zero for long jumps to a constant. With eps_root gradients below .03 are no longer blown up
    to full steps, so that learning from small ones is slower as well.

    Args:
        learning_rate: Learning rate or schedule.
        b1: Decay of the first moment.
        b2: Decay of the second moment.
        eps: Added to the root.
        eps_root: Added under the root.

    References:
        Lyle et al. (2023), https://arxiv.org/abs/2303.01486, figure 1.
    """
    return optax.adam(learning_rate, b1=b1, b2=b2, eps=eps, eps_root=eps_root)


def plain_adam(
    learning_rate: float | Float[Array, ""] | optax.Schedule,
) -> optax.GradientTransformationExtraArgs:
    """Adam as Lyle et al. take it for the default: b1 = .9, b2 = .999, eps = 1e-9, eps_root = 0.

    Args:
        learning_rate: Learning rate or schedule.
    """
    return optax.adam(learning_rate, b1=0.9, b2=0.999, eps=_EPSILON, eps_root=0.0)


def _is_kernel(params: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)
