"""Settings of training runs, with defaults per environment."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, TypeAlias, overload

__all__ = ["ALGORITHMS", "SACSettings", "Settings", "TrainingSettings", "default_settings"]

ALGORITHMS = ("ppo", "sac")


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Settings of Brax's PPO.

    One policy update consumes `unroll_length * batch_size * num_minibatches` steps.

    Attributes:
        hidden: Widths of the policy's hidden layers.
        activation: Activation of policy and value network, a name in
            `networks.ACTIVATIONS`.
        num_timesteps: Environment steps in all, rounded up to whole updates.
        episode_length: Steps after which an episode is cut off.
        discount: Discount per step of the returns that are maximised.
        num_envs: Environments stepped in parallel; must divide
            `batch_size * num_minibatches`.
        learning_rate: Step size of Adam.
        entropy_cost: Weight of the entropy bonus.
        reward_scaling: Factor on rewards inside the losses.
        unroll_length: Steps per environment between value estimates.
        batch_size: Unrolls per minibatch.
        num_minibatches: Minibatches per pass over the data.
        num_passes: Passes over the data per update.
        normalize_observations: Whether to normalise by running statistics.
        num_eval_envs: Episodes behind each reported return.
    """

    hidden: tuple[int, ...] = (32, 32)
    activation: str = "tanh"
    num_timesteps: int = 2_000_000
    episode_length: int = 1000
    discount: float = 0.97
    num_envs: int = 256
    learning_rate: float = 3e-4
    entropy_cost: float = 1e-2
    reward_scaling: float = 1.0
    unroll_length: int = 10
    batch_size: int = 256
    num_minibatches: int = 8
    num_passes: int = 4
    normalize_observations: bool = True
    num_eval_envs: int = 32

    @property
    def steps_per_update(self) -> int:
        """Environment steps that one policy update consumes."""
        return self.unroll_length * self.batch_size * self.num_minibatches

    @property
    def steps_before_updates(self) -> int:
        """Environment steps before the first update: none."""
        return 0


@dataclasses.dataclass(frozen=True)
class SACSettings:
    """Settings of Brax's SAC.

    One update is one step of all environments and `num_passes` gradient steps.

    Attributes:
        hidden: Widths of the hidden layers, of the policy and of both critics.
        activation: See `TrainingSettings`.
        num_timesteps: Environment steps in all, those that fill the replay buffer included,
            rounded up to whole updates.
        episode_length: Steps after which an episode is cut off.
        discount: Discount per step of the returns that are maximised.
        num_envs: Environments stepped in parallel.
        learning_rate: Step size of Adam, for policy and critics.
        reward_scaling: Factor on rewards inside the losses.
        batch_size: Transitions per gradient step.
        num_passes: Gradient steps per update.
        min_replay_size: Transitions collected before the first gradient step.
        max_replay_size: Transitions kept.
        tau: Rate at which the target critics follow.
        normalize_observations: Whether to normalise by running statistics.
        num_eval_envs: Episodes behind each reported return.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    num_timesteps: int = 500_000
    episode_length: int = 1000
    discount: float = 0.99
    num_envs: int = 16
    learning_rate: float = 1e-3
    reward_scaling: float = 1.0
    batch_size: int = 256
    num_passes: int = 8
    min_replay_size: int = 2048
    max_replay_size: int = 1_000_000
    tau: float = 0.005
    normalize_observations: bool = True
    num_eval_envs: int = 32

    @property
    def steps_per_update(self) -> int:
        """Environment steps that one update consumes."""
        return self.num_envs

    @property
    def steps_before_updates(self) -> int:
        """Environment steps that fill the replay buffer."""
        return -(-self.min_replay_size // self.num_envs) * self.num_envs


Settings: TypeAlias = TrainingSettings | SACSettings

_SETTINGS: Mapping[str, TrainingSettings] = {
    # Without the large entropy bonus the policy stays hanging or learns to spin.
    "pendulum": TrainingSettings(
        num_timesteps=6_000_000,
        episode_length=200,
        discount=0.99,
        learning_rate=1e-3,
        entropy_cost=0.05,
        reward_scaling=0.03,
        unroll_length=20,
    ),
    "acrobot": TrainingSettings(
        activation="swish",
        num_timesteps=30_000_000,
        episode_length=400,
        discount=0.99,
        learning_rate=5e-4,
        unroll_length=20,
    ),
    "double_pendulum": TrainingSettings(
        num_timesteps=10_000_000, episode_length=400, discount=0.99
    ),
    "cartpole_swingup": TrainingSettings(
        num_timesteps=5_000_000, episode_length=400, discount=0.99
    ),
    "fast": TrainingSettings(num_timesteps=100_000, episode_length=100),
    "inverted_pendulum": TrainingSettings(num_timesteps=1_000_000, reward_scaling=0.1),
    "inverted_double_pendulum": TrainingSettings(
        activation="swish", num_timesteps=8_000_000, unroll_length=5
    ),
    "hopper": TrainingSettings(
        activation="swish",
        num_timesteps=5_000_000,
        discount=0.995,
        entropy_cost=0.002,
        reward_scaling=0.1,
        unroll_length=20,
    ),
}


# Measured on the pendulum only; the others are its values with their own episodes.
_SAC_SETTINGS: Mapping[str, SACSettings] = {
    "pendulum": SACSettings(num_timesteps=60_000, episode_length=200),
    "acrobot": SACSettings(episode_length=400),
    "double_pendulum": SACSettings(episode_length=400),
    "cartpole_swingup": SACSettings(episode_length=400),
    "fast": SACSettings(num_timesteps=20_000, episode_length=100),
}


@overload
def default_settings(name: str) -> TrainingSettings: ...
@overload
def default_settings(name: str, algorithm: Literal["ppo"]) -> TrainingSettings: ...
@overload
def default_settings(name: str, algorithm: str) -> Settings: ...
def default_settings(name: str, algorithm: str = "ppo") -> Settings:
    """Settings that suit an environment, or general ones for a name not in the table.

    Args:
        name: Environment.
        algorithm: One of `ALGORITHMS`.

    Raises:
        ValueError: If there is no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        msg = f"Argument `algorithm` must be one of {ALGORITHMS}, but is {algorithm!r}."
        raise ValueError(msg)
    if algorithm == "sac":
        return _SAC_SETTINGS.get(name, SACSettings())
    return _SETTINGS.get(name, TrainingSettings())
