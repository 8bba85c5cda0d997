"""Exponent penalties of closed loops, and losses that contain them."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Key, PyTree
from fracjax.learning.exponent_regularization.penalties import ExponentPenalty, exponent_penalty
from fracjax.rl.environment import Environment
from fracjax.rl.rollouts import Actor, lift_tracked, track, tracked_loop

__all__ = ["closed_loop_penalty", "regularized_loss"]

_Penalty: TypeAlias = Callable[..., ExponentPenalty]
_Loss: TypeAlias = Callable[[PyTree, Key], Float[Array, ""]]


def closed_loop_penalty(environment: Environment, policy: Actor, **settings: Any) -> _Penalty:
    """Make `(params, states, key, alive=None) -> ExponentPenalty` of an environment and a policy.

    The mean over the given states of the penalty on the exponents from each of them; the
    exponents are means over states, and status the worst. The gradient with respect to the
    parameters can be added to that of any loss. State i takes its frame from
    `fold_in(key, i)`.

    Args:
        environment: Differentiable.
        policy: Acts without noise.
        **settings: Settings of `exponent_penalty` but `step`, `state`, `key`, `coordinates`,
            `lift`, `alive` and `inputs`.

    Returns:
        A function of parameters, stacked states, a key and which of them count (all of them if
        not given). States are where windows start: those that the policy visits, or its initial
        states. `state` in the result holds the stacked states that the windows ended in.
    """
    lift = lift_tracked(environment)

    def penalty(
        params: PyTree, states: PyTree, key: Key, alive: Bool[Array, " states"] | None = None
    ) -> ExponentPenalty:
        step = tracked_loop(environment, policy, params)
        count = len(jax.tree.leaves(states)[0])
        living = jnp.ones(count, bool) if alive is None else alive

        def of_state(state: PyTree, index: Array, counts: Array) -> ExponentPenalty:
            return exponent_penalty(
                step,
                track(state)._replace(alive=counts),
                key=jax.random.fold_in(key, index),
                coordinates=lambda tracked: environment.coordinates(tracked.state),
                lift=lift,
                alive=lambda tracked: tracked.alive,
                **settings,
            )

        found = jax.vmap(of_state)(states, jnp.arange(count), living)
        used = jnp.maximum(jnp.sum(found.steps > 0), 1)
        exponents = jnp.where(found.steps[:, None] > 0, found.exponents, 0)
        return ExponentPenalty(
            value=found.value.sum() / used,
            exponents=exponents.sum(axis=0) / used,
            steps=found.steps.sum(),
            status=found.status.max(axis=0),
            state=found.state.state,
        )

    return penalty


def regularized_loss(
    loss: _Loss, penalty: Callable[[PyTree, Key], Array | ExponentPenalty], weight: float | Array
) -> Callable[[PyTree, Key], tuple[Float[Array, ""], dict[str, Any]]]:
    """Add a weighted penalty to a loss: `loss(params, key) + weight · penalty(params, key)`.

    For any Optax loop: `jax.value_and_grad(regularized, has_aux=True)`. Loss and penalty get
    the same key folded with 0 and 1.

    Args:
        loss: The task's loss.
        penalty: A scalar of parameters and key, or an `ExponentPenalty`.
        weight: Weight of the penalty.

    Returns:
        A function of parameters and key that returns the sum and its parts: `loss`, `penalty`
        and, where known, `exponents`.
    """

    def regularized(params: PyTree, key: Key) -> tuple[Float[Array, ""], dict[str, Any]]:
        task = loss(params, jax.random.fold_in(key, 0))
        found = penalty(params, jax.random.fold_in(key, 1))
        parts: dict[str, Any] = {"loss": task}
        if isinstance(found, ExponentPenalty):
            parts |= {"penalty": found.value, "exponents": found.exponents}
        else:
            parts["penalty"] = found
        return task + weight * parts["penalty"], parts

    return regularized
