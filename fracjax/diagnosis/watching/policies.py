"""Policies and their normalisers as parameters that move along a run."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.diagnosis.findings import Problem
from fracjax.diagnosis.policies import problem_of_policy
from fracjax.rl.environment import Environment
from fracjax.rl.networks import Normalizer, PolicyNetwork
from fracjax.rl.policies import Policy

__all__ = ["join", "moving_problem", "of_brax", "of_policy", "split"]


class _Moving(Policy):
    """A policy whose parameters are its weights together with its normaliser."""

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Choose an action; see `Policy.act`."""
        weights, normalizer = params
        return self.network.act(weights, normalizer, observation, key)


def moving_problem(
    environment: Environment,
    network: PolicyNetwork,
    key: Key,
    *,
    normalize: bool,
    dtype: str = "float64",
    discounts: Sequence[float],
    horizon: int,
    num_states: int,
    num_return_states: int = 2,
) -> Problem:
    """Pose the diagnosis of any policy of one network: parameters are (weights, normaliser).

    Args:
        environment: The simulator.
        network: The policies' network.
        key: Draws the initial states, the same along the whole run.
        normalize: Whether the policies normalise observations.
        dtype: Precision of environment and parameters. In float32 rounding can pose as
            roughness; see `Watch`.
        discounts: Discount factors.
        horizon: Steps of a return and of the tangents.
        num_states: Initial states of exponents and of the reported return.
        num_return_states: Initial states that a return of the landscape averages over.
    """
    size = network.observation_size
    normalizer = Normalizer(jnp.zeros(size, dtype), jnp.ones(size, dtype)) if normalize else None
    params = tree.astype(network.init(jax.random.key(0)), dtype), normalizer
    return problem_of_policy(
        environment,
        _Moving(network, params),
        key,
        discounts=discounts,
        horizon=horizon,
        num_states=num_states,
        num_return_states=num_return_states,
    )


def split(params: PyTree) -> tuple[PyTree, PyTree]:
    """Part parameters into weights, whose landscape is looked at, and the normaliser."""
    weights, normalizer = params
    return weights, normalizer


def join(weights: PyTree, normalizer: PyTree) -> PyTree:
    """Undo `split`."""
    return weights, normalizer


def of_policy(policy: Policy, dtype: str = "float64") -> PyTree:
    """Parameters of `moving_problem` from a policy."""
    return tree.astype((policy.params, policy.normalizer), dtype)


def of_brax(params: Any, *, normalize: bool, dtype: str = "float64") -> PyTree:
    """Parameters of `moving_problem` from Brax's: (statistics, policy, …) of PPO and SAC.

    Args:
        params: What Brax passes to `policy_params_fn`, or returns.
        normalize: Whether training normalises observations. Brax keeps statistics anyway.
        dtype: Precision to look at them in.
    """
    statistics, weights = params[:2]
    normalizer = None
    if normalize:
        normalizer = Normalizer(statistics.mean, statistics.std)
    return tree.astype(jax.tree.map(jnp.asarray, (weights, normalizer)), dtype)
