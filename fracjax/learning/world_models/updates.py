"""One update of model, actor and critic, and the state that training carries."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.learning.world_models.collecting import Stage, begin, collect, num_uniform
from fracjax.learning.world_models.imagination import actor_loss, critic_loss
from fracjax.learning.world_models.model_loss import model_loss
from fracjax.learning.world_models.penalties import penalty
from fracjax.learning.world_models.replay import Replay, append, empty, sample
from fracjax.learning.world_models.settings import TrainingSettings
from fracjax.rl.environment import Environment
from fracjax.rl.world_models.agent import Agent, Belief

__all__ = ["TrainingState", "start", "update"]


class TrainingState(NamedTuple):
    """All that a run of one seed needs to go on.

    Attributes:
        params: Parameters of the agent.
        slow_critic: Running average of the critic's.
        optimizers: States of Adam, by part of the agent.
        scale: Running range of imagined returns.
        replay: What was collected.
        stages: Where the simulators stand.
        updates: Updates done.
        key: Key of the run; update i draws from `fold_in(key, i)`.
    """

    params: PyTree
    slow_critic: PyTree
    optimizers: dict[str, Any]
    scale: Float[Array, ""]
    replay: Replay
    stages: Stage
    updates: Int[Array, ""]
    key: Key


def start(
    environment: Environment, agent: Agent, settings: TrainingSettings, key: Key
) -> TrainingState:
    """Draw parameters and collect the first records with random actions."""
    drawn = jax.random.split(key, 4)
    params = agent.init(drawn[0])
    reset_keys = jax.random.split(drawn[1], settings.environments)
    stages = jax.vmap(lambda reset_key: begin(environment, agent, reset_key))(reset_keys)

    calls = -(-settings.prefill // settings.collected)

    def explore(stages: Stage, index: Array) -> tuple[Stage, Any]:
        shape = (settings.collected, settings.environments)
        first, second = jax.random.split(jax.random.fold_in(drawn[2], index))
        return collect(
            environment,
            agent,
            None,
            stages,
            jax.random.uniform(first, (*shape, num_uniform(agent)), jnp.float32),
            jnp.zeros((*shape, agent.action_size), jnp.float32),
            second,
            episode_length=settings.episode_length,
            hold=settings.hold,
        )

    stages, records = jax.lax.scan(explore, stages, jnp.arange(calls))
    records = jax.tree.map(lambda leaf: leaf.reshape((-1, *leaf.shape[2:])), records)
    kept = jax.tree.map(lambda leaf: leaf[-settings.replay_length :], records)
    blank = empty(
        settings.replay_length,
        settings.environments,
        agent.observation_size,
        agent.action_size,
    )
    return TrainingState(
        params=params,
        slow_critic=params["critic"],
        optimizers={
            name: _optimizer(name, settings).init(ravel_pytree(params[name])[0]) for name in params
        },
        scale=jnp.zeros((), jnp.float32),
        replay=append(blank, kept),
        stages=stages,
        updates=jnp.zeros((), jnp.int32),
        key=drawn[3],
    )


def update(
    environment: Environment, agent: Agent, settings: TrainingSettings, state: TrainingState
) -> tuple[TrainingState, dict[str, Float[Array, ""]]]:
    """Collect a few steps, then train model, actor and critic once.

    Returns:
        The next state, and the parts of the losses.
    """
    keys = jax.random.split(jax.random.fold_in(state.key, state.updates), 4)
    params, sizes, horizon = dict(state.params), agent.settings, settings.imagination_horizon
    many, few = settings.imagined_starts, settings.penalty.starts
    acting = (settings.collected, settings.environments)
    batch_shape = (settings.batch_length, settings.batch_size)
    drawn = _cut(
        jax.random.uniform,
        keys[0],
        (*acting, num_uniform(agent)),
        (2, settings.batch_size),
        (*batch_shape, sizes.groups),
        (max(many, few),),
        (horizon, many, sizes.groups),
    )
    normal = _cut(
        jax.random.normal,
        keys[1],
        (*acting, agent.action_size),
        (horizon, many, agent.action_size),
    )
    stages, records = collect(
        environment,
        agent,
        params,
        state.stages,
        drawn[0],
        normal[0],
        keys[2],
        episode_length=settings.episode_length,
        explorers=settings.explorers,
        hold=settings.hold,
    )
    replay = append(state.replay, records)
    batch = sample(replay, drawn[1], length=settings.batch_length)

    (_, (beliefs, metrics)), slope = jax.value_and_grad(model_loss, has_aux=True)(
        params["model"], agent, batch, drawn[2], settings
    )
    optimizers = dict(state.optimizers)
    params["model"], optimizers["model"] = _apply("model", slope, params, optimizers, settings)

    starts, continues = _starts(beliefs, batch.continues, drawn[3])
    noise = (drawn[4], normal[1])

    def behaviour_loss(actor: PyTree) -> tuple[Array, Any]:
        loss, imagined = actor_loss(
            actor,
            agent,
            params,
            Belief(*(part[:many] for part in starts)),
            continues[:many],
            noise,
            state.scale,
            settings,
        )
        added = penalty(
            agent,
            {**params, "actor": actor},
            Belief(*(part[:few] for part in starts)),
            keys[3],
            settings.penalty,
            horizon=horizon,
        )
        return loss + added, (imagined, loss, added)

    (_, (imagined, loss, added)), slope = jax.value_and_grad(behaviour_loss, has_aux=True)(
        params["actor"]
    )
    slope_critic = jax.grad(critic_loss)(params["critic"], agent, state.slow_critic, imagined)
    norm = tree.norm(slope)
    params["actor"], optimizers["actor"] = _apply("actor", slope, params, optimizers, settings)
    params["critic"], optimizers["critic"] = _apply(
        "critic", slope_critic, params, optimizers, settings
    )
    low, high = jnp.quantile(imagined.returns, jnp.asarray([0.05, 0.95], jnp.float32))
    decay = jnp.where(state.updates == 0, 0.0, settings.percentile_decay).astype(jnp.float32)
    metrics = {
        **metrics,
        "actor_loss": loss,
        "actor_gradient": norm,
        "penalty": added,
        "imagined_return": imagined.returns.mean(),
    }
    following = TrainingState(
        params=params,
        slow_critic=optax.incremental_update(
            params["critic"], state.slow_critic, settings.slow_critic_rate
        ),
        optimizers=optimizers,
        scale=decay * state.scale + (1 - decay) * (high - low),
        replay=replay,
        stages=stages,
        updates=state.updates + 1,
        key=state.key,
    )
    return following, metrics


def _starts(
    beliefs: Belief, continues: Float[Array, "batch time"], uniform: Float[Array, " starts"]
) -> tuple[Belief, Float[Array, " starts"]]:
    """Draw beliefs of a batch, with replacement, and their continuation."""
    flat = Belief(*(part.reshape((-1, part.shape[-1])) for part in beliefs))
    number = flat.recurrent.shape[0]
    chosen = jnp.minimum((uniform * number).astype(jnp.int32), number - 1)
    going = jnp.moveaxis(continues, 1, 0).reshape(-1)
    return Belief(*(part[chosen] for part in flat)), going[chosen]


def _cut(draw: Callable[..., Array], key: Key, *shapes: tuple[int, ...]) -> list[Array]:
    """Cut one draw into arrays: every draw costs a generator to compile."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = jnp.split(draw(key, (int(ends[-1]),), jnp.float32), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _optimizer(name: str, settings: TrainingSettings) -> optax.GradientTransformation:
    rates = {
        "model": settings.model_rate,
        "actor": settings.actor_rate,
        "critic": settings.critic_rate,
    }
    clip = optax.clip_by_global_norm(settings.largest_gradient)
    return optax.chain(clip, optax.adam(rates[name]))


def _apply(
    name: str, slope: PyTree, params: PyTree, optimizers: dict[str, Any], settings: TrainingSettings
) -> tuple[PyTree, Any]:
    """Adam's step of one part, on one flat vector: every leaf costs a dozen operations."""
    flat, restore = ravel_pytree(params[name])
    gradient, _ = ravel_pytree(slope)
    step, following = _optimizer(name, settings).update(gradient, optimizers[name], flat)
    return restore(flat + step), following
