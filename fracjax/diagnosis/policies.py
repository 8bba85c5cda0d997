"""Pose the diagnosis of a policy in an environment."""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, Objective, PyTree
from fracjax.diagnosis.findings import Problem
from fracjax.rl.environment import Environment
from fracjax.rl.loop_checks import check_loop
from fracjax.rl.policies import Policy
from fracjax.rl.rollouts import (
    discounted_returns,
    initial_states,
    lift_tracked,
    track,
    tracked_loop,
)

__all__ = ["problem_of_policy"]


def problem_of_policy(
    environment: Environment,
    policy: Policy,
    key: Key,
    *,
    discounts: Sequence[float] = (0.99, 0.9),
    horizon: int = 1000,
    num_return_states: int = 2,
    num_states: int = 16,
    stochastic: bool = False,
    reference: tuple[Environment, Policy] | None = None,
) -> Problem:
    """Make the closed loop and the discounted returns of a policy.

    Args:
        environment: The simulator.
        policy: The policy; its parameters are the centre of the landscape.
        key: Draws the initial states: state i comes from `fold_in(key, i)`.
        discounts: Discount factors.
        horizon: Steps of a return and of the tangents.
        num_return_states: Initial states that the return averages over: the first of
            those of the exponents.
        num_states: Initial states of the Lyapunov exponents.
        stochastic: Whether the returns are of the stochastic policy, with the same noise
            at all parameters; the exponents are of the deterministic one.
        reference: The same environment and policy in float64, for the noise floor of a
            deterministic policy.

    Raises:
        ValueError: If policy and environment do not fit each other, or a size that the
            environment states is not that of its arrays.
    """
    check_loop(environment, policy, policy.params)
    states = initial_states(environment, key, num_states)

    def objective(environment: Environment, starts: PyTree) -> Objective:
        returns = discounted_returns(
            environment, policy, horizon=horizon, discounts=discounts, stochastic=stochastic
        )

        def evaluate(params: PyTree, key: Key) -> Float[Array, " discounts"]:
            return returns(params, starts, key)

        return evaluate

    starts = jax.tree.map(lambda leaf: leaf[:num_return_states], states)
    precise = None
    if reference is not None:
        with jax.enable_x64(True):
            # The same states: float64 draws others from the same key.
            precise = objective(reference[0], tree.astype(starts, "float64")), reference[1].params
    return Problem(
        step=tracked_loop(environment, policy, policy.params),
        states=jax.vmap(track)(states),
        objective=objective(environment, starts),
        params=policy.params,
        discounts=tuple(discounts),
        dt=environment.dt,
        horizon=horizon,
        coordinates=lambda tracked: environment.coordinates(tracked.state),
        lift=lift_tracked(environment),
        alive=lambda tracked: tracked.alive,
        observable=lambda tracked: tracked.reward,
        reference=precise,
        step_at=lambda params: tracked_loop(environment, policy, params),
    )
