"""Whether environment and policy fit each other: shapes alone, before anything is computed."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax import tangent
from fracjax._types import PyTree
from fracjax.rl.environment import Environment

__all__ = ["check_action", "check_loop"]


def check_loop(environment: Environment, policy: Any, params: PyTree) -> None:
    """Check the sizes that an environment states, and that a policy is one for it.

    A wrong size need not fail by itself: two actions broadcast over one, and what they make of
    the state is diagnosed without a word. Traced, not run.

    Args:
        environment: The simulator.
        policy: An actor, see `rollouts.Actor`.
        params: Its parameters.

    Raises:
        ValueError: If a shape is not what the environment states, or a step gives back another
            kind of state than it takes.
    """
    # What a policy says of itself comes first: the error of its network would name no size.
    for name in ("observation_size", "action_size"):
        theirs, ours = getattr(policy, name, None), getattr(environment, name)
        if theirs is not None and theirs != ours:
            msg = (
                f"Argument `policy` must be one for `{environment.name}`, whose `{name}` is {ours},"
                f" but its own is {theirs}."
            )
            raise ValueError(msg)
    state = jax.eval_shape(environment.reset, jax.random.key(0))
    leaves = jax.tree.leaves(state)
    if not any(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        msg = "Argument `environment` must have a state with a floating leaf, but it has none."
        raise ValueError(msg)
    observation = jax.eval_shape(environment.observe, state)
    _check_vector("observe", "observation_size", environment.observation_size, observation)
    coordinates = jax.eval_shape(environment.coordinates, state)
    _check_vector("coordinates", "state_size", environment.state_size, coordinates)
    action = jax.eval_shape(policy.act, params, observation)
    check_action(environment, action)
    after = jax.eval_shape(environment.step, state, action)
    tangent.check_same_kind("Argument `environment`: `step`", state, after.state)
    for name, number in (("reward", after.reward), ("done", after.done)):
        if jnp.shape(number) != ():
            msg = (
                f"Argument `environment` must give one {name} per step, but `step` gives an array"
                f" of shape {jnp.shape(number)}."
            )
            raise ValueError(msg)


def check_action(environment: Environment, action: Array | jax.ShapeDtypeStruct) -> None:
    """Check the shape of an action.

    Raises:
        ValueError: If it is not one for the environment.
    """
    shape, wanted = _shape(action), (environment.action_size,)
    if shape != wanted:
        msg = (
            f"Argument `policy` must give actions of shape {wanted} for `{environment.name}`, but"
            f" gives {'a scalar' if shape == () else f'shape {shape}'}."
        )
        raise ValueError(msg)


def _check_vector(function: str, stated: str, size: int, found: Any) -> None:
    shape = _shape(found)
    if shape != (size,):
        msg = (
            f"Argument `environment` must give vectors of its `{stated}` = {size}, but `{function}`"
            f" gives {'a scalar' if shape == () else f'shape {shape}'}."
        )
        raise ValueError(msg)


def _shape(found: Any) -> tuple[Any, ...]:
    """Shape of an array; of anything else, such as a tuple of arrays, one that nothing has."""
    return tuple(found.shape) if hasattr(found, "shape") else (math.nan,)
