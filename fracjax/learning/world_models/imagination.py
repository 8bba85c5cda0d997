"""Imagined trajectories, their returns, and the losses of actor and critic."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import PyTree
from fracjax.learning.world_models.settings import TrainingSettings
from fracjax.rl.world_models.agent import Agent, Belief
from fracjax.rl.world_models.two_hot import two_hot_loss

__all__ = ["Imagined", "actor_loss", "critic_loss", "imagine", "lambda_returns"]


class Imagined(NamedTuple):
    """Imagined behaviour, time first.

    Attributes:
        features: What actor and critic see, (steps + 1, batch, features).
        returns: λ-returns, (steps, batch).
        weights: Discounted probabilities that the episode still goes on, (steps, batch).
    """

    features: Float[Array, "time_and_one batch features"]
    returns: Float[Array, "time batch"]
    weights: Float[Array, "time batch"]


def imagine(
    agent: Agent,
    model: PyTree,
    actor: PyTree,
    start: Belief,
    uniform: Float[Array, "time *batch groups"],
    normal: Float[Array, "time *batch action"],
) -> tuple[Belief, Float[Array, "time *batch action"]]:
    """Imagine the stochastic policy in the stochastic model.

    Returns:
        Beliefs with time first, the start included, and actions before they are clipped.
    """

    def advance(belief: Belief, noise: tuple[Array, Array]) -> tuple[Belief, tuple[Belief, Array]]:
        drawn, standard = noise
        mean, std = agent.action_moments(actor, belief.features)
        raw = mean + std * standard
        belief = agent.imagine(model, belief, jnp.clip(raw, -1, 1), drawn)
        return belief, (belief, raw)

    _, (beliefs, raws) = jax.lax.scan(advance, start, (uniform, normal))
    joined = (
        jnp.concatenate([first[None], later]) for first, later in zip(start, beliefs, strict=True)
    )
    return Belief(*joined), raws


def lambda_returns(
    rewards: Float[Array, "*shape"],
    discounts: Float[Array, "*shape"],
    values: Float[Array, "*shape"],
    return_lambda: float,
) -> Float[Array, "*shape"]:
    """Mix returns of all lengths: R_t = r_t + d_t ((1 − λ) v_t + λ R_{t+1}), R_T = v_{T−1}.

    Args:
        rewards: Reward of the step that leaves the state at t.
        discounts: Discount of that step, 0 where it terminated the episode.
        values: Value of the state that the step reaches.
        return_lambda: Weight of longer returns.
    """

    def back(later: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, value = inputs
        found = reward + discount * ((1 - return_lambda) * value + return_lambda * later)
        return found, found

    _, returns = jax.lax.scan(back, values[-1], (rewards, discounts, values), reverse=True)
    return returns


def actor_loss(
    actor: PyTree,
    agent: Agent,
    params: PyTree,
    start: Belief,
    continues: Float[Array, " batch"],
    noise: tuple[Array, Array],
    scale: Float[Array, ""],
    settings: TrainingSettings,
) -> tuple[Float[Array, ""], Imagined]:
    """Minus the normalised λ-return of imagined behaviour, and its entropy.

    Args:
        actor: Parameters of the actor: what is differentiated.
        agent: The agent.
        params: Parameters of model and critic, held fixed.
        start: Beliefs, held fixed.
        continues: 0 for beliefs of episodes that have terminated.
        noise: Uniform numbers for latents and normal ones for actions, time first.
        scale: Range of returns by which they are divided where it exceeds 1.
        settings: Settings.

    Returns:
        The loss, and what was imagined, without gradients.
    """
    fixed = jax.lax.stop_gradient
    model, critic = params["model"], params["critic"]
    beliefs, raws = imagine(agent, model, actor, fixed(start), *noise)
    features = beliefs.features
    rewards = agent.reward(model, features[1:])
    going = jax.nn.sigmoid(agent.continue_logit(model, features[1:]))
    values = agent.value(critic, features)
    returns = lambda_returns(rewards, settings.discount * going, values[1:], settings.return_lambda)
    reached = jnp.concatenate([continues[None], settings.discount * going[:-1]])
    weights = fixed(jnp.cumprod(reached, axis=0))
    divisor = jnp.maximum(scale, 1)
    if settings.actor_gradient == "dynamics":
        gain = returns / divisor
    else:
        features = fixed(features)
        density = agent.log_density(actor, features[:-1], fixed(raws))
        gain = density * fixed((returns - values[:-1]) / divisor)
    entropy = agent.entropy(actor, features[:-1])
    loss = -jnp.mean(weights * (gain + settings.entropy_weight * entropy))
    return loss, Imagined(*(fixed(part) for part in (features, returns, weights)))


def critic_loss(
    critic: PyTree, agent: Agent, slow_critic: PyTree, imagined: Imagined
) -> Float[Array, ""]:
    """Cross-entropy with λ-returns and with the running average of the critic."""
    features = imagined.features[:-1]
    logits = agent.value_logits(critic, features)
    average = jax.lax.stop_gradient(agent.value(slow_critic, features))
    loss = two_hot_loss(logits, imagined.returns, agent.centres)
    return jnp.mean(imagined.weights * (loss + two_hot_loss(logits, average, agent.centres)))
