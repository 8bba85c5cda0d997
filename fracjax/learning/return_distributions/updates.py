"""Single updates of a policy's parameters, `update(params, key) -> params`.

Any function of that form will do, one step of a user's own trainer as well: the key stands for
the minibatch and the noise.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.gradient_estimates.samplers import GradientSampler

__all__ = ["Update", "gaussian_update", "gradient_update"]

Update: TypeAlias = Callable[[PyTree, Key], PyTree]


def gradient_update(
    sampler: GradientSampler,
    optimizer: optax.GradientTransformation,
    *,
    num_samples: int,
    state: PyTree | None = None,
    batch_size: int | None = None,
) -> Update:
    """Make an update that ascends the mean of some gradient samples with an Optax optimiser.

    With `score_function_gradient` it is a policy-gradient step on a minibatch of episodes, with
    `smoothed_gradient` a step of an evolution strategy.

    Args:
        sampler: Draws one sample of the gradient of what shall grow.
        optimizer: Optax transformation; gradients are handed to it with the sign that makes its
            step an ascent.
        num_samples: Samples in the minibatch.
        state: State of the optimiser at `params`; a fresh one if not given. A fresh Adam moves
            every parameter by the learning rate, whatever the size of the gradient: a step of
            a running training needs that training's state.
        batch_size: Samples that are drawn together; all if not given.

    Raises:
        ValueError: If a number is out of range.
    """
    together = num_samples if batch_size is None else batch_size
    check_at_least(num_samples=(num_samples, 1), batch_size=(together, 1))

    def update(params: PyTree, key: Key) -> PyTree:
        def draw(number: Array) -> PyTree:
            return sampler(params, jax.random.fold_in(key, number))

        samples = jax.lax.map(draw, jnp.arange(num_samples), batch_size=together)
        descent = jax.tree.map(lambda leaf: -leaf.mean(axis=0), samples)
        before = optimizer.init(params) if state is None else state
        steps, _ = optimizer.update(descent, before, params)
        return optax.apply_updates(params, steps)

    return update


def gaussian_update(scale: float | Float[Array, ""]) -> Update:
    """Make an update by Gaussian noise of a standard deviation per parameter: no learning."""

    def update(params: PyTree, key: Key) -> PyTree:
        return tree.add_scaled(params, scale, tree.random_normal(key, params))

    return update
