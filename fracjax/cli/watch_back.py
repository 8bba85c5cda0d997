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
    from fracjax.diagnosis.watching import Record
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
    from fracjax.diagnosis.watching import read_state

    drawn = None
    while True:
        state, records = read_state(folder), _records(folder)
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
        read_state,
    )
    from fracjax.reports.watching import write_watch

    records, configuration = _records(folder), read_configuration(folder) or {}
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

    _records(folder)
    found = read_policies(folder)
    first = found[0]
    for policy in found:
        _step(policy)
    if configuration is None:
        training = dict(first.info.training)
        stated = training.get("settings")
        settings = stated if isinstance(stated, dict) else {}
        own: dict[str, Any] = {
            "environment": first.info.environment,
            "backend": first.info.backend,
            "algorithm": training.get("algorithm"),
            "seed": seed,
            "budget": budget,
            "total_steps": settings.get("num_timesteps"),
        }
        gamma, length = settings.get("discount", 0.99), settings.get("episode_length", 1000)
        _check_said(folder, own, (gamma,), length)
        discounts = with_companion(discount or gamma)
        steps = horizon or min(1000, length)
    else:
        if discount is not None or horizon is not None:
            msg = f"--discount and --horizon of {folder} are already chosen; give another folder."
            raise ValueError(msg)
        own = {name: value for name, value in configuration.items() if name not in _OWN}
        found_discounts, steps = configuration.get("discounts"), configuration.get("horizon")
        _check_said(folder, own, found_discounts, steps)
        discounts = tuple(found_discounts or ())
    wanted = next(option for option in SIZES if option.name == size)
    watching = make_watch(
        str(own["environment"]),
        own.get("backend"),
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


def _records(folder: Path) -> "list[Record]":
    """Read the records of a run, which are of the same discounts.

    Raises:
        ValueError: If they are damaged.
    """
    from fracjax.diagnosis.watching import read_records

    records = read_records(folder)
    if len({tuple(found.discount for found in record.by_discount) for record in records}) > 1:
        msg = f"{folder} holds records of different discounts: its files are damaged."
        raise ValueError(msg)
    return records


def _check_said(folder: Path, own: dict[str, Any], discounts: Any, steps: Any) -> None:
    """Check what a run says of itself: it was read from files.

    Raises:
        ValueError: If it cannot be.
    """
    several = isinstance(discounts, list | tuple) and len(discounts) > 0
    budget: Any
    seed: Any
    total: Any
    budget, seed, total = (own.get(name) for name in ("budget", "seed", "total_steps"))
    right = {
        "environment": isinstance(own.get("environment"), str),
        "backend": own.get("backend") is None or isinstance(own.get("backend"), str),
        "budget": type(budget) in (int, float) and 0 < budget <= 10,
        "seed": type(seed) is int and 0 <= seed < 2**32,
        "total_steps": total is None or (type(total) is int and 0 < total < 2**63),
        "discounts": several and all(type(g) is float and 0 < g < 1 for g in discounts),
        "horizon": type(steps) is int and 1 <= steps <= 1_000_000,
    }
    wrong = [name for name, whether in right.items() if not whether]
    if wrong:
        msg = f"{folder} does not say what was trained ({', '.join(wrong)}): its files are damaged."
        raise ValueError(msg)


def _step(policy: "Policy") -> int:
    steps: Any = policy.info.training.get("steps")
    if type(steps) is not int or not 0 <= steps < 2**63:
        msg = f"Policy file `{policy.info.origin}` does not say after how many steps it was kept."
        raise ValueError(msg)
    return steps
