"""The path of a policy, recorded while `fracjax train` or `fracjax watch` trains it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracjax.learning.paths.callbacks import brax_callbacks
from fracjax.learning.paths.recorders import Recorder, open_recorder
from fracjax.learning.paths.store import DEFAULT_NAME
from fracjax.learning.paths.writers import BlockWriter

if TYPE_CHECKING:
    from fracjax.rl.environment import Environment
    from fracjax.rl.policies import Policy
    from fracjax.rl.training import TrainingProgress
    from fracjax.rl.training_settings import Settings

__all__ = ["TrainingPath"]

_METRIC = "episode_return"
_KEY = "eval/episode_reward"


class TrainingPath(BlockWriter):
    """Records `path.zarr` in the folder of a training run; use it in a `with` block.

    Snapshots lie where the run reports: parameters of the policy network, without the
    normaliser, with the return of the deterministic policy.

    Args:
        folder: Of the run; None records nothing.
        environment: What is trained on.
        settings: Of training; the number of steps may grow when a run is resumed.
        algorithm: Name of the algorithm.
        seed: Of training.
        path_every: Policy updates between reports.
    """

    def __init__(
        self,
        folder: Path | None,
        environment: "Environment",
        settings: "Settings",
        *,
        algorithm: str,
        seed: int,
        path_every: int,
    ):
        self._folder = folder
        kept = dataclasses.asdict(settings)
        kept.pop("num_timesteps")
        self._settings = {
            "environment": environment.name,
            "backend": environment.backend,
            "algorithm": algorithm,
            "seed": seed,
            "path_every": path_every,
            **kept,
        }
        self._recorder: Recorder | None = None
        self._on_params: Callable[[int, Any, Any], None] | None = None
        self._progress: dict[int, Mapping[str, Any]] = {}
        self._on_progress: Callable[[int, Mapping[str, Any]], None] | None = None

    def close(self, *, finished: bool = True) -> None:
        """Note how the training ended."""
        if self._recorder is not None:
            self._recorder.close(finished=finished)

    def on_params(self, steps: int, make_policy: Any, params: Any) -> None:
        """Take parameters, as `fracjax.rl.training.train` hands them out."""
        if self._folder is None:
            return
        if self._on_params is None:
            self._open(params[1])
        assert self._on_params is not None
        self._on_params(steps, make_policy, params)

    def on_progress(self, report: "TrainingProgress") -> None:
        """Take the return of the parameters before, or at the first report of those after."""
        numbers = {_KEY: report.episode_return}
        if self._on_progress is None:
            self._progress = {report.steps: numbers}
        else:
            self._on_progress(report.steps, numbers)

    def finish(self, policy: "Policy") -> None:
        """Keep the last snapshot where it is missing: the run was killed before it was kept."""
        if self._folder is None:
            return
        if self._recorder is None:  # nothing was left to train
            if not (self._folder / DEFAULT_NAME).exists():
                return
            self._open(policy.params)
        assert self._recorder is not None
        training = policy.info.training
        last = self._recorder.last_step
        if last is None or last < training["steps"]:
            numbers = {_METRIC: float("nan") if training["return"] is None else training["return"]}
            self._recorder.record(training["steps"], policy.params, **numbers)

    def _open(self, policy: Any) -> None:
        assert self._folder is not None
        self._recorder = open_recorder(
            self._folder / DEFAULT_NAME, policy, metrics=(_METRIC,), settings=self._settings
        )
        self._on_params, self._on_progress = brax_callbacks(
            self._recorder, metric=_METRIC, key=_KEY
        )
        for steps, numbers in self._progress.items():
            self._on_progress(steps, numbers)
