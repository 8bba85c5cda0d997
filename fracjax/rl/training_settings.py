"""Settings of training runs, with defaults per environment."""

import dataclasses
from collections.abc import Mapping

__all__ = ["TrainingSettings", "default_settings"]


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


def default_settings(name: str) -> TrainingSettings:
    """Settings that suit an environment, or general ones for a name not in the table."""
    return _SETTINGS.get(name, TrainingSettings())
