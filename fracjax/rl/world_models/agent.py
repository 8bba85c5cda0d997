"""The agent as pure functions of its parameters: filter, imagine, act, value.

All functions act on the last axes and broadcast over leading ones.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.rl.world_models import latents
from fracjax.rl.world_models.latents import LatentChoice
from fracjax.rl.world_models.networks import MLP, AgentSettings, WorldModelNetwork
from fracjax.rl.world_models.two_hot import bin_centres, expected_value, symlog

__all__ = ["Agent", "Belief"]


class Belief(NamedTuple):
    """State of the world model.

    Attributes:
        recurrent: Recurrent state h.
        latent: Latent z, all groups side by side.
    """

    recurrent: Float[Array, "*batch deterministic"]
    latent: Float[Array, "*batch stochastic"]

    @property
    def features(self) -> Float[Array, "*batch features"]:
        """What heads, actor and critic see."""
        return jnp.concatenate(self, axis=-1)


@dataclasses.dataclass(frozen=True)
class Agent:
    """The static part of a world-model agent: sizes, no arrays.

    Parameters are a dictionary with the entries `model`, `actor` and `critic`.

    Attributes:
        observation_size: Length of an observation.
        action_size: Length of an action.
        settings: Sizes of the networks.
    """

    observation_size: int
    action_size: int
    settings: AgentSettings = dataclasses.field(default_factory=AgentSettings)

    def init(self, key: Key) -> PyTree:
        """Draw float32 parameters: normal kernels of variance 1/inputs, no biases.

        Outputs of reward and critic start at zero, as in Dreamer V3. All numbers are of one draw.
        """
        features = jnp.zeros(self.settings.deterministic + self.settings.stochastic, jnp.float32)
        observation = jnp.zeros(self.observation_size, jnp.float32)
        action = jnp.zeros(self.action_size, jnp.float32)

        def parts(key: Key) -> PyTree:
            return {
                "model": self._model.init(key, observation, action),
                "actor": self._actor.init(key, features),
                "critic": self._critic.init(key, features),
            }

        shapes = jax.eval_shape(parts, key)
        like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        drawn = tree.random_normal(key, like)

        def scaled(path: tuple, leaf: Array) -> Array:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if name.endswith("scale"):
                return jnp.ones_like(leaf)
            silent = name.endswith("output/kernel") and ("critic" in name or "reward_head" in name)
            if silent or name.endswith("bias"):
                return jnp.zeros_like(leaf)
            return leaf / math.sqrt(leaf.shape[0])

        return jax.tree_util.tree_map_with_path(scaled, drawn)

    def blank(self, *batch: int, dtype: jnp.dtype | str = "float32") -> Belief:
        """The belief before anything was observed: zeros."""
        sizes = self.settings
        return Belief(
            jnp.zeros((*batch, sizes.deterministic), dtype),
            jnp.zeros((*batch, sizes.stochastic), dtype),
        )

    def encode(self, model: PyTree, observation: Float[Array, "*batch n"]) -> Array:
        """Embed observations, to be given to `filter`."""
        return self._call(model, "encode", symlog(observation))

    def advance(
        self, model: PyTree, belief: Belief, action: Float[Array, "*batch action"]
    ) -> Float[Array, "*batch deterministic"]:
        """Next recurrent state."""
        return self._call(model, "advance", *belief, action)

    def prior(self, model: PyTree, recurrent: Array) -> Float[Array, "*batch groups classes"]:
        """Probabilities of the latent before its observation is seen."""
        return self._shares(self._call(model, "prior", recurrent))

    def posterior(
        self, model: PyTree, recurrent: Array, code: Array
    ) -> Float[Array, "*batch groups classes"]:
        """Probabilities of the latent given the embedded observation."""
        return self._shares(self._call(model, "posterior", recurrent, code))

    def filter(
        self,
        model: PyTree,
        belief: Belief,
        action: Float[Array, "*batch action"],
        code: Array,
        uniform: Float[Array, "*batch groups"] | None = None,
        *,
        choice: LatentChoice = "mode",
    ) -> tuple[Belief, Float[Array, "*batch groups classes"]]:
        """Take an action and see what comes.

        Args:
            model: Parameters of the model.
            belief: Belief before the action.
            action: The action.
            code: Embedded observation after it.
            uniform: Draws the latent; without it the latent is chosen by `choice`.
            choice: See `latents.choose`.

        Returns:
            The next belief and the probabilities its latent came from.
        """
        recurrent = self.advance(model, belief, action)
        shares = self.posterior(model, recurrent, code)
        return Belief(recurrent, self._latent(shares, uniform, choice)), shares

    def imagine(
        self,
        model: PyTree,
        belief: Belief,
        action: Float[Array, "*batch action"],
        uniform: Float[Array, "*batch groups"] | None = None,
        *,
        choice: LatentChoice = "mode",
    ) -> Belief:
        """Take an action and imagine what comes; arguments as for `filter`."""
        recurrent = self.advance(model, belief, action)
        shares = self.prior(model, recurrent)
        return Belief(recurrent, self._latent(shares, uniform, choice))

    def decode(self, model: PyTree, features: Array) -> Float[Array, "*batch n"]:
        """Predict the observation, on the scale of symmetric logarithms."""
        return self._call(model, "decode", features)

    def reward_logits(self, model: PyTree, features: Array) -> Float[Array, "*batch bins"]:
        """Logits over `centres` of the reward paid on arriving."""
        return self._call(model, "reward", features)

    def reward(self, model: PyTree, features: Array) -> Float[Array, "*batch"]:
        """Predict the reward paid on arriving."""
        return expected_value(self.reward_logits(model, features), self.centres)

    def continue_logit(self, model: PyTree, features: Array) -> Float[Array, "*batch"]:
        """Logit of the episode not having terminated on arriving."""
        return self._call(model, "continuing", features)

    def action_moments(self, actor: PyTree, features: Array) -> tuple[Array, Array]:
        """Mean, inside (-1, 1), and standard deviation of the action before it is clipped."""
        outputs = self._actor.apply(actor, features)
        assert isinstance(outputs, jax.Array)  # and not a pair with mutated collections
        mean, raw = jnp.split(outputs, 2, axis=-1)
        low, high = self.settings.smallest_std, self.settings.largest_std
        return jnp.tanh(mean), low + (high - low) * jax.nn.sigmoid(raw + 2)

    def act(
        self, actor: PyTree, features: Array, normal: Float[Array, "*batch action"] | None = None
    ) -> Float[Array, "*batch action"]:
        """Action in [-1, 1]: the mean, or with standard normal noise a clipped draw."""
        mean, std = self.action_moments(actor, features)
        return mean if normal is None else jnp.clip(mean + std * normal, -1, 1)

    def log_density(
        self, actor: PyTree, features: Array, raw: Float[Array, "*batch action"]
    ) -> Float[Array, "*batch"]:
        """Log density of an action before it was clipped."""
        mean, std = self.action_moments(actor, features)
        terms = -0.5 * ((raw - mean) / std) ** 2 - jnp.log(std) - 0.5 * math.log(2 * math.pi)
        return jnp.sum(terms, axis=-1)

    def entropy(self, actor: PyTree, features: Array) -> Float[Array, "*batch"]:
        """Entropy of the action before it is clipped, in nats."""
        _, std = self.action_moments(actor, features)
        return jnp.sum(jnp.log(std) + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def value_logits(self, critic: PyTree, features: Array) -> Float[Array, "*batch bins"]:
        """Logits over `centres` of the return from here."""
        logits = self._critic.apply(critic, features)
        assert isinstance(logits, jax.Array)
        return logits

    def value(self, critic: PyTree, features: Array) -> Float[Array, "*batch"]:
        """Predict the return from here."""
        return expected_value(self.value_logits(critic, features), self.centres)

    @property
    def centres(self) -> np.ndarray:
        """Bins of reward and critic."""
        return bin_centres(self.settings.bins, self.settings.bin_limit)

    def _latent(self, shares: Array, uniform: Array | None, choice: LatentChoice) -> Array:
        taken = latents.choose(shares, choice) if uniform is None else latents.draw(shares, uniform)
        return taken.reshape(*taken.shape[:-2], self.settings.stochastic)

    def _shares(self, logits: Array) -> Array:
        return latents.probabilities(logits, self.settings.uniform_mix)

    def _call(self, model: PyTree, method: str, *inputs: Array) -> Array:
        outputs = self._model.apply(model, *inputs, method=method)
        assert isinstance(outputs, jax.Array)
        return outputs

    @property
    def _model(self) -> WorldModelNetwork:
        return WorldModelNetwork(self.observation_size, self.settings)

    @property
    def _actor(self) -> MLP:
        return MLP(self.settings.hidden, self.settings.layers, 2 * self.action_size)

    @property
    def _critic(self) -> MLP:
        return MLP(self.settings.hidden, self.settings.layers, self.settings.bins)
