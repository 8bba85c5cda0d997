"""Multilayer perceptrons from observations to actions, in Brax's layout.

The same layers, parameter tree and activation names as `brax.training.networks`, written
against Flax alone so that a policy loads and runs without importing Brax.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree

__all__ = ["ACTIVATIONS", "Head", "Normalizer", "PolicyNetwork", "Squash"]

Head = Literal["tanh_normal", "deterministic"]
Squash = Literal["tanh", "clip"]

# The elementwise entries of `brax.training.networks.ACTIVATION`, under the same names.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "celu": jax.nn.celu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_swish": jax.nn.hard_swish,
    "hard_tanh": jax.nn.hard_tanh,
    "leaky_relu": jax.nn.leaky_relu,
    "linear": lambda x: x,
    "log_sigmoid": jax.nn.log_sigmoid,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "soft_sign": jax.nn.soft_sign,
    "softplus": jax.nn.softplus,
    "swish": jax.nn.swish,
    "tanh": jnp.tanh,
}

# `brax.training.distribution.NormalTanhDistribution`: the least standard deviation.
_MIN_STD = 0.001


class Normalizer(NamedTuple):
    """Running mean and standard deviation of observations, frozen after training."""

    mean: Float[Array, " observation"]
    std: Float[Array, " observation"]


class _MLP(linen.Module):
    """Brax's policy network: dense layers `hidden_i`, the last one without activation."""

    layer_sizes: tuple[int, ...]
    activation: str
    layer_norm: bool

    @linen.compact
    def __call__(self, inputs: Array) -> Array:
        hidden = inputs
        *inner, last = self.layer_sizes
        lecun = jax.nn.initializers.lecun_uniform()
        for index, size in enumerate(inner):
            hidden = linen.Dense(size, name=f"hidden_{index}", kernel_init=lecun)(hidden)
            hidden = ACTIVATIONS[self.activation](hidden)
            if self.layer_norm:
                hidden = linen.LayerNorm(name=f"LayerNorm_{index}")(hidden)
        return linen.Dense(last, name=f"hidden_{len(inner)}", kernel_init=lecun)(hidden)


@dataclasses.dataclass(frozen=True)
class PolicyNetwork:
    """The static part of a policy: sizes and names, no arrays.

    Two networks with equal settings are equal and hash alike, so a program compiled for
    one serves the other. Who caches compiled programs should key them by the network and
    pass parameters and normaliser as arguments.

    Attributes:
        observation_size: Length of an observation.
        action_size: Length of an action.
        hidden: Widths of the hidden layers.
        activation: Name in `ACTIVATIONS`, applied after every layer but the last.
        head: `"tanh_normal"` ends in `2 * action_size` outputs, mean and raw scale of a
            normal before a tanh (Brax's PPO and SAC); `"deterministic"` ends in
            `action_size` outputs.
        squash: How outputs reach [-1, 1]: `"tanh"`, or `"clip"` for deterministic heads.
        layer_norm: Whether a layer norm follows every hidden activation.
        observation_clip: Largest magnitude of an entry of the normalised observation, as
            Stable-Baselines3 and CleanRL clip it (10 by default there); `None` for no bound.
    """

    observation_size: int
    action_size: int
    hidden: tuple[int, ...] = (32, 32)
    activation: str = "swish"
    head: Head = "tanh_normal"
    squash: Squash = "tanh"
    layer_norm: bool = False
    observation_clip: float | None = None

    def __post_init__(self) -> None:
        sizes = (self.observation_size, self.action_size, *self.hidden)
        if any(not isinstance(size, int) or size < 1 for size in sizes):
            msg = f"Layer sizes must be positive integers, but are {sizes}."
            raise ValueError(msg)
        _one_of("activation", self.activation, tuple(ACTIVATIONS))
        _one_of("head", self.head, get_args(Head))
        _one_of("squash", self.squash, get_args(Squash))
        if self.head == "tanh_normal" and self.squash != "tanh":
            msg = 'Argument `squash` must be "tanh" for a `tanh_normal` head, but is "clip".'
            raise ValueError(msg)
        if self.observation_clip is not None and not self.observation_clip > 0:
            msg = f"Argument `observation_clip` must be positive, but is {self.observation_clip}."
            raise ValueError(msg)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Widths of all dense layers, the last one included."""
        outputs = self.action_size * (2 if self.head == "tanh_normal" else 1)
        return (*self.hidden, outputs)

    @property
    def description(self) -> str:
        """One line for tables, such as `6-32-32-2 tanh, tanh_normal head`."""
        sizes = "-".join(map(str, (self.observation_size, *self.layer_sizes)))
        return f"{sizes} {self.activation}, {self.head} head"

    def init(self, key: Key) -> PyTree:
        """Draw float32 parameters as Brax does: LeCun-uniform kernels, zero biases."""
        return self.module.init(key, jnp.zeros(self.observation_size, jnp.float32))

    def inputs(
        self,
        params: PyTree,
        normalizer: Normalizer | None,
        observation: Float[Array | np.ndarray, "*batch observation"],
    ) -> Float[Array, "*batch observation"]:
        """What the first layer reads: observations, normalised and clipped, in `params`' dtype."""
        dtype = jnp.result_type(*jax.tree.leaves(params))
        inputs = jnp.asarray(observation, dtype)
        if normalizer is not None:
            mean, std = (jnp.asarray(part, dtype) for part in normalizer)
            inputs = (inputs - mean) / std
        if self.observation_clip is not None:
            inputs = jnp.clip(inputs, -self.observation_clip, self.observation_clip)
        return inputs

    def logits(
        self,
        params: PyTree,
        normalizer: Normalizer | None,
        observation: Float[Array, " observation"],
    ) -> Float[Array, " outputs"]:
        """Outputs of the last layer, in the dtype of `params`."""
        outputs = self.module.apply(params, self.inputs(params, normalizer, observation))
        assert isinstance(outputs, jax.Array)  # and not a pair with mutated collections
        return outputs

    def act(
        self,
        params: PyTree,
        normalizer: Normalizer | None,
        observation: Float[Array, " observation"],
        key: Key | None = None,
    ) -> Float[Array, " action"]:
        """Action in [-1, 1] for one observation; see `Policy.act`."""
        outputs = self.logits(params, normalizer, observation)
        if self.head == "tanh_normal":
            mean, scale = jnp.split(outputs, 2)
            if key is None:
                return jnp.tanh(mean)
            noise = jax.random.normal(key, mean.shape, mean.dtype)
            return jnp.tanh(noise * (jax.nn.softplus(scale) + _MIN_STD) + mean)
        return jnp.tanh(outputs) if self.squash == "tanh" else jnp.clip(outputs, -1, 1)

    @property
    def module(self) -> linen.Module:
        """The layers, from normalised observations to the outputs of the last one."""
        return _MLP(self.layer_sizes, self.activation, self.layer_norm)


def _one_of(argument: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        names = ", ".join(map(repr, choices))
        msg = f"Argument `{argument}` must be one of {names}, but is {value!r}."
        raise ValueError(msg)
