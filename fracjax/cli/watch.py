"""`fracjax watch`: chaos and roughness along a training run, live or afterwards."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fracjax.cli.options import (
    AlgorithmOption,
    BackendOption,
    CompilationCacheOption,
    JsonOption,
    StepsOption,
)
from fracjax.cli.runtime import (
    bad_input_is_exit_code_2,
    check_seed,
    configure_jax,
    naming_options,
    print_json,
    versions,
)
from fracjax.cli.watch_back import read_run
from fracjax.cli.watched_runs import (
    OPTIONS,
    check_folder,
    live_watch,
    note_progress,
    summary_document,
    write_page,
)

if TYPE_CHECKING:
    from fracjax.diagnosis.watching import Record, Watch
    from fracjax.rl.environment import Environment
    from fracjax.rl.training import TrainingProgress
    from fracjax.rl.training_settings import Settings

__all__ = ["watch"]

_LOOKS = 20
_SIZES = ("small", "medium", "large")


@bad_input_is_exit_code_2
def watch(
    target: Annotated[
        str,
        typer.Argument(
            metavar="ENV|RUN",
            help="Environment to train in, see `fracjax info envs`, or folder of a run.",
        ),
    ],
    algo: AlgorithmOption = "ppo",
    backend: BackendOption = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Time to spend watching, as a fraction of training time. Default: 0.1; 0.5 with"
            " --quick, where compiling takes most."
        ),
    ] = None,
    steps: StepsOption = None,
    every: Annotated[
        int | None,
        typer.Option(help="Environment steps between two looks. Default: a twentieth of all."),
    ] = None,
    discount: Annotated[
        float | None,
        typer.Option(help="Discount of training, watched beside one with a tenth of its memory."),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(help="Steps of a return. Default: an episode, at most 1000."),
    ] = None,
    size: Annotated[
        str,
        typer.Option(help="small, medium or large: estimates of a run that is over."),
    ] = "medium",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted training in --out.")
    ] = False,
    follow: Annotated[
        bool, typer.Option(help="Follow a run that another process is writing.")
    ] = True,
    member: Annotated[
        int | None,
        typer.Option(help="Which of several seeds recorded in one path. Default: the first."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: ENV-run.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of training, states and lines.")] = 0,
    quick: Annotated[bool, typer.Option(help="A tenth of the steps: a first look.")] = False,
    compilation_cache: CompilationCacheOption = True,
    json: JsonOption = False,
) -> None:
    """Train and watch: return, Lyapunov and Hölder exponents, warnings, and what to try.

    With an environment, trains by Brax, keeps snapshots in the run's folder, and looks at
    the policy as often and as closely as the budget allows. With the folder of a run, follows it
    while it is trained, and afterwards looks at the snapshots that nobody looked at (those
    of `fracjax train --path RUN`, too). Writes watch.html, watch.png and records.jsonl.

    A run whose parameters were recorded (path.zarr, or the path itself as RUN) is followed by its
    path, too: directions D(β), changes and detours beside those of a random walk, diffusion and
    metrics, in the terminal, path.html and path.png.

    Example: fracjax watch acrobot --quick --out acrobot-run
    """
    budget = (0.5 if quick else 0.1) if budget is None else budget
    _check(budget, size, every, discount, horizon)
    check_seed(seed)
    from fracjax.rl import envs

    known = {entry.name for entry in envs.entries()}
    if target not in known:
        if out is not None or resume:
            msg = "--out and --resume go with an environment, not with a run."
            raise ValueError(msg)
        folder = Path(target)
        if not folder.is_dir():
            msg = f"{target} is neither an environment nor a folder: see `fracjax info envs`."
            raise ValueError(msg)
        with naming_options({"member": "--member"}):
            document = read_run(
                folder,
                size="small" if quick else size,
                follow=follow,
                discount=discount,
                horizon=horizon,
                budget=budget,
                seed=seed,
                member=member or 0,
                compilation_cache=compilation_cache,
            )
    else:
        if member is not None:
            msg = "--member goes with a run that holds several seeds, not with an environment."
            raise ValueError(msg)
        configure_jax("float64", compilation_cache=compilation_cache)
        from fracjax.rl.training import check_settings, default_settings

        with naming_options(OPTIONS):
            environment = envs.make(target, backend=backend, dtype="float32")
            settings = default_settings(target, algo)
        if quick:
            fewest = 2 * (settings.steps_before_updates + settings.steps_per_update)
            few = max(settings.num_timesteps // 10, fewest)
            settings = dataclasses.replace(settings, num_timesteps=few)
        asked: dict[str, Any] = {"num_timesteps": steps, "discount": discount}
        changes = {name: value for name, value in asked.items() if value is not None}
        settings = dataclasses.replace(settings, **changes)
        with naming_options(OPTIONS):
            check_settings(settings)
        document = _train(
            environment,
            settings,
            algorithm=algo,
            folder=out or Path(f"{target}-run"),
            budget=budget,
            every=every,
            horizon=horizon,
            seed=seed,
            resume=resume,
        )
    if json:
        print_json({**document, "versions": versions()})
    else:
        _print(document)


def _train(
    environment: "Environment",
    settings: "Settings",
    *,
    algorithm: str,
    folder: Path,
    budget: float,
    every: int | None,
    horizon: int | None,
    seed: int,
    resume: bool,
) -> dict[str, Any]:
    """Train and watch."""
    from fracjax.cli.recorded_paths import TrainingPath
    from fracjax.cli.watch_view import live_view
    from fracjax.rl import training

    check_folder(folder, algorithm, resume=resume)
    if resume:
        _check_resumable(folder)
    updates = max(1, (every or settings.num_timesteps // _LOOKS) // settings.steps_per_update)
    progress: dict[str, Any] = {"line": "compiling", "return": None}
    recorded = TrainingPath(
        folder, environment, settings, algorithm=algorithm, seed=seed, path_every=updates
    )
    with live_view() as show, recorded:

        def on_record(watching: "Watch", _: "Record") -> None:
            show(watching.records, progress["line"])
            note_progress(watching, folder)

        watching = live_watch(
            environment,
            settings,
            algorithm=algorithm,
            folder=folder,
            budget=budget,
            horizon=horizon,
            seed=seed,
            total_steps=settings.num_timesteps,
            on_record=on_record,
        )
        watching.note("running", step=0)

        look = watching.policy_params_fn(normalize=settings.normalize_observations)

        def on_params(steps: int, make_policy: Any, params: Any) -> None:
            recorded.on_params(steps, make_policy, params)
            look(steps, make_policy, params)

        def on_progress(report: "TrainingProgress") -> None:
            recorded.on_progress(report)
            progress["return"] = report.episode_return
            progress["line"] = (
                f"{environment.name}: {report.steps:,} of {report.total_steps:,} steps, return"
                f" {report.episode_return:.4g}, {report.steps_per_second:,.0f} steps/s, watching"
                f" {100 * watching.budget.share():.1f} % of {100 * budget:g} %"
            )
            show(watching.records, progress["line"])

        try:
            policy = training.train(
                environment,
                algorithm=algorithm,
                settings=settings,
                seed=seed,
                on_progress=on_progress,
                on_params=on_params,
                path_folder=folder,
                path_every=updates,
                resume=resume,
            )
            recorded.finish(policy)
        except BaseException:
            watching.note("interrupted")
            raise
        summary = watching.summary()  # the share of the training, without the page below
        watching.note("finished", step=policy.info.training["steps"])
        files = write_page(watching, folder, state="finished")
    return summary_document(watching, folder, files, "finished", summary)


def _check_resumable(folder: Path) -> None:
    """Refuse to go on where nothing has begun: a folder misspelt would be trained from scratch."""
    from fracjax.diagnosis.watching import read_configuration
    from fracjax.rl.snapshots import has_begun

    if not (has_begun(folder) or read_configuration(folder)):
        msg = f"{folder} holds no run to resume; leave --resume out to begin one."
        raise ValueError(msg)


def _print(document: Mapping[str, Any]) -> None:
    if "share" in document and document["share"] is not None:
        typer.echo(
            f"{document['records']} records; watching took {100 * document['share']:.1f} % of"
            f" training time ({100 * document['share_without_compiling']:.1f} % without compiling),"
            f" budget {100 * document['budget']:g} %"
        )
        if not document["records"]:
            typer.echo("no estimate fitted into the budget: raise --budget, or look afterwards")
        typer.echo(f"to look at the other snapshots: fracjax watch {document['run']}")
    for advice in document["advice"]:
        value = "" if advice["value"] is None else f" {advice['value']:.4g}"
        typer.echo(f"try: {advice['name']}{value} ({advice['use']}): {advice['reason']}")
    for file in document["files"]:
        typer.echo(file)


def _check(
    budget: float, size: str, every: int | None, discount: float | None, horizon: int | None
) -> None:
    """Refuse what cannot work before anything is imported, compiled or written."""
    if not 0 < budget <= 10:
        msg = f"--budget must lie between 0 and 10, but is {budget}."
        raise ValueError(msg)
    if size not in _SIZES:
        msg = f"--size must be one of {', '.join(_SIZES)}, but is {size!r}."
        raise ValueError(msg)
    if every is not None and every < 1:
        msg = f"--every must be positive, but is {every}."
        raise ValueError(msg)
    if discount is not None and not 0 < discount < 1:
        msg = f"--discount must lie inside (0, 1), but is {discount}."
        raise ValueError(msg)
    if horizon is not None and not 20 <= horizon <= 1_000_000:
        msg = f"--horizon must lie between 20 and 1000000, but is {horizon}."
        raise ValueError(msg)
