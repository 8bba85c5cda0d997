"""Snapshots of a policy along its training: written whole or not at all, read as a path."""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from fracjax import safe_files
from fracjax._types import PyTree
from fracjax.rl import checkpoints
from fracjax.rl.networks import Normalizer, PolicyNetwork
from fracjax.rl.policies import Policy, PolicyFileError, PolicyInfo
from fracjax.rl.training_settings import Settings

__all__ = [
    "RESUME",
    "Recorder",
    "TrainingProgress",
    "has_begun",
    "read_path",
    "read_policies",
    "read_resume",
    "start_path",
    "write_resume",
]

RESUME = "resume.npz"


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
    return [checkpoints.load_policy(file) for file in files]


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
    settings: Settings
    total_steps: int
    on_progress: Callable[[TrainingProgress], None] | None
    folder: Path | None
    params: tuple[Any, ...] = ()
    steps: int = 0
    steps_before: int = 0
    episode_return: float | None = None
    then: Callable[[int, Any, Any], None] | None = None

    def on_params(self, steps: int, make_policy: Any, params: tuple[Any, ...]) -> None:
        """Brax's `policy_params_fn`, which comes before the evaluation of these params."""
        # Except at step 0, where the evaluation has come first.
        self.episode_return = self.episode_return if steps == 0 else None
        self.steps = steps + self.steps_before
        self.params = jax.tree.map(np.asarray, params)
        if self.folder is not None:
            write_resume(self.folder / RESUME, self.params, self.steps, self.summary)
        self.save()
        if self.then is not None:
            self.then(self.steps, make_policy, self.params)

    def on_evaluation(self, steps: int, metrics: Mapping[str, Any]) -> None:
        """Brax's `progress_fn`."""
        self.episode_return = float(metrics["eval/episode_reward"])
        if steps > 0:
            self.save()
        if self.on_progress is not None:
            speed = float(metrics.get("training/sps", 0.0))
            done = steps + self.steps_before
            self.on_progress(TrainingProgress(done, self.total_steps, self.episode_return, speed))

    def save(self) -> None:
        """Write the snapshot, again once its return is known."""
        if self.folder is not None:
            checkpoints.save_policy(self.policy(), self.folder / self._name)

    def known_return(self) -> float | None:
        """The return in this snapshot's file: None if the run was killed before it was there."""
        if self.folder is None or not (self.folder / self._name).exists():
            return None
        with contextlib.suppress(PolicyFileError):  # damaged: written again
            found: Any = checkpoints.load_policy(self.folder / self._name).info.training["return"]
            return found
        return None

    @property
    def _name(self) -> str:
        return f"{self.updates:06d}.npz"

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


def write_resume(path: Path, params: PyTree, steps: int, summary: Mapping[str, Any]) -> None:
    """Write everything that Brax hands out and can begin from, whole or not at all."""
    leaves = {f"leaf_{i:04d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(params))}
    metadata = json.dumps({"steps": steps, "summary": dict(summary)})
    with safe_files.written_whole(path) as file:
        safe_files.write_npz(file, {**leaves, "metadata": np.array(metadata)})


def read_resume(
    folder: str | os.PathLike, like: PyTree, summary: Mapping[str, Any]
) -> tuple[int, PyTree, dict[str, Any]]:
    """Read where a run stopped.

    Args:
        folder: The `path_folder` of `train`.
        like: Parameters of the same structure.
        summary: What the run is asked to be; only `num_timesteps` may differ.

    Returns:
        Environment steps done, the parameters, and the stored summary.

    Raises:
        ValueError: If there is nothing to go on with, or the run was another one.
    """
    path = Path(folder) / RESUME
    if not path.exists():
        msg = f"Folder `{folder}` holds no {RESUME} to go on from."
        raise ValueError(msg)
    try:
        arrays = safe_files.read_npz(safe_files.read_bytes(path))
        stored = json.loads(str(arrays["metadata"]))
        leaves = [arrays[name] for name in sorted(arrays) if name.startswith("leaf")]
        steps, found = int(stored["steps"]), dict(stored["summary"])
    except Exception as error:  # damaged files fail in many ways inside the parsers
        msg = f"File `{path}` is damaged or not of a training run ({type(error).__name__})."
        raise ValueError(msg) from error
    wanted = json.loads(json.dumps(dict(summary)))
    other = [name for name in wanted if _comparable(wanted, name) != _comparable(found, name)]
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(like)]
    if other or shapes != [leaf.shape for leaf in leaves]:
        msg = (
            f"Folder `{folder}` holds another run ({', '.join(other) or 'shapes'} differ):"
            " give its settings again, or another folder."
        )
        raise ValueError(msg)
    return steps, jax.tree.unflatten(jax.tree.structure(like), leaves), found


def _comparable(summary: Mapping[str, Any], name: str) -> Any:
    """An entry of a summary without what a resumed run may change."""
    value = summary.get(name)
    if name == "resumed_at":
        return None
    if isinstance(value, Mapping):
        return {key: part for key, part in value.items() if key != "num_timesteps"}
    return value


def has_begun(folder: Path | None) -> bool:
    """Whether a folder holds a path, or something to go on from."""
    return folder is not None and ((folder / RESUME).exists() or bool(_snapshots(folder)))


def _snapshots(folder: Path) -> list[Path]:
    """Files of the snapshots by number, which has more than six digits from a million on."""
    if not folder.is_dir():
        return []
    files = (file for file in folder.iterdir() if re.fullmatch(r"[0-9]{6,}\.npz", file.name))
    return sorted(files, key=lambda file: int(file.stem))


def start_path(folder: Path, *, resume: bool = False) -> Path:
    """Make the folder of a path, or refuse one that already holds a path."""
    if _snapshots(folder) and not resume:
        msg = (
            f"Argument `path_folder` must hold no earlier path, but `{folder}` does: give another,"
            " or `resume`."
        )
        raise ValueError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
