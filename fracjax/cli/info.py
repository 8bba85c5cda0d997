"""`fracjax info`: what is here, and what works."""

import dataclasses
from typing import Annotated, Any

import typer

from fracjax.cli.runtime import bad_input_is_exit_code_2, configure_jax, print_json, versions

__all__ = ["info"]

_TOPICS = ("versions", "envs", "policies")


@bad_input_is_exit_code_2
def info(
    topic: Annotated[
        str, typer.Argument(help="versions, envs (environments) or policies (that ship).")
    ] = "versions",
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List versions and devices, environments with their backends, or shipped policies.

    Example: fracjax info envs
    """
    if topic not in _TOPICS:
        msg = f"topic must be one of {', '.join(_TOPICS)}, but is {topic!r}."
        raise ValueError(msg)
    {"versions": _versions, "envs": _envs, "policies": _policies}[topic](json)


def _versions(json: bool) -> None:
    configure_jax("float32")
    found = versions()
    if json:
        print_json(found)
        return
    for name, value in found.items():
        typer.echo(f"{name:<10} {value}")


def _envs(json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from fracjax.rl import envs

    entries = envs.entries()
    if json:
        print_json({"environments": [dataclasses.asdict(entry) for entry in entries]})
        return
    table = Table(
        "name", "source", "backends (default first)", "sizes: obs, action, state", "notes"
    )
    for entry in entries:
        sizes = (entry.observation_size, entry.action_size, entry.state_size)
        table.add_row(
            entry.name,
            entry.source,
            ", ".join(entry.backends) or "none",
            ", ".join("–" if size is None else str(size) for size in sizes),
            f"[red]does not work: {entry.broken}[/]" if entry.broken else entry.note or "",
        )
    Console().print(table)


def _policies(json: bool) -> None:
    from fracjax.rl import gallery

    found = [gallery.shipped(name) for name in gallery.shipped_names()]
    rows: list[dict[str, Any]] = [
        {
            "name": str(policy.info.environment),
            "backend": policy.info.backend,
            "network": policy.network.description,
            "training": dict(policy.info.training),
        }
        for policy in found
    ]
    if json:
        print_json({"policies": rows})
        return
    for row in rows:
        typer.echo(f"{row['name']} ({row['backend']}): {row['network']}")
        for name, value in row["training"].items():
            typer.echo(f"    {name}: {value}")
