"""Penalties on the imagined dynamics: the spread of copies, and the largest exponent."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.learning.exponent_regularization.penalties import exponent_penalty, spread_penalty
from fracjax.learning.world_models.imagination import imagine
from fracjax.learning.world_models.settings import PenaltySettings, SpreadForm
from fracjax.rl.world_models.agent import Agent, Belief
from fracjax.rl.world_models.latents import LatentChoice

__all__ = ["imagined_exponent_penalty", "imagined_loop", "imagined_spread", "penalty"]


def imagined_loop(
    agent: Agent, params: PyTree, *, choice: LatentChoice = "mean"
) -> Callable[[Belief], Belief]:
    """Make the step `belief -> belief` of the deterministic policy in the imagined dynamics.

    With `choice="mean"` it is differentiable. With `"mode"` its derivative passes through the
    recurrent state alone: what a latent is does not change under a small perturbation.

    Args:
        agent: The agent.
        params: Parameters of model and actor.
        choice: How latents are taken, see `latents.choose`.
    """

    def step(belief: Belief) -> Belief:
        action = agent.act(params["actor"], belief.features)
        return agent.imagine(params["model"], belief, action, choice=choice)

    return step


def imagined_spread(
    agent: Agent,
    params: PyTree,
    starts: Belief,
    key: Key,
    *,
    copies: int = 3,
    horizon: int = 15,
    form: SpreadForm = "code",
) -> Float[Array, ""]:
    """Spread of trajectories imagined from the same beliefs: the paper's L^λ₁.

    From every belief `copies` trajectories are drawn, of stochastic policy and stochastic model.
    The spread of decoded observations (on the scale of symmetric logarithms) and that of
    recurrent states are added. It is no exponent, see `spread_penalty`.

    Args:
        agent: The agent.
        params: Parameters of model and actor.
        starts: Beliefs, stacked.
        key: Draws latents and actions.
        copies: Trajectories from each belief.
        horizon: Steps imagined.
        form: `"equation"`: variances, summed over time and components. `"code"`: standard
            deviations, averaged over both.

    Returns:
        Mean over the beliefs.
    """
    number = starts.recurrent.shape[0]
    repeated = Belief(*(jnp.repeat(part[None], copies, axis=0) for part in starts))
    first, second = jax.random.split(key)
    shape = (horizon, copies, number)
    uniform = jax.random.uniform(first, (*shape, agent.settings.groups), jnp.float32)
    normal = jax.random.normal(second, (*shape, agent.action_size), jnp.float32)
    beliefs, _ = imagine(agent, params["model"], params["actor"], repeated, uniform, normal)
    later = Belief(*(part[1:] for part in beliefs))
    decoded = agent.decode(params["model"], later.features)
    trajectories = {"decoded": decoded, "recurrent": later.recurrent}
    ordered = jax.tree.map(lambda leaf: jnp.transpose(leaf, (2, 1, 0, 3)), trajectories)
    if form == "equation":
        return jnp.mean(jax.vmap(spread_penalty)(ordered))

    def of_belief(part: PyTree) -> Array:
        return spread_penalty(part, statistic="deviation", over_components="mean") / horizon

    return jnp.mean(jax.vmap(of_belief)(ordered))


def imagined_exponent_penalty(
    agent: Agent,
    params: PyTree,
    starts: Belief,
    key: Key,
    *,
    horizon: int = 15,
    target: float = 0.0,
    choice: LatentChoice = "mean",
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Penalise the largest exponent of the imagined loop for exceeding a target.

    Tangents of (h, z) are pushed along `imagined_loop` for `horizon` steps.

    Args:
        agent: The agent.
        params: Parameters of model and actor.
        starts: Beliefs, stacked.
        key: Draws the first tangents.
        horizon: Steps.
        target: In nats per step.
        choice: How latents are taken.

    Returns:
        Mean over the beliefs of max(λ − target, 0)², and mean exponent.
    """
    step = imagined_loop(agent, params, choice=choice)
    starts = jax.lax.stop_gradient(starts)

    def of_belief(start: Belief, index: Array) -> tuple[Array, Array]:
        drawn = jax.random.fold_in(key, index)
        found = exponent_penalty(step, start, num_steps=horizon, target=target, key=drawn)
        return found.value, found.exponents[0]

    values, exponents = jax.vmap(of_belief)(starts, jnp.arange(starts.recurrent.shape[0]))
    return jnp.mean(values), jnp.mean(exponents)


def penalty(
    agent: Agent,
    params: PyTree,
    starts: Belief,
    key: Key,
    settings: PenaltySettings,
    *,
    horizon: int,
) -> Float[Array, ""]:
    """Evaluate the penalty that the settings ask for, weighted; 0 for none."""
    if settings.kind == "spread":
        spread = imagined_spread(
            agent,
            params,
            jax.lax.stop_gradient(starts),
            key,
            copies=settings.copies,
            horizon=horizon,
            form=settings.form,
        )
        return settings.weight * spread
    if settings.kind == "exponent":
        value, _ = imagined_exponent_penalty(
            agent,
            params,
            starts,
            key,
            horizon=horizon,
            target=settings.target,
            choice=settings.choice,
        )
        return settings.weight * value
    return jnp.zeros(())
