"""`fracjax watch RUN`: a run that is being written, or is over."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracjax.cli.discounts import with_companion
from fracjax.cli.runtime import configure_jax
from fracjax.cli.watched_paths import FollowedPath, find_path
from fracjax.cli.watched_runs import make_watch, summary_document, write_page

if TYPE_CHECKING:
    from fracjax.cli.watch_view import Show
    from fracjax.rl.policies import Policy

__all__ = ["read_run"]

_POLL_SECONDS = 1.0
_OWN = ("key", "discounts", "horizon", "dt", "every", "maximize", "largest_scale", "smallest_scale")


def read_run(
    folder: Path,
    *,
    size: str,
    follow: bool,
    discount: float | None,
    horizon: int | None,
    budget: float,
    seed: int,
    member: int = 0,
    compilation_cache: bool,
) -> dict[str, Any]:
    """Follow a run, or look at its snapshots, and at the path of its parameters."""
    from fracjax.cli.watch_view import live_view
    from fracjax.diagnosis.watching import read_configuration, read_state
    from fracjax.rl.snapshots import has_begun

    path = find_path(folder, seed, member)
    if path is not None:
        configure_jax("float64", compilation_cache=compilation_cache)
    with live_view(below=path) as show:
        alive = read_state(folder)["alive"] or (path is not None and path.alive)
        if alive and follow:
            _follow(folder, path, show)
        if path is not None:
            show([], f"{folder}: analysing the path of parameters")
            path.update(final=True)
        configuration = read_configuration(folder)
        if path is not None and configuration is None and not has_begun(folder):
            show([], f"{folder}: {path.document()['state']}")  # a path and nothing else
            document: dict[str, Any] = {"run": str(folder), "state": path.document()["state"]}
            document |= {"records": 0, "messages": [], "advice": [], "files": []}
        elif (alive and not follow) or (
            configuration is not None and "environment" not in configuration
        ):
            document = _redraw(folder, show)  # the latter of somebody's own loop: no snapshots
        else:
            configure_jax("float64", compilation_cache=compilation_cache)
            document = _look_back(
                folder, configuration, show, size, discount, horizon, budget, seed
            )
    if path is None:
        return document
    files = [*document["files"], *map(str, path.files)]
    return {**document, "path": path.document(), "files": files}


def _follow(folder: Path, path: FollowedPath | None, show: "Show") -> None:
    """Redraw while another process writes."""
    from fracjax.diagnosis.watching import read_records, read_state

    drawn = None
    while True:
        state, records = read_state(folder), read_records(folder)
        alive = state["alive"] or (path is not None and path.alive)
        if path is not None:
            path.update()
        now = (len(records), None if path is None or path.path is None else len(path.path))
        if now != drawn:
            drawn = now
            name = "running" if alive and state["state"] == "unknown" else state["state"]
            show(records, f"{folder}: {name}, {len(records)} records")
        if not alive:
            return
        time.sleep(_POLL_SECONDS)


def _redraw(folder: Path, show: "Show") -> dict[str, Any]:
    """Draw what there is."""
    from fracjax.diagnosis.watching import (
        advise,
        messages,
        read_configuration,
        read_records,
        read_state,
    )
    from fracjax.reports.watching import write_watch

    records, configuration = read_records(folder), read_configuration(folder) or {}
    state = read_state(folder)["state"]
    show(records, f"{folder}: {state}, {len(records)} records")
    files = write_watch(
        folder, records, title=str(folder.name), configuration=configuration, state=state
    )
    maximize = bool(configuration.get("maximize", True))
    found = messages(records, maximize=maximize)
    return {
        "run": str(folder),
        "state": state,
        "records": len(records),
        "messages": [dataclasses.asdict(message) for message in found],
        "advice": [dataclasses.asdict(item) for item in (advise(records[-1]) if records else [])],
        "files": [str(file) for file in files],
    }


def _look_back(
    folder: Path,
    configuration: dict[str, Any] | None,
    show: "Show",
    size: str,
    discount: float | None,
    horizon: int | None,
    budget: float,
    seed: int,
) -> dict[str, Any]:
    """Look at the snapshots that nobody looked at."""
    import jax

    from fracjax.diagnosis.watching import SIZES
    from fracjax.diagnosis.watching.policies import of_policy
    from fracjax.rl.snapshots import read_policies

    found = read_policies(folder)
    first = found[0]
    if configuration is None:
        training = dict(first.info.training)
        settings = training.get("settings", {})
        own = {
            "environment": first.info.environment,
            "backend": first.info.backend,
            "algorithm": training.get("algorithm"),
            "seed": seed,
            "budget": budget,
            "total_steps": settings.get("num_timesteps"),
        }
        discounts = with_companion(discount or settings.get("discount", 0.99))
        steps = horizon or min(1000, settings.get("episode_length", 1000))
    else:
        if discount is not None or horizon is not None:
            msg = f"--discount and --horizon of {folder} are already chosen; give another folder."
            raise ValueError(msg)
        own = {name: value for name, value in configuration.items() if name not in _OWN}
        discounts, steps = tuple(configuration["discounts"]), configuration["horizon"]
    wanted = next(option for option in SIZES if option.name == size)
    watching = make_watch(
        str(own["environment"]),
        own["backend"],
        first.network,
        own,
        folder=folder,
        normalize=first.normalizer is not None,
        discounts=discounts,
        horizon=steps,
    )
    watching.note("running", step=0)
    try:
        for index, policy in enumerate(found):
            show(watching.records, f"{folder}: {index} of {len(found)} snapshots")
            with jax.enable_x64(True):
                watching.look(_step(policy), of_policy(policy), size=wanted)
    except BaseException:
        watching.note("interrupted")
        raise
    watching.note("finished", step=_step(found[-1]))
    show(watching.records, f"{folder}: {len(found)} snapshots, {len(watching.records)} records")
    files = write_page(watching, folder, state="finished")
    return summary_document(watching, folder, files, "finished", None)


def _step(policy: "Policy") -> int:
    return int(policy.info.training["steps"])
