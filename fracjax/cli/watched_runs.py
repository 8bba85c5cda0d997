"""What the commands that watch a run share: making the watch, its folder, its page."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracjax.cli.discounts import with_companion

if TYPE_CHECKING:
    from fracjax.diagnosis.watching import Record, Watch
    from fracjax.rl.environment import Environment
    from fracjax.rl.training_settings import Settings

__all__ = [
    "OPTIONS",
    "check_folder",
    "live_watch",
    "make_watch",
    "note_progress",
    "summary_document",
    "write_page",
]

OPTIONS = {
    "algorithm": "--algo",
    "backend": "--backend",
    "num_timesteps": "--steps",
    "discount": "--discount",
    "min_replay_size": "The replay buffer's smallest size",
}
"""What the commands that train call the arguments of a training."""


def live_watch(
    environment: "Environment",
    settings: "Settings",
    *,
    algorithm: str,
    folder: Path,
    budget: float,
    horizon: int | None,
    seed: int,
    total_steps: int,
    on_record: "Callable[[Watch, Record], None] | None" = None,
) -> "Watch":
    """Make the watch of a training run in `environment`, with its records in `folder`."""
    from fracjax.rl.networks import PolicyNetwork

    network = PolicyNetwork(
        environment.observation_size,
        environment.action_size,
        settings.hidden,
        settings.activation,
    )
    configuration = {
        "environment": environment.name,
        "backend": environment.backend,
        "algorithm": algorithm,
        "seed": seed,
        "budget": budget,
        "total_steps": total_steps,
    }
    return make_watch(
        environment.name,
        environment.backend,
        network,
        configuration,
        folder=folder,
        normalize=settings.normalize_observations,
        discounts=with_companion(settings.discount),
        horizon=horizon or min(1000, settings.episode_length),
        on_record=on_record,
    )


def make_watch(
    name: str,
    backend: str | None,
    network: Any,
    configuration: Mapping[str, Any],
    *,
    folder: Path,
    normalize: bool,
    discounts: tuple[float, ...],
    horizon: int,
    on_record: "Callable[[Watch, Record], None] | None" = None,
) -> "Watch":
    """Make a watch of policies in a named environment, in float64."""
    import jax

    from fracjax.diagnosis.watching import watch_policies
    from fracjax.rl import envs

    with jax.enable_x64(True):
        return watch_policies(
            envs.make(name, backend=backend, dtype="float64"),
            network,
            jax.random.key(configuration["seed"]),
            normalize=normalize,
            discounts=discounts,
            horizon=horizon,
            budget=configuration["budget"],
            total_steps=configuration["total_steps"],
            folder=folder,
            configuration=configuration,
            on_record=on_record,
        )


def write_page(watching: "Watch", folder: Path, *, state: str) -> list[Path]:
    """Write page and picture of a run."""
    from fracjax.diagnosis.watching import read_configuration
    from fracjax.reports.watching import write_watch

    configuration = read_configuration(folder) or {}
    named = configuration.get("environment", folder.name), configuration.get("algorithm")
    title = ", ".join(str(name) for name in named if name)
    return write_watch(
        folder, watching.records, title=title, configuration=configuration, state=state
    )


def note_progress(watching: "Watch", folder: Path) -> None:
    """Tell followers how far a running watch has come, and draw its page."""
    watching.note("running", step=watching.records[-1].step)
    write_page(watching, folder, state="running")


def summary_document(
    watching: "Watch",
    folder: Path,
    files: list[Path],
    state: str,
    summary: dict[str, Any] | None,
) -> dict[str, Any]:
    """Make what `--json` prints of a run."""
    document: dict[str, Any] = {"run": str(folder), "state": state}
    if summary is None:  # nothing was trained: shares of time say nothing
        kept = ("records", "messages", "advice")
        summary = {name: value for name, value in watching.summary().items() if name in kept}
    return {**document, **summary, "files": [str(file) for file in files]}


def check_folder(folder: Path, algorithm: str, *, resume: bool) -> None:
    """Refuse a folder that holds a run, unless it is to be gone on with.

    Raises:
        ValueError: If the folder is a file, holds a run, or its run cannot be resumed.
    """
    from fracjax.rl.snapshots import has_begun

    if resume and algorithm != "ppo":
        msg = "--resume needs ppo: Brax's SAC hands out neither critics nor its replay buffer."
        raise ValueError(msg)
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file; give a folder."
        raise ValueError(msg)
    if has_begun(folder if folder.is_dir() else None) and not resume:
        msg = f"{folder} holds a run; pass --resume to go on with it or give another folder."
        raise ValueError(msg)
