"""Measurements of trained world-model agents: returns under noise, exponents, model errors.

The acting loop is an environment with memory and a policy without, see
`fracjax.rl.world_models.memory`, so that `closed_loop_exponents`, `returns_under_push` and
`discounted_returns` serve it as they are. Here is what they lack: noise on the observation but not
on the memory, exponents of imagined dynamics, and errors of the model.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Estimate, Key, Leaf, PyTree
from fracjax.estimators.chaos.ensembles import ensemble_exponent
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.estimators.settings import check_at_least
from fracjax.learning.robustness.noise_curves import Curve, NoisyPolicy, noise_curve
from fracjax.learning.world_models.collecting import held_action
from fracjax.learning.world_models.penalties import imagined_loop, imagined_spread
from fracjax.learning.world_models.settings import SpreadForm
from fracjax.rl.environment import Environment
from fracjax.rl.world_models.agent import Agent, Belief
from fracjax.rl.world_models.latents import LatentChoice
from fracjax.rl.world_models.memory import FilteringPolicy, WithMemory, split_memory, with_memory
from fracjax.rl.world_models.two_hot import symlog

__all__ = [
    "ModelErrors",
    "imagined_exponents",
    "model_errors",
    "returns_under_observation_noise",
    "spread_of_imagination",
    "visited_beliefs",
]

_Beliefs: TypeAlias = Callable[[PyTree, PyTree], Belief]


def returns_under_observation_noise(
    environment: Environment,
    agent: Agent,
    *,
    choice: LatentChoice = "mode",
    horizon: int = 1000,
    discount: float = 1.0,
) -> Curve:
    """Make `(params, states, key, sigmas) -> returns`: returns under observation noise.

    As `returns_under_noise`, for an agent that filters: what it sees is o + σ z, what it remembers
    is what it made of that. The same noise is scaled for all σ and shared by all agents. Actions
    and latents are not drawn.

    Args:
        environment: The simulator, without memory.
        agent: The agent.
        choice: How latents are taken, see `latents.choose`.
        horizon: Steps of an episode.
        discount: Discount per step.

    Returns:
        A function of parameters, stacked initial states of `with_memory(environment, agent)`, a
        key and noise levels, which returns (sizes, states).

    Raises:
        ValueError: If a setting is out of range.

    References:
        Young and Pugeault (2024), https://arxiv.org/abs/2410.10674.
    """
    policy = NoisyPolicy(FilteringPolicy(agent, choice), num_noisy=agent.observation_size)
    loop = with_memory(environment, agent)
    return noise_curve(loop, policy, horizon=horizon, discount=discount)


def visited_beliefs(
    environment: Environment,
    agent: Agent,
    *,
    choice: LatentChoice = "mode",
    num_steps: int = 200,
    every: int = 10,
) -> _Beliefs:
    """Make `(params, states) -> beliefs` that the deterministic policy visits.

    Args:
        environment: The simulator, without memory.
        agent: The agent.
        choice: How latents are taken.
        num_steps: Steps of an episode; after termination the last belief stands.
        every: Steps between beliefs.

    Returns:
        A function of parameters and stacked initial states with memory, which returns beliefs
        with one leading axis of states times `num_steps // every`.
    """
    check_at_least(every=(every, 1), num_steps=(num_steps, every))
    loop, policy = with_memory(environment, agent), FilteringPolicy(agent, choice)

    def visit(params: PyTree, states: PyTree) -> Belief:
        def of_state(state: WithMemory) -> Belief:
            def step(carry: tuple, _: None) -> tuple[tuple, None]:
                state, alive = carry
                moved = loop.step(state, policy.act(params, loop.observe(state)))
                state = tree.select(alive, moved.state, state)
                return (state, alive & ~moved.done), None

            def stretch(carry: tuple, _: None) -> tuple[tuple, Belief]:
                carry, _ = jax.lax.scan(step, carry, length=every)
                return carry, split_memory(agent, carry[0].memory)[0]

            start = (state, jnp.ones((), bool))
            return jax.lax.scan(stretch, start, length=num_steps // every)[1]

        found = jax.vmap(of_state)(states)
        return Belief(*(part.reshape((-1, part.shape[-1])) for part in found))

    return visit


def imagined_exponents(
    agent: Agent,
    params: PyTree,
    starts: Belief,
    key: Key,
    *,
    horizon: int = 15,
    choice: LatentChoice = "mean",
    num_transient: int = 0,
) -> Estimate:
    """Largest exponent of the imagined closed loop, by tangents of (h, z).

    The loop is `imagined_loop`: deterministic policy, latents by `choice`. Over the few steps that
    imagination lasts it is a finite-time exponent: a random first tangent lowers it by a term in
    1/`horizon`, and it is to be compared between agents, not with zero.

    Args:
        agent: The agent.
        params: Its parameters.
        starts: Beliefs, stacked.
        key: Draws the first tangents; belief i uses `fold_in(key, i)`.
        horizon: Steps.
        choice: How latents are taken. With `"mode"` tangents pass through h alone.
        num_transient: Steps made first, not counted.

    Returns:
        Exponent in nats per step with a 95 % interval between beliefs, which are taken to be
        independent; see `ensemble_exponent`.
    """
    step = imagined_loop(agent, params, choice=choice)

    def of_belief(start: Belief, index: Array) -> Array:
        record = finite_time_growth(
            step,
            start,
            num_steps=horizon,
            num_transient=num_transient,
            key=jax.random.fold_in(key, index),
        )
        return jnp.asarray(record.growth)[:, 0]

    growth = jax.vmap(of_belief)(starts, jnp.arange(starts.recurrent.shape[0]))
    return ensemble_exponent(growth)


def spread_of_imagination(
    agent: Agent,
    params: PyTree,
    starts: Belief,
    key: Key,
    *,
    copies: int = 16,
    horizon: int = 15,
    form: SpreadForm = "code",
) -> Float[Array, ""]:
    """Spread of imagined trajectories as `imagined_spread`, with more copies than a penalty."""
    return imagined_spread(agent, params, starts, key, copies=copies, horizon=horizon, form=form)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ModelErrors:
    """Errors of the model's predictions one step ahead.

    Attributes:
        observation: Mean square of the error of the observation, on the scale of symmetric
            logarithms, over that of the change of the observation: 1 for a model that predicts
            no change.
        reward: Mean square of the error of the reward over the variance of the reward.
    """

    observation: Leaf
    reward: Leaf


def model_errors(
    environment: Environment,
    agent: Agent,
    *,
    num_steps: int = 200,
    hold: float = 8.0,
) -> Callable[[PyTree, PyTree, Key], ModelErrors]:
    """Make `(params, states, key) -> ModelErrors` along random actions.

    The agent filters what happens under random actions, which are held as in `collect`, and
    predicts every next observation and reward with the most likely latents.

    Args:
        environment: The simulator, without memory.
        agent: The agent.
        num_steps: Steps from each state; those after termination do not count.
        hold: Mean number of steps for which an action is held.

    Returns:
        A function of parameters, stacked states of `environment`, and a key.
    """
    check_at_least(num_steps=(num_steps, 2))

    def errors(params: PyTree, states: PyTree, key: Key) -> ModelErrors:
        model = params["model"]

        def of_state(state: PyTree, index: Array) -> tuple[Array, ...]:
            own = jax.random.fold_in(key, index)
            uniform = jax.random.uniform(own, (num_steps, 1 + agent.action_size), jnp.float32)

            def step(carry: tuple, drawn: Array) -> tuple[tuple, tuple]:
                state, belief, action, alive = carry
                seen = environment.observe(state)
                belief, _ = agent.filter(model, belief, action, agent.encode(model, seen))
                action = held_action(drawn, action, hold)
                moved = environment.step(state, action)
                features = agent.imagine(model, belief, action).features
                arrived = symlog(environment.observe(moved.state))
                wrong = agent.decode(model, features) - arrived
                amiss = agent.reward(model, features) - moved.reward
                change = arrived - symlog(seen)
                carry = (moved.state, belief, action, alive & ~moved.done)
                return carry, (wrong, change, amiss, moved.reward, alive)

            action = jnp.zeros(agent.action_size, jnp.float32)
            start = (state, agent.blank(), action, jnp.ones((), bool))
            return jax.lax.scan(step, start, uniform)[1]

        number = len(jax.tree.leaves(states)[0])
        wrong, change, amiss, rewards, alive = jax.vmap(of_state)(states, jnp.arange(number))

        def mean(values: Array) -> Array:
            counted = alive[..., None] if values.ndim == 3 else alive
            return jnp.sum(jnp.where(counted, values, 0)) / jnp.sum(alive)

        return ModelErrors(
            observation=mean(wrong**2) / mean(change**2),
            reward=mean(amiss**2) / (mean(rewards**2) - mean(rewards) ** 2),
        )

    return errors
