"""Collecting records by acting, inside compiled programs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.learning.world_models.replay import Record
from fracjax.rl.environment import Environment
from fracjax.rl.rollouts import Tracked, track
from fracjax.rl.world_models.agent import Agent, Belief

__all__ = ["Stage", "begin", "collect", "held_action", "num_uniform", "random_returns"]


class Stage(NamedTuple):
    """Where one simulator and the agent in it stand.

    Attributes:
        state: State of the environment.
        record: Record of that state, not yet stored.
        belief: Belief before that record was seen.
        elapsed: Steps of the episode.
    """

    state: PyTree
    record: Record
    belief: Belief
    elapsed: Int[Array, ""]


def begin(environment: Environment, agent: Agent, key: Key) -> Stage:
    """Begin an episode."""
    state = environment.reset(key)
    zero, one = jnp.zeros((), jnp.float32), jnp.ones((), jnp.float32)
    observation = environment.observe(state).astype(jnp.float32)
    record = Record(observation, jnp.zeros(agent.action_size, jnp.float32), zero, one, one)
    return Stage(state, record, agent.blank(), jnp.zeros((), jnp.int32))


def num_uniform(agent: Agent) -> int:
    """How many uniform numbers a step of `collect` takes."""
    return agent.settings.groups + 1 + agent.action_size


def collect(
    environment: Environment,
    agent: Agent,
    params: PyTree | None,
    stages: Stage,
    uniform: Float[Array, "steps environments drawn"],
    normal: Float[Array, "steps environments action"],
    key: Key,
    *,
    episode_length: int,
    explorers: int = 0,
    hold: float = 8.0,
) -> tuple[Stage, Record]:
    """Act for some steps in several simulators.

    An episode ends with the record of its last state, after which the simulator is reset. Every
    simulator draws one initial state per call, because a reset can cost as much as many steps:
    make calls no longer than an episode.

    Args:
        environment: The simulator.
        agent: The agent.
        params: Its parameters; random actions everywhere without them.
        stages: Where the simulators stand, stacked.
        uniform: Uniform numbers for latents and random actions, `num_uniform(agent)` per step.
        normal: Standard normal numbers for actions.
        key: Draws initial states.
        episode_length: Steps after which an episode is cut.
        explorers: In how many of the simulators actions are random: uniform, and held for a
            random number of steps.
        hold: Mean of that number. Independent actions hardly move a mechanical system: of 200
            episodes of 200 steps none brought the pendulum up, and 46 with a mean of 8.

    Returns:
        Where the simulators stand, and the records (steps, environments, ...).
    """
    number, groups = stages.elapsed.shape[0], agent.settings.groups
    reset_keys = jax.random.split(key, number)
    fresh = jax.vmap(lambda reset_key: begin(environment, agent, reset_key))(reset_keys)
    explores = jnp.arange(number) < explorers

    def one(
        stage: Stage, start: Stage, drawn: Array, noise: Array, explores: Array
    ) -> tuple[Stage, Record]:
        record, belief = stage.record, stage.belief
        held = held_action(drawn[groups:], record.action, hold)
        if params is None:
            action = held
        else:
            code = agent.encode(params["model"], record.observation)
            belief, _ = agent.filter(params["model"], belief, record.action, code, drawn[:groups])
            action = agent.act(params["actor"], belief.features, noise)
            action = jnp.where(explores, held, action)
        following = _step(environment, stage, belief, action)
        over = (record.continues == 0) | (stage.elapsed >= episode_length)
        return tree.select(over, start, following), record

    def together(stages: Stage, inputs: tuple[Array, Array]) -> tuple[Stage, Record]:
        return jax.vmap(one)(stages, fresh, *inputs, explores)

    return jax.lax.scan(together, stages, (uniform, normal))


def held_action(
    drawn: Float[Array, " one_and_action"], action: Float[Array, " action"], hold: float
) -> Float[Array, " action"]:
    """Act at random: keep an action, or with probability 1/hold take another, uniform in [-1, 1].

    Args:
        drawn: Uniform numbers: whether to take another, and which.
        action: What was done before.
        hold: Mean number of steps for which an action is held.
    """
    return jnp.where(drawn[0] * hold < 1, 2 * drawn[1:] - 1, action)


def _step(environment: Environment, stage: Stage, belief: Belief, action: Array) -> Stage:
    """Step the simulator."""
    moved = environment.step(stage.state, action)
    record = Record(
        environment.observe(moved.state).astype(jnp.float32),
        action.astype(jnp.float32),
        moved.reward.astype(jnp.float32),
        jnp.zeros((), jnp.float32),
        1.0 - moved.done.astype(jnp.float32),
    )
    return Stage(moved.state, record, belief, stage.elapsed + 1)


def random_returns(
    environment: Environment, key: Key, *, horizon: int, episodes: int, hold: float = 8.0
) -> Float[Array, " episodes"]:
    """Returns of random actions, held as in `collect`: what an agent begins with.

    Args:
        environment: The simulator.
        key: Draws initial states and actions.
        horizon: Steps of an episode; nothing is paid after termination.
        episodes: How many.
        hold: Mean number of steps for which an action is held.
    """

    def episode(index: Array) -> Array:
        first, second = jax.random.split(jax.random.fold_in(key, index))
        drawn = jax.random.uniform(second, (horizon, 1 + environment.action_size), jnp.float32)
        start = track(environment.reset(first))

        def step(carry: tuple, drawn: Array) -> tuple[tuple, Array]:
            tracked, action = carry
            action = held_action(drawn, action, hold)
            moved = environment.step(tracked.state, action)
            reward = jnp.where(tracked.alive, moved.reward, 0).astype(tracked.reward.dtype)
            alive = tracked.alive & ~moved.done
            return (Tracked(moved.state, reward, alive), action), reward

        return jax.lax.scan(step, (start, jnp.zeros(environment.action_size, jnp.float32)), drawn)[
            1
        ].sum()

    return jax.jit(jax.vmap(episode))(jnp.arange(episodes))
