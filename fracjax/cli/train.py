"""`fracjax train`: a policy by Brax's PPO, and the path its parameters took."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from fracjax.cli.runtime import (
    bad_input_is_exit_code_2,
    configure_jax,
    print_json,
    progress_bar,
    versions,
)

__all__ = ["train"]


@bad_input_is_exit_code_2
def train(
    environment: Annotated[str, typer.Argument(help="Environment, see `fracjax info envs`.")],
    algo: Annotated[str, typer.Option(help="Training algorithm: ppo.")] = "ppo",
    backend: Annotated[
        str | None, typer.Option(help="Physics backend of a Brax environment.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Environment steps. [default: by environment]")
    ] = None,
    envs: Annotated[
        int | None, typer.Option(help="Environments in parallel. [default: by environment]")
    ] = None,
    discount: Annotated[
        float | None, typer.Option(help="Discount of training. [default: by environment]")
    ] = None,
    episode_length: Annotated[
        int | None, typer.Option(help="Steps of an episode. [default: by environment]")
    ] = None,
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers. [default: 32,32]")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="tanh, swish, relu, … [default: by environment]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Policy file, .msgpack or .npz. [default: ENV.msgpack]")
    ] = None,
    path: Annotated[
        Path | None, typer.Option(help="Folder for snapshots of the policy during training.")
    ] = None,
    path_every: Annotated[int, typer.Option(help="Policy updates between snapshots.")] = 10,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing policy file.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights and exploration.")] = 0,
    quick: Annotated[bool, typer.Option(help="A tenth of the steps: a first look.")] = False,
    compilation_cache: Annotated[
        bool, typer.Option(help="Keep compiled programs on disk for the next run.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Train a policy, with progress, and keep snapshots of its parameters.

    Training runs in float32. The policy file opens in `fracjax diagnose --policy FILE`.

    Example: fracjax train hopper --backend spring --path hopper-path --out hopper.msgpack
    """
    target = out or Path(f"{environment}.msgpack")
    widths = None if hidden is None else _widths(hidden)
    _check_target(target, overwrite=overwrite)
    configure_jax("float32", compilation_cache=compilation_cache)
    from fracjax.rl import envs as registry
    from fracjax.rl import training
    from fracjax.rl.checkpoints import save

    env = registry.make(environment, backend=backend, dtype="float32")
    settings = training.default_settings(environment)
    asked: dict[str, Any] = {
        "num_timesteps": steps,
        "num_envs": envs,
        "discount": discount,
        "episode_length": episode_length,
    }
    settings = dataclasses.replace(
        settings, **{name: value for name, value in asked.items() if value is not None}
    )
    if quick:
        settings = dataclasses.replace(settings, num_timesteps=max(1, settings.num_timesteps // 10))

    returns: list[tuple[int, float]] = []
    with progress_bar() as report:
        report("compiling", 0, 0)

        def show(progress: training.TrainingProgress) -> None:
            returns.append((progress.steps, float(progress.episode_return)))
            extra = f"return {progress.episode_return:.4g}"
            if progress.steps:
                extra += f", {progress.steps_per_second:,.0f} steps/s"
            report("training (steps)", progress.steps, progress.total_steps, extra)

        policy = training.train(
            env,
            algorithm=algo,
            settings=settings,
            seed=seed,
            hidden=widths,
            activation=activation,
            on_progress=show,
            path_folder=path,
            path_every=path_every,
        )
    save(policy, target)
    if json:
        document = {
            "policy": str(target),
            "path": None if path is None else str(path),
            "environment": env.name,
            "backend": env.backend,
            "returns": [{"steps": step, "return": value} for step, value in returns],
            "training": dict(policy.info.training),
            "versions": versions(),
        }
        print_json(document)
    else:
        last = f", return {returns[-1][1]:.4g}" if returns else ""
        typer.echo(f"policy: {target}{last}")


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
