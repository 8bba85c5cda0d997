"""Loss of the world model on replayed sequences."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import PyTree
from fracjax.learning.world_models.replay import Record
from fracjax.learning.world_models.settings import TrainingSettings
from fracjax.rl.world_models.agent import Agent, Belief
from fracjax.rl.world_models.latents import divergence
from fracjax.rl.world_models.two_hot import symlog, two_hot_loss

__all__ = ["balanced_divergence", "filter_sequences", "model_loss"]


def filter_sequences(
    agent: Agent,
    model: PyTree,
    batch: Record,
    uniform: Float[Array, "time batch groups"],
) -> tuple[Belief, Float[Array, "time batch groups classes"]]:
    """Filter sequences (batch, time, ...) from a blank belief, with drawn latents.

    Where an episode begins, belief and action are blank. A sequence that begins within an episode
    starts from a blank belief and the action that led there.

    Returns:
        Beliefs and probabilities of their latents, time first.
    """
    codes = agent.encode(model, batch.observation)

    def advance(belief: Belief, inputs: tuple) -> tuple[Belief, tuple[Belief, Array]]:
        action, code, first, drawn = inputs
        keep = (1 - first)[:, None]
        belief = Belief(*(keep * part for part in belief))
        belief, shares = agent.filter(model, belief, keep * action, code, drawn)
        return belief, (belief, shares)

    by_time = jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf, 1, 0), (batch.action, codes, batch.first)
    )
    start = agent.blank(len(batch.reward), dtype=codes.dtype)
    return jax.lax.scan(advance, start, (*by_time, uniform))[1]


def balanced_divergence(
    posterior: Float[Array, "*batch groups classes"],
    prior: Float[Array, "*batch groups classes"],
    settings: TrainingSettings,
) -> Float[Array, "*batch"]:
    """Divergence of posterior and prior, trained from both sides with different weights.

    Each side counts as `free_nats`, without gradient, where it is smaller.
    """
    fixed = jax.lax.stop_gradient
    dynamics = divergence(fixed(posterior), prior)
    representation = divergence(posterior, fixed(prior))
    free = settings.free_nats
    return settings.dynamics_weight * jnp.maximum(
        dynamics, free
    ) + settings.representation_weight * jnp.maximum(representation, free)


def model_loss(
    model: PyTree,
    agent: Agent,
    batch: Record,
    uniform: Float[Array, "time batch groups"],
    settings: TrainingSettings,
) -> tuple[Float[Array, ""], tuple[Belief, dict[str, Array]]]:
    """Negative log likelihood and divergence, averaged over steps.

    Squared error of observations on the scale of symmetric logarithms, summed over components;
    cross-entropies of the two-hot reward and of the continuation.

    Returns:
        The loss; beliefs, time first, and the parts of the loss.
    """
    beliefs, posterior = filter_sequences(agent, model, batch, uniform)
    features = beliefs.features
    target = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), batch)
    error = agent.decode(model, features) - symlog(target.observation)
    reward = two_hot_loss(agent.reward_logits(model, features), target.reward, agent.centres)
    logit = agent.continue_logit(model, features)
    ending = jax.nn.softplus(logit) - target.continues * logit
    prior = agent.prior(model, beliefs.recurrent)
    parts = {
        "observation_loss": jnp.mean(jnp.sum(error**2, axis=-1)),
        "reward_loss": jnp.mean(reward),
        "continue_loss": jnp.mean(ending),
        "divergence_loss": jnp.mean(balanced_divergence(posterior, prior, settings)),
    }
    total = jnp.sum(jnp.stack(list(parts.values())))
    return total, (beliefs, {**parts, "divergence": jnp.mean(divergence(posterior, prior))})
