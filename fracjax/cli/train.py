"""`fracjax train`: a policy by Brax's PPO or SAC, and the path its parameters took."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

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
    progress_bar,
    versions,
)
from fracjax.cli.watched_runs import (
    OPTIONS,
    check_folder,
    live_watch,
    note_progress,
    write_page,
)

__all__ = ["train"]

_OPTIONS = {
    "num_envs": "--envs",
    "episode_length": "--episode-length",
    "hidden": "--hidden",
    "activation": "--activation",
    "path_every": "--path-every",
}


@bad_input_is_exit_code_2
def train(
    environment: Annotated[str, typer.Argument(help="Environment, see `fracjax info envs`.")],
    algo: AlgorithmOption = "ppo",
    backend: BackendOption = None,
    steps: StepsOption = None,
    envs: Annotated[
        int | None, typer.Option(help="Environments in parallel. Default: by environment.")
    ] = None,
    discount: Annotated[
        float | None, typer.Option(help="Discount of training. Default: by environment.")
    ] = None,
    episode_length: Annotated[
        int | None, typer.Option(help="Steps of an episode. Default: by environment.")
    ] = None,
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers. Default: 32,32.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="tanh, swish, relu, … Default: by environment.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Policy file, .msgpack or .npz. Default: ENV.msgpack.")
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(
            help="Folder for snapshots of the policy during training, and for the path of its"
            " parameters (path.zarr, see `fracjax watch`)."
        ),
    ] = None,
    path_every: Annotated[int, typer.Option(help="Policy updates between snapshots.")] = 10,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --path: PPO with fresh Adam, environments and seeds.",
        ),
    ] = False,
    watch: Annotated[
        float | None,
        typer.Option(
            help="Watch the run in --path, too, for this fraction of training time: see"
            " `fracjax watch`."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing policy file.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights and exploration.")] = 0,
    quick: Annotated[bool, typer.Option(help="A tenth of the steps: a first look.")] = False,
    compilation_cache: CompilationCacheOption = True,
    json: JsonOption = False,
) -> None:
    """Train a policy, with progress, and keep snapshots of its parameters.

    Training runs in float32. The policy file opens in `fracjax diagnose --policy FILE`.

    Example: fracjax train hopper --backend spring --path hopper-path --out hopper.msgpack
    """
    target = out or Path(f"{environment}.msgpack")
    widths = None if hidden is None else _widths(hidden)
    check_seed(seed)
    _check_target(target, overwrite=overwrite)
    if path is None and (resume or watch is not None):
        msg = "--resume and --watch need --path, the folder of the run."
        raise ValueError(msg)
    if watch is not None and not 0 < watch <= 10:
        msg = f"--watch must lie between 0 and 10, but is {watch}."
        raise ValueError(msg)
    if path is not None:
        check_folder(path, algo, resume=resume)
    configure_jax("float32" if watch is None else "float64", compilation_cache=compilation_cache)
    from fracjax.cli.recorded_paths import TrainingPath
    from fracjax.rl import envs as registry
    from fracjax.rl import training
    from fracjax.rl.checkpoints import save_policy

    with naming_options(OPTIONS):
        env = registry.make(environment, backend=backend, dtype="float32")
        settings = training.default_settings(environment, algo)
    asked: dict[str, Any] = {
        "num_timesteps": steps,
        "num_envs": envs,
        "discount": discount,
        "episode_length": episode_length,
        "hidden": widths,
        "activation": activation,
    }
    settings = dataclasses.replace(
        settings, **{name: value for name, value in asked.items() if value is not None}
    )
    if quick:
        settings = dataclasses.replace(settings, num_timesteps=max(1, settings.num_timesteps // 10))

    with naming_options({**OPTIONS, **_OPTIONS}):
        training.check_settings(settings, path_every=path_every)
    watching = look = None
    if watch is not None and path is not None:
        run = path
        watching = live_watch(
            env,
            settings,
            algorithm=algo,
            folder=run,
            budget=watch,
            horizon=None,
            seed=seed,
            total_steps=settings.num_timesteps,
            on_record=lambda watching, _: note_progress(watching, run),
        )
        look = watching.policy_params_fn(normalize=settings.normalize_observations)

    returns: list[tuple[int, float]] = []
    recorded = TrainingPath(path, env, settings, algorithm=algo, seed=seed, path_every=path_every)
    with progress_bar() as report, recorded:
        report("compiling", 0, 0)

        def show(progress: training.TrainingProgress) -> None:
            recorded.on_progress(progress)
            returns.append((progress.steps, float(progress.episode_return)))
            extra = f"return {progress.episode_return:.4g}"
            if progress.steps:
                extra += f", {progress.steps_per_second:,.0f} steps/s"
            report("training (steps)", progress.steps, progress.total_steps, extra)

        def keep(steps: int, make_policy: Any, params: Any) -> None:
            recorded.on_params(steps, make_policy, params)
            if look is not None:
                look(steps, make_policy, params)

        policy = training.train(
            env,
            algorithm=algo,
            settings=settings,
            seed=seed,
            on_progress=show,
            path_folder=path,
            path_every=path_every,
            resume=resume,
            on_params=keep,
        )
        recorded.finish(policy)
    save_policy(policy, target)
    watched = None
    if watching is not None and path is not None:
        watched = watching.summary()
        watching.note("finished", step=policy.info.training["steps"])
        write_page(watching, path, state="finished")
    if json:
        document = {
            "policy": str(target),
            "path": None if path is None else str(path),
            "environment": env.name,
            "backend": env.backend,
            "returns": [{"steps": step, "return": value} for step, value in returns],
            "training": dict(policy.info.training),
            "watch": watched,
            "versions": versions(),
        }
        print_json(document)
    else:
        last = f", return {returns[-1][1]:.4g}" if returns else ""
        typer.echo(f"policy: {target}{last}")
        if watched is not None:
            share = 100 * (watched["share"] or 0.0)
            typer.echo(f"watch: {path}/watch.html, {watched['records']} records, {share:.1f} %")


def _widths(text: str) -> tuple[int, ...]:
    """Parse `32,32`."""
    try:
        widths = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        msg = f"--hidden must be widths such as 32,32, but is {text!r}."
        raise ValueError(msg)
    return widths


def _check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a policy file that could not be written, before the training it would cost."""
    if target.suffix not in (".msgpack", ".npz"):
        msg = f"--out must end in .msgpack or .npz, but is {target}."
        raise ValueError(msg)
    if target.exists() and not overwrite:
        msg = f"{target} exists; pass --overwrite to replace it or another --out."
        raise ValueError(msg)
    if not target.parent.is_dir():
        msg = f"--out must lie in a folder that exists, but {target.parent} does not."
        raise ValueError(msg)
    probe = target.with_name(f".{target.name}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        msg = f"cannot write to {target.parent}: {error.strerror or error}."
        raise ValueError(msg) from None
