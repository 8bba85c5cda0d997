"""Policies: a network, its trained parameters, and where they come from.

Files are read and written in `checkpoints`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.rl.networks import Head, Normalizer, PolicyNetwork, Squash

__all__ = [
    "Policy",
    "PolicyFileError",
    "PolicyInfo",
    "initialize",
    "untrained",
]


class PolicyFileError(ValueError):
    """A file that cannot be read as a policy, or not as one for this environment."""


@dataclasses.dataclass(frozen=True)
class PolicyInfo:
    """Where a policy comes from. Nothing here changes what it does.

    Attributes:
        environment: Name of the environment it was made for, if known.
        backend: Physics backend it was trained on, if known.
        origin: File and format it was read from, or how it was made.
        training: Summary of the training run (algorithm, seed, steps, return and what
            the trainer adds), as values that JSON can hold.
    """

    environment: str | None = None
    backend: str | None = None
    origin: str = "memory"
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
    """A policy: its network, the parameters to perturb, and the frozen normaliser.

    Compared by identity, since equal networks with other numbers act differently. Not a
    pytree on purpose: mapping noise over it would perturb the normaliser as well. Inside
    a program that is compiled once and used for many policies, call
    `policy.network.act(params, policy.normalizer, observation)`.

    Attributes:
        network: The static part.
        params: Network weights only, in Brax's tree `{"params": {"hidden_0": …}}`.
        normalizer: Statistics by which observations are normalised, or `None`.
        info: Where the policy comes from.
    """

    network: PolicyNetwork
    params: PyTree
    normalizer: Normalizer | None = None
    info: PolicyInfo = dataclasses.field(default_factory=PolicyInfo)

    @property
    def observation_size(self) -> int:
        """Length of an observation."""
        return self.network.observation_size

    @property
    def action_size(self) -> int:
        """Length of an action."""
        return self.network.action_size

    def act(
        self,
        params: PyTree,
        observation: Float[Array, " observation"],
        key: Key | None = None,
    ) -> Float[Array, " action"]:
        """Choose an action for one observation.

        Runs in the dtype of `params`, to which observation and normaliser are cast. The
        scale of the noise is the policy's own; do not pass a key to measure chaos or
        roughness of the deterministic closed loop.

        Args:
            params: Weights to use, in the structure of `self.params`.
            observation: One observation, unbatched.
            key: Sample with this key; the mode (the tanh of the mean) if not given. A
                deterministic head ignores it.

        Returns:
            An action in [-1, 1].
        """
        return self.network.act(params, self.normalizer, observation, key)

    def logits(
        self, params: PyTree, observation: Float[Array, " observation"]
    ) -> Float[Array, " outputs"]:
        """Outputs of the last layer for one observation, before squashing."""
        return self.network.logits(params, self.normalizer, observation)

    def replace(self, **changes: Any) -> "Policy":
        """Copy with some attributes replaced."""
        return dataclasses.replace(self, **changes)

    def astype(self, dtype: jnp.dtype | str) -> "Policy":
        """Copy with parameters and normaliser in `dtype`.

        Raises:
            ValueError: If JAX does not hold that dtype, as float64 without
                `jax_enable_x64`.
        """
        if jax.dtypes.canonicalize_dtype(dtype) != jnp.dtype(dtype):
            msg = f"Argument `dtype` is {dtype}, but JAX needs `jax_enable_x64` for it."
            raise ValueError(msg)
        return self.replace(
            params=tree.astype(self.params, dtype), normalizer=tree.astype(self.normalizer, dtype)
        )


def initialize(
    key: Key,
    observation_size: int,
    action_size: int,
    *,
    hidden: tuple[int, ...] = (32, 32),
    activation: str = "tanh",
    head: Head = "tanh_normal",
    squash: Squash = "tanh",
    layer_norm: bool = False,
    environment: str | None = None,
    backend: str | None = None,
) -> Policy:
    """Make an untrained policy, without normalisation.

    Args:
        key: Key of the weights.
        observation_size: Length of an observation.
        action_size: Length of an action.
        hidden: Widths of the hidden layers.
        activation: Name in `ACTIVATIONS`.
        head: See `PolicyNetwork`.
        squash: See `PolicyNetwork`.
        layer_norm: See `PolicyNetwork`.
        environment: Name to note in the policy's `info`.
        backend: Backend to note in the policy's `info`.
    """
    network = PolicyNetwork(
        observation_size, action_size, tuple(hidden), activation, head, squash, layer_norm
    )
    return Policy(network, network.init(key), info=PolicyInfo(environment, backend, "untrained"))


def untrained(policy: Policy, *, seed: int = 0) -> Policy:
    """Make the untrained counterpart of `policy`: what training started from.

    The weights are fresh and the observations are not normalised (zero mean, unit
    standard deviation where `policy` has a normaliser), as at the start of training. The
    structure is that of `policy`, so programs compiled for it serve both.
    """
    normalizer = policy.normalizer
    if normalizer is not None:
        normalizer = Normalizer(jnp.zeros_like(normalizer.mean), jnp.ones_like(normalizer.std))
    info = dataclasses.replace(policy.info, origin=f"untrained, seed {seed}", training={})
    params = policy.network.init(jax.random.key(seed))
    return policy.replace(params=params, normalizer=normalizer, info=info)
