"""Policies in environments at which gradients and updates are looked at."""

import dataclasses

import jax

from fracjax._types import Key, Objective, PyTree
from fracjax.learning.gradient_estimates.subspaces import Subspace, random_subspace
from fracjax.reproduce.experiments import Size
from fracjax.rl import envs, gallery, policies, rollouts
from fracjax.rl.environment import Environment
from fracjax.rl.policies import Policy

__all__ = ["Place", "places"]

_DISCOUNT = 0.99
_DIRECTIONS = 16
_HORIZON: dict[Size, int] = {"quick": 200, "default": 500, "full": 1000}
_STATES: dict[Size, int] = {"quick": 1, "default": 2, "full": 8}


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """A policy in its environment, in float64.

    Attributes:
        name: For tables and figures.
        environment: The simulator.
        policy: Acts without noise unless asked.
        states: Initial states, stacked.
        horizon: Steps of a return.
        discount: Per step.
        objective: Its return, the mean over the states.
        subspace: A few random directions through its parameters.
    """

    name: str
    environment: Environment
    policy: Policy
    states: PyTree
    horizon: int
    discount: float
    objective: Objective
    subspace: Subspace


def places(name: str, key: Key, size: Size) -> list[Place]:
    """The trained policy that comes with the package, where there is one, and an untrained one."""
    environment = envs.make(name, dtype="float64")
    found = {}
    if name in gallery.shipped_names():
        found["trained"] = gallery.shipped(name)
        found["untrained"] = policies.untrained(found["trained"])
    else:
        found["untrained"] = policies.initialize(
            jax.random.key(0), environment.observation_size, environment.action_size
        )
    states = rollouts.initial_states(environment, key, _STATES[size])
    horizon = _HORIZON[size]
    every = []
    for kind, policy in found.items():
        policy = policy.astype("float64")
        objective = rollouts.expected_return(
            environment, policy, states, horizon=horizon, discount=_DISCOUNT
        )
        subspace = random_subspace(policy.params, jax.random.fold_in(key, 1), _DIRECTIONS)
        label = f"{name}, {kind}"
        every.append(
            Place(label, environment, policy, states, horizon, _DISCOUNT, objective, subspace)
        )
    return every
