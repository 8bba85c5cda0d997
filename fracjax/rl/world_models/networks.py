"""Flax modules of the world model, the actor and the critic."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float

__all__ = ["MLP", "AgentSettings", "WorldModelNetwork"]


@dataclasses.dataclass(frozen=True)
class AgentSettings:
    """Sizes of an agent, named as in Dreamer V3 where there is a counterpart.

    Kept from Dreamer V3: `uniform_mix`, the exponentially spaced bins of reward and critic, the
    normal actions with a mean inside (-1, 1) and bounds of their standard deviation, SiLU
    activations after RMS normalisation, a normalised recurrent unit, and outputs of reward and
    critic that start at zero. Changed: every size, fewer bins on a narrower range (255 on ±20),
    and a recurrent matrix that is not cut in blocks.

    Attributes:
        deterministic: Length of the recurrent state.
        hidden: Width of hidden layers.
        layers: Hidden layers of encoder, decoder, actor, critic and heads.
        groups: Categorical variables of a latent.
        classes: Values of each.
        uniform_mix: Share of the uniform distribution in every latent.
        bins: Bins of reward and critic; odd.
        bin_limit: Symmetric logarithm of the last bin.
        smallest_std: Least standard deviation of an action before it is clipped.
        largest_std: Greatest.
    """

    deterministic: int = 64
    hidden: int = 64
    layers: int = 1
    groups: int = 8
    classes: int = 8
    uniform_mix: float = 0.01
    bins: int = 81
    bin_limit: float = 10.0
    smallest_std: float = 0.1
    largest_std: float = 1.0

    def __post_init__(self) -> None:
        for name in ("deterministic", "hidden", "layers", "groups"):
            if getattr(self, name) < 1:
                msg = f"Argument `{name}` must be at least 1, but is {getattr(self, name)}."
                raise ValueError(msg)
        if self.classes < 2:
            msg = f"Argument `classes` must be at least 2, but is {self.classes}."
            raise ValueError(msg)
        if not 0 <= self.uniform_mix < 1:
            msg = f"Argument `uniform_mix` must lie in [0, 1), but is {self.uniform_mix}."
            raise ValueError(msg)
        if not 0 < self.smallest_std <= self.largest_std:
            msg = (
                "Argument `smallest_std` must be positive and at most `largest_std`, but they are"
                f" {self.smallest_std} and {self.largest_std}."
            )
            raise ValueError(msg)
        if self.bins < 3 or self.bins % 2 == 0:
            msg = f"Argument `bins` must be odd and at least 3, but is {self.bins}."
            raise ValueError(msg)

    @property
    def stochastic(self) -> int:
        """Length of a latent."""
        return self.groups * self.classes


class MLP(linen.Module):
    """Dense layers, each followed by RMS normalisation and SiLU, and a linear output.

    Attributes:
        hidden: Width.
        layers: Hidden layers.
        outputs: Length of the output.
    """

    hidden: int
    layers: int
    outputs: int

    @linen.compact
    def __call__(self, inputs: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """Evaluate along the last axis."""
        values = inputs
        for index in range(self.layers):
            values = linen.Dense(self.hidden, use_bias=False, name=f"dense_{index}")(values)
            values = jax.nn.silu(linen.RMSNorm(name=f"norm_{index}")(values))
        return linen.Dense(self.outputs, name="output")(values)


class WorldModelNetwork(linen.Module):
    """Recurrent state-space model with categorical latents.

    Attributes:
        observation_size: Length of an observation.
        settings: Sizes.
    """

    observation_size: int
    settings: AgentSettings

    def setup(self) -> None:
        """Make the parts."""
        sizes = self.settings
        logits = sizes.groups * sizes.classes
        shape = (sizes.hidden, sizes.layers)
        self.encoder = MLP(*shape, sizes.hidden)
        self.mixer = linen.Dense(sizes.hidden, use_bias=False)
        self.mixer_norm = linen.RMSNorm()
        self.gates = linen.Dense(3 * sizes.deterministic, use_bias=False)
        self.gates_norm = linen.RMSNorm()
        self.prior_logits = MLP(sizes.hidden, 1, logits)
        self.posterior_logits = MLP(sizes.hidden, 1, logits)
        self.decoder = MLP(*shape, self.observation_size)
        self.reward_head = MLP(*shape, sizes.bins)
        self.continue_head = MLP(*shape, 1)

    def __call__(self, observation: Array, action: Array) -> Array:
        """Touch every part once, for initialisation."""
        sizes = self.settings
        recurrent = jnp.zeros(sizes.deterministic, observation.dtype)
        latent = jnp.zeros(sizes.stochastic, observation.dtype)
        recurrent = self.advance(recurrent, latent, action)
        self.prior(recurrent)
        self.posterior(recurrent, self.encode(observation))
        features = jnp.concatenate([recurrent, latent])
        self.decode(features), self.reward(features), self.continuing(features)
        return recurrent

    def encode(self, symlogged: Float[Array, "*batch n"]) -> Float[Array, "*batch hidden"]:
        """Embed observations on the scale of symmetric logarithms."""
        return self.encoder(symlogged)

    def advance(
        self,
        recurrent: Float[Array, "*batch deterministic"],
        latent: Float[Array, "*batch stochastic"],
        action: Float[Array, "*batch action"],
    ) -> Float[Array, "*batch deterministic"]:
        """Next recurrent state: a gated recurrent unit with normalised gates."""
        inputs = self.mixer(jnp.concatenate([latent, action], axis=-1))
        inputs = jax.nn.silu(self.mixer_norm(inputs))
        gates = self.gates_norm(self.gates(jnp.concatenate([recurrent, inputs], axis=-1)))
        reset, candidate, update = jnp.split(gates, 3, axis=-1)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        update = jax.nn.sigmoid(update - 1)
        return update * candidate + (1 - update) * recurrent

    def prior(self, recurrent: Array) -> Float[Array, "*batch groups classes"]:
        """Logits of the latent before its observation is seen."""
        return self._grouped(self.prior_logits(recurrent))

    def posterior(self, recurrent: Array, code: Array) -> Float[Array, "*batch groups classes"]:
        """Logits of the latent given the embedded observation."""
        return self._grouped(self.posterior_logits(jnp.concatenate([recurrent, code], axis=-1)))

    def decode(self, features: Array) -> Float[Array, "*batch n"]:
        """Predicted observation on the scale of symmetric logarithms."""
        return self.decoder(features)

    def reward(self, features: Array) -> Float[Array, "*batch bins"]:
        """Logits of the reward that was paid on arriving."""
        return self.reward_head(features)

    def continuing(self, features: Array) -> Float[Array, "*batch"]:
        """Logit of the episode not having terminated."""
        return self.continue_head(features)[..., 0]

    def _grouped(self, logits: Array) -> Array:
        sizes = self.settings
        return logits.reshape(*logits.shape[:-1], sizes.groups, sizes.classes)
