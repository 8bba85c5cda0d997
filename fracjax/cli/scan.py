"""`fracjax scan`: the return over a line or plane of policies, resumable."""

import dataclasses
import json as json_
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fracjax.cli.policies import digest, load_environment_and_policy, policy_name
from fracjax.cli.runtime import (
    Report,
    bad_input_is_exit_code_2,
    configure_jax,
    parse_dtype,
    print_json,
    progress_bar,
)

if TYPE_CHECKING:
    import xarray

    from fracjax.directions import DirectionKind

__all__ = ["scan"]

_REQUEST = "scan.json"
_FORMAT = 1
_MAX_STEPS = 1_000_000
_MAX_POINTS = 100_000_000
_KINDS: "dict[str, DirectionKind]" = {"random": "gaussian", "filter": "filter"}


@dataclasses.dataclass(frozen=True)
class _Request:
    """What decides the numbers; written beside them, and read again by --resume."""

    environment: str
    backend: str | None
    policy: str | None
    policy_digest: str | None
    plane: str
    grid: tuple[int, ...]
    span: float
    gamma: tuple[float, ...]
    horizon: int
    return_states: int
    stochastic: bool
    dtype: str
    seed: int


@bad_input_is_exit_code_2
def scan(
    environment: Annotated[
        str | None, typer.Argument(help="Environment, see `fracjax info envs`.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Physics backend of a Brax environment.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="A file (.msgpack, .npz, Brax checkpoint), `trained` (ships with fracjax, the"
            " default) or `untrained`."
        ),
    ] = None,
    plane: Annotated[
        str,
        typer.Option(help="Directions: `random` (Gaussian) or `filter` (random, as filters)."),
    ] = "random",
    grid: Annotated[
        str, typer.Option(help="Points along each direction, as 301x301, or 301 for a line.")
    ] = "61x61",
    span: Annotated[
        float,
        typer.Option(help="Half the width: change per parameter (random), share of it (filter)."),
    ] = 0.1,
    gamma: Annotated[
        list[float] | None,
        typer.Option(help="Discount factor; repeat for several. [default: 0.99]"),
    ] = None,
    horizon: Annotated[int, typer.Option(help="Steps of a return.")] = 1000,
    return_states: Annotated[
        int, typer.Option(help="Initial states that a return averages over.")
    ] = 2,
    stochastic: Annotated[
        bool, typer.Option(help="Returns of the stochastic policy, common random numbers.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the scan.")] = Path("fracjax-scan"),
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a scan to go on with; nothing else is needed.")
    ] = None,
    trust: Annotated[
        bool, typer.Option(help="Read a pickle (Brax's save_params), restricted to arrays.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    seed: Annotated[int, typer.Option(help="Seed of states and directions.")] = 0,
    compilation_cache: Annotated[
        bool, typer.Option(help="Keep compiled programs on disk for the next run.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Evaluate the return over a line or plane of policies; stop and resume at any time.

    Writes values/ (a Zarr store), scan.json and scan.png. Blocks of points are on disk as soon
    as they are done; the same command, or --resume, goes on from there with the same bytes.

    Example: fracjax scan acrobot --grid 301x301 --span 0.05 --out scans/acrobot
    """
    if (environment is None) == (resume is None):
        msg = "give either an environment or --resume FOLDER."
        raise ValueError(msg)
    if resume is None:
        request = _Request(
            environment=str(environment),
            backend=backend,
            policy=_resolved(policy),
            policy_digest=digest(policy),
            plane=plane,
            grid=_parse_grid(grid),
            span=span,
            gamma=tuple(gamma or (0.99,)),
            horizon=horizon,
            return_states=return_states,
            stochastic=stochastic,
            dtype=parse_dtype(dtype),
            seed=seed,
        )
        folder = out
    else:
        folder = resume
        request = _read_request(folder)
    _check(request)
    configure_jax(request.dtype, compilation_cache=compilation_cache)
    with progress_bar() as report:
        data, title = _run(request, folder, trust=trust, new=resume is None, report=report)
        report("picture", 0, 0)
        _draw(data, request.gamma, title, folder / "scan.png")
    summary = _summary(data, request, folder)
    if json:
        print_json(summary)
    else:
        typer.echo(
            f"{summary['points']:,} points, {summary['without_a_finite_return']} without a finite"
            f" return; picture: {folder / 'scan.png'}, values: {folder / 'values'}"
        )


def _resolved(policy: str | None) -> str | None:
    """Absolute path of a file, so that --resume works from any folder."""
    return str(Path(policy).resolve()) if policy and Path(policy).exists() else policy


def _parse_grid(text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 2 or not all(part.isdecimal() for part in parts):
        msg = f"--grid must look like 301x301, or 301 for a line, but is {text!r}."
        raise ValueError(msg)
    return tuple(int(part) for part in parts)


def _read_request(folder: Path) -> _Request:
    """Read what a scan was asked for; the file is not trusted to be well formed."""
    path = folder / _REQUEST
    try:
        document = json_.loads(path.read_text())
        if document["format"] != _FORMAT:
            msg = f"{path} is of another version of fracjax."
            raise ValueError(msg)
        fields = dict(document["request"])
        for name in ("grid", "gamma"):
            fields[name] = tuple(fields[name])
        request = _Request(**fields)
    except FileNotFoundError:
        msg = f"{folder} holds no scan to resume ({_REQUEST} is missing)."
        raise ValueError(msg) from None
    except (KeyError, TypeError, json_.JSONDecodeError, UnicodeDecodeError):
        msg = f"{path} does not describe a scan."
        raise ValueError(msg) from None
    kinds: dict[str, Any] = {
        "environment": str,
        "backend": str | None,
        "policy": str | None,
        "policy_digest": str | None,
        "plane": str,
        "span": int | float,
        "horizon": int,
        "return_states": int,
        "stochastic": bool,
        "dtype": str,
        "seed": int,
    }
    well_formed = all(isinstance(getattr(request, name), kind) for name, kind in kinds.items())
    well_formed &= all(type(size) is int for size in request.grid)
    well_formed &= all(isinstance(value, int | float) for value in request.gamma)
    if not well_formed:
        msg = f"{path} does not describe a scan."
        raise ValueError(msg)
    return request


def _check(request: _Request) -> None:
    """Refuse what cannot work before anything is imported, compiled or written."""
    parse_dtype(request.dtype)
    if request.plane not in _KINDS:
        msg = f"--plane must be one of {', '.join(_KINDS)}, but is {request.plane!r}."
        raise ValueError(msg)
    points = 1
    for size in request.grid:
        points *= size
    if min(request.grid, default=0) < 2 or points > _MAX_POINTS or len(request.grid) > 2:
        msg = (
            f"--grid must have at least 2 points along one or two directions, and at most"
            f" {_MAX_POINTS:,}, but is {'x'.join(map(str, request.grid))}."
        )
        raise ValueError(msg)
    if not 0 < request.span < 1e6:
        msg = f"--span must be positive, but is {request.span}."
        raise ValueError(msg)
    if not request.gamma or not all(0 < gamma <= 1 for gamma in request.gamma):
        msg = f"--gamma must lie inside (0, 1], but is {list(request.gamma)}."
        raise ValueError(msg)
    bounds = {"horizon": (1, _MAX_STEPS), "return_states": (1, 4096)}
    for name, (low, high) in bounds.items():
        value = getattr(request, name)
        if not low <= value <= high:
            msg = f"--{name.replace('_', '-')} must lie between {low} and {high}, but is {value}."
            raise ValueError(msg)


def _run(
    request: _Request, folder: Path, *, trust: bool, new: bool, report: Report
) -> "tuple[xarray.Dataset, str]":
    """Evaluate what is missing; return everything, and a heading."""
    import jax

    from fracjax import landscapes
    from fracjax.diagnosis import problem_of_policy

    environment, policy = load_environment_and_policy(
        request.environment,
        request.policy,
        backend=request.backend,
        dtype=request.dtype,
        seed=request.seed,
        stochastic=request.stochastic,
        trust=trust,
    )
    if digest(request.policy) != request.policy_digest:
        msg = f"{request.policy} is not the file that the scan in {folder} began with."
        raise ValueError(msg)
    key = jax.random.key(request.seed)
    problem = problem_of_policy(
        environment,
        policy,
        jax.random.fold_in(key, 0),
        discounts=request.gamma,
        horizon=request.horizon,
        num_return_states=request.return_states,
        num_states=request.return_states,
        stochastic=request.stochastic,
    )
    place = (problem.params, jax.random.fold_in(key, 1))
    span, kind = request.span, _KINDS[request.plane]
    if len(request.grid) == 1:
        grid = landscapes.line(*place, span=span, num_points=request.grid[0], kind=kind)
    else:
        grid = landscapes.plane(*place, span=span, num_points=request.grid, kind=kind)
    if new:
        _write_request(folder, request)
    steps = request.horizon * request.return_states
    start: list[tuple[int, float]] = []  # points found on disk, and when

    def progress(done: int) -> None:
        if not start:
            start.append((done, time.monotonic()))
        first, begin = start[0]
        rate = (done - first) / (time.monotonic() - begin) if done > first else 0.0
        extra = f"{rate:,.0f} points/s, {rate * steps:,.0f} steps/s" if rate else ""
        report("scan", done, grid.size, extra)

    data = landscapes.scan(
        problem.objective,
        problem.params,
        grid,
        jax.random.fold_in(key, 2),
        on_progress=progress,
        store=folder / "values",
        config=json_.loads(json_.dumps(dataclasses.asdict(request))),
    )
    return data, f"{environment.name}, {policy_name(policy.info.origin)}"


def _write_request(folder: Path, request: _Request) -> None:
    """Say what the folder is for; another scan's is left alone."""
    path = folder / _REQUEST
    if path.exists():
        found = dataclasses.asdict(_read_request(folder))
        wanted = dataclasses.asdict(request)
        differing = [
            f"{name}: {found[name]} there, {wanted[name]} now"
            for name in wanted
            if found[name] != wanted[name]
        ]
        if differing:
            msg = f"{folder} holds another scan ({'; '.join(differing)}); choose another --out."
            raise ValueError(msg)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} holds something that is no scan; choose another --out."
        raise ValueError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    document = {"format": _FORMAT, "request": dataclasses.asdict(request)}
    beside = path.with_suffix(".partial")
    beside.write_text(json_.dumps(document, indent=1) + "\n")
    os.replace(beside, path)


def _draw(data: "xarray.Dataset", gamma: tuple[float, ...], title: str, path: Path) -> None:
    from fracjax.plotting import scan_figure

    beside = path.with_suffix(".partial.png")
    scan_figure(data, gamma, title=title).savefig(beside, dpi=110)
    os.replace(beside, path)


def _summary(data: "xarray.Dataset", request: _Request, folder: Path) -> dict[str, Any]:
    """Give numbers of a finished scan, in JSON's types."""
    import numpy as np

    values = data["value"].values
    finite = np.isfinite(values)
    by_discount = []
    for index, gamma in enumerate(request.gamma):
        kept = values[..., index][finite[..., index]]
        by_discount.append(
            {
                "gamma": gamma,
                "smallest": float(kept.min()) if kept.size else None,
                "largest": float(kept.max()) if kept.size else None,
            }
        )
    return {
        "folder": str(folder),
        "points": int(np.prod(values.shape[:-1])),
        "without_a_finite_return": int((~finite.all(axis=-1)).sum()),
        "returns": by_discount,
        "request": json_.loads(json_.dumps(dataclasses.asdict(request))),
    }
