"""Snapshots of a policy along its training: written whole or not at all, read as a path."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from fracjax._types import PyTree
from fracjax.rl import checkpoints
from fracjax.rl.networks import Normalizer, PolicyNetwork
from fracjax.rl.policies import Policy, PolicyFileError, PolicyInfo
from fracjax.rl.training_settings import TrainingSettings

__all__ = ["Recorder", "TrainingProgress", "read_path", "read_policies", "start_path"]


@dataclasses.dataclass(frozen=True)
class TrainingProgress:
    """Where a training run stands.

    Attributes:
        steps: Environment steps done.
        total_steps: Environment steps to do.
        episode_return: Mean undiscounted return of the deterministic policy.
        steps_per_second: Steps per second since the last report, 0 in the first; compiling
            counts in the second.
    """

    steps: int
    total_steps: int
    episode_return: float
    steps_per_second: float


def read_policies(folder: str | os.PathLike) -> list[Policy]:
    """Read the snapshots that `train` kept in `path_folder`, in order.

    Raises:
        PolicyFileError: If there are none, or one cannot be read.
    """
    files = _snapshots(Path(folder))
    if not files:
        msg = f"Folder `{folder}` holds no snapshots of a training path."
        raise PolicyFileError(msg)
    return [checkpoints.load(file) for file in files]


def read_path(folder: str | os.PathLike) -> tuple[Int[np.ndarray, " snapshots"], PyTree]:
    """Read the path of the parameters through training.

    The normaliser also moves along the path and is not in it; `read_policies` has both.

    Args:
        folder: The `path_folder` of `train`.

    Returns:
        Environment steps done at each snapshot, and the parameters stacked along a
        leading axis of snapshots.
    """
    policies = read_policies(folder)
    steps = np.array([policy.info.training["steps"] for policy in policies])
    return steps, jax.tree.map(lambda *leaves: jnp.stack(leaves), *(p.params for p in policies))


@dataclasses.dataclass
class Recorder:
    """Turns Brax's two callbacks into policies, snapshots and progress."""

    network: PolicyNetwork
    info: PolicyInfo
    summary: dict[str, Any]
    settings: TrainingSettings
    total_steps: int
    on_progress: Callable[[TrainingProgress], None] | None
    folder: Path | None
    params: tuple[Any, ...] = ()
    steps: int = 0
    episode_return: float | None = None

    def on_params(self, steps: int, _: Any, params: tuple[Any, ...]) -> None:
        """Brax's `policy_params_fn`, which comes before the evaluation of these params."""
        # Except at step 0, where the evaluation has come first.
        self.episode_return = self.episode_return if steps == 0 else None
        self.steps, self.params = steps, jax.tree.map(np.asarray, params)
        self.save()

    def on_evaluation(self, steps: int, metrics: Mapping[str, Any]) -> None:
        """Brax's `progress_fn`."""
        self.episode_return = float(metrics["eval/episode_reward"])
        if steps > 0:
            self.save()
        if self.on_progress is not None:
            speed = float(metrics.get("training/sps", 0.0))
            self.on_progress(TrainingProgress(steps, self.total_steps, self.episode_return, speed))

    def save(self) -> None:
        """Write the snapshot, again once its return is known."""
        if self.folder is not None:
            checkpoints.save(self.policy(), self.folder / f"{self.updates:06d}.npz")

    @property
    def updates(self) -> int:
        """Policy updates done."""
        return self.steps // self.settings.steps_per_update

    def policy(self) -> Policy:
        """The policy at the last report."""
        statistics, weights = self.params[:2]
        normalizer = None
        if self.settings.normalize_observations:
            normalizer = Normalizer(jnp.asarray(statistics.mean), jnp.asarray(statistics.std))
        training = {
            **self.summary,
            "steps": self.steps,
            "updates": self.updates,
            "return": self.episode_return,
        }
        return Policy(
            self.network,
            jax.tree.map(jnp.asarray, weights),
            normalizer,
            dataclasses.replace(self.info, training=training),
        )


def _snapshots(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if re.fullmatch(r"\d{6,}\.npz", file.name))


def start_path(folder: Path) -> Path:
    """Make the folder of a path, or refuse one that already holds a path."""
    if _snapshots(folder):
        msg = f"Argument `path_folder` must hold no earlier path, but `{folder}` does."
        raise ValueError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
