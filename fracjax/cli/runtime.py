"""What every command does first: JAX settings, progress on stderr, errors as one line."""

import codecs
import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = [
    "WITHOUT_GREEK",
    "Report",
    "bad_input_is_exit_code_2",
    "check_seed",
    "configure_jax",
    "naming_options",
    "parse_dtype",
    "print_json",
    "progress_bar",
    "versions",
]

_MOST_CHARACTERS = 1000
_LARGEST_SEED = 2**32 - 1


def bad_input_is_exit_code_2(command: Callable) -> Callable:
    """Turn an error about the input, or a file, into one line on stderr and exit code 2.

    Diverged training is exit code 1, Ctrl-C is 130.
    """

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (ValueError, OSError) as error:
            typer.echo(f"fracjax: error: {_one_line(error)}", err=True)
            raise typer.Exit(2) from None
        except FloatingPointError as error:  # training that diverged: not the input's fault
            typer.echo(f"fracjax: {_one_line(error)}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:  # Typer would end without a word
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None

    return guarded


def _one_line(error: Exception) -> str:
    """Message of an error; what it quotes from a file must not speak to the terminal."""
    text = " ".join(str(error).split()) or type(error).__name__
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]}…"
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def parse_dtype(dtype: str) -> str:
    """Check a `--dtype`.

    Raises:
        ValueError: If it is neither float32 nor float64.
    """
    if dtype not in ("float32", "float64"):
        msg = f"--dtype must be float32 or float64, but is {dtype!r}."
        raise ValueError(msg)
    return dtype


def check_seed(seed: int) -> None:
    """Check a `--seed`: a key is made of 32 bits, more overflow or are another seed.

    Raises:
        ValueError: If it has more.
    """
    if not 0 <= seed <= _LARGEST_SEED:
        msg = f"--seed must lie between 0 and {_LARGEST_SEED}, but is {seed}."
        raise ValueError(msg)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace one character: a bound keeps its meaning, and a table its columns."""
    assert isinstance(error, UnicodeEncodeError)
    text, at = error.object, error.start
    if text[at] != "≥":
        return "-" if text[at] in "−–" else "?", at + 1
    return ">=", at + 1 + text.startswith(" ", at + 1)


WITHOUT_GREEK = "fracjax.ascii"
codecs.register_error(WITHOUT_GREEK, _in_ascii)


@contextlib.contextmanager
def naming_options(options: Mapping[str, str]) -> Iterator[None]:
    """Name options instead of the arguments of Python that they set, in a `ValueError`.

    Args:
        options: Option by argument; others are named as they are.
    """
    try:
        yield
    except ValueError as error:

        def named(found: re.Match) -> str:
            return options.get(found["name"], found[0])

        raise ValueError(re.sub(r"(Argument )?`(?P<name>\w+)`", named, str(error))) from error


def _cache_folder() -> Path:
    """Folder of the persistent compilation cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fracjax" / "jax"


def configure_jax(dtype: str, *, compilation_cache: bool = True) -> None:
    """Set precision, one CPU device per core, and the persistent compilation cache.

    The cache lies in `$XDG_CACHE_HOME/fracjax/jax` (by default under `~/.cache`) unless
    `JAX_COMPILATION_CACHE_DIR` names another folder. Call it before JAX computes.
    """
    import jax

    from fracjax.devices import one_cpu_device_per_core

    one_cpu_device_per_core()
    jax.config.update("jax_enable_x64", dtype == "float64")
    if not compilation_cache:
        jax.config.update("jax_enable_compilation_cache", False)
    elif getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        folder = _cache_folder()
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(folder))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def versions() -> dict[str, str]:
    """Versions behind a result, and the device it ran on."""
    import jax

    names = ("fracjax", "jax", "jaxlib", "brax", "flax", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    device = jax.local_devices()[0]
    found["python"] = platform.python_version()
    found["platform"] = f"{jax.default_backend()} ({device.device_kind} × {jax.device_count()})"
    return found


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
    sys.stdout.flush()


@runtime_checkable
class Report(Protocol):
    """What a command calls to move the progress bar."""

    def __call__(self, stage: str, done: int, total: int, extra: str = "") -> None:
        """Say how much of a stage is done."""


@contextlib.contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Report]:
    """Draw progress on stderr; yields `report(stage, done, total, extra)`.

    A new stage ends the one before. A total of 0 means that its length is not known.
    """
    console = Console(stderr=True, quiet=quiet)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[extra]}"),
    )
    progress = Progress(*columns, console=console)
    current: dict[str, Any] = {"stage": None, "task": None}

    def finish() -> None:
        if current["task"] is not None:
            task = progress.tasks[progress.task_ids.index(current["task"])]
            total = task.total or 1
            progress.update(current["task"], total=total, completed=total)

    def report(stage: str, done: int, total: int, extra: str = "") -> None:
        progress.start()  # with the first stage: an error before it leaves no empty line
        if stage != current["stage"]:
            finish()
            current["stage"] = stage
            current["task"] = progress.add_task(stage, total=total or None, extra=extra)
        progress.update(current["task"], completed=done, total=total or None, extra=extra)

    try:
        yield report
        finish()
    finally:
        if current["task"] is not None:
            progress.stop()
