"""The reference of the command line, from the commands themselves.

A page holds the line `<!-- command line -->`; the options of every command take its place.
"""

import re
import types
import typing
from typing import Any

import typer

__all__ = ["command_reference", "setup"]

MARKER = "<!-- command line -->"


def _kind(parameter: Any, hints: dict[str, Any]) -> str:
    """Return what a value of an option looks like: `INT`, or the name the command gives it."""
    if parameter.is_flag:
        return ""
    kinds = [hints[parameter.name]]
    while typing.get_args(kinds[0]):  # int | None, list[float]
        kinds = [kind for kind in typing.get_args(kinds[0]) if kind is not types.NoneType]
    return f" {parameter.metavar or kinds[0].__name__.upper()}"


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name
    return name if parameter.required else f"[{name}]"


def _code(text: str) -> str:
    """Put options into backticks, and commands after `Example:`."""
    text = re.sub(r"(Example|Two machines): ([^\n]+(?:\n[^\n]+)*)", _example, text)
    parts = re.split(r"(`[^`]*`|```[^`]*```)", text)
    parts[::2] = [re.sub(r"(?<![\w-])(--[a-z][\w-]*)", r"`\1`", part) for part in parts[::2]]
    return "".join(parts)


def _example(match: re.Match) -> str:
    command, _, rest = " ".join(match[2].split()).partition(" (")
    return f"{match[1]}: `{command}`" + (f" ({rest}" if rest else "")


def _default(parameter: Any) -> str:
    shown = parameter.default
    if shown is None or callable(shown) or shown in ([], (), "") or parameter.required:
        return ""
    if isinstance(shown, bool):
        names = parameter.opts if shown else parameter.secondary_opts
        return f" Default: `{names[0]}`." if names and parameter.secondary_opts else ""
    return f" Default: `{shown}`."


def _row(parameter: Any, hints: dict[str, Any]) -> str:
    if parameter.param_type_name == "argument":
        shown = f"`{parameter.metavar or parameter.name}`"
    else:
        shown = ", ".join(f"`{name}{_kind(parameter, hints)}`" for name in parameter.opts)
        shown += "".join(f", `{name}`" for name in parameter.secondary_opts)
    text = _code(" ".join((getattr(parameter, "help", "") or "").split()))
    return f"| {shown} | {text}{_default(parameter)} |".replace("\\", "\\\\")


def command_reference(app: typer.Typer) -> str:
    """Write every command with its arguments and options, as Markdown."""
    group: Any = typer.main.get_command(app)  # of a click that Typer may bring itself
    functions = {c.name or c.callback.__name__: c.callback for c in app.registered_commands}
    parts = []
    for name, command in group.commands.items():
        hints = typing.get_type_hints(functions[name])
        rows = [_row(parameter, hints) for parameter in command.params]
        about = _code((command.help or "").replace("\b", "").strip())
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join([f"fracjax {name} [OPTIONS]", *map(_argument, arguments)])
        parts += [f"## {name}", f"```text\n{usage}\n```", about]
        parts += ["\n".join(["{.names}", "| | |", "|---|---|", *rows])]
    return "\n\n".join(parts)


def _read(app: Any, docname: str, source: list[str]) -> None:  # noqa: ARG001
    if MARKER in source[0]:
        from fracjax.cli import app as commands

        source[0] = source[0].replace(MARKER, command_reference(commands))


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
