"""What most scripts do first and last: read options, import peers, say where; show and write."""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from interleaved import load, machine, table

__all__ = ["announced", "options", "show", "some_of", "with_rounds", "write"]

Choice = TypeVar("Choice")


def options(description: str | None, rounds: tuple[int, int]) -> argparse.ArgumentParser:
    """A parser that knows `--quick`, `--json` and `--repeats`; for rounds see `with_rounds`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual, quick = rounds
    parser.add_argument("--quick", action="store_true", help="small and noisy: does it run?")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all numbers there")
    parser.add_argument(
        "--repeats", type=int, help=f"timed rounds (default {usual}, quick {quick})"
    )
    return parser


def some_of(known: Iterable[Choice]) -> Callable[[str], list[Choice]]:
    """The `type` of an option that takes some of the known things, separated by commas."""
    by_name = {str(each): each for each in known}

    def chosen(text: str) -> list[Choice]:
        names = text.split(",")
        if unknown := sorted(set(names) - set(by_name)):
            msg = f"must name some of {', '.join(by_name)}, but names {', '.join(unknown)}"
            raise argparse.ArgumentTypeError(msg)
        return [by_name[name] for name in names]

    return chosen


def with_rounds(arguments: argparse.Namespace, rounds: tuple[int, int]) -> argparse.Namespace:
    """Fill in the number of rounds: usual, or when quick."""
    if arguments.repeats is None:
        arguments.repeats = rounds[arguments.quick]
    return arguments


def announced(
    packages: Sequence[str],
) -> tuple[dict[str, object], dict[str, ModuleType], dict[str, str]]:
    """Machine, peers that could be imported, and versions of all, which are printed.

    Of a peer that is missing, or fails when it is imported, the reason stands for the version.
    """
    host = machine()
    modules, versions = load(packages)
    for name, value in {**host, **versions}.items():
        print(f"{name}: {value}")
    return host, modules, versions


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    print(f"\n{title}\n\n{table(rows)}" if rows else f"\n{title}\n\n(nothing measured)")


def write(result: Mapping[str, object], path: Path) -> None:
    """Write JSON, with null for what is not finite."""
    text = json.dumps(result, default=dataclasses.asdict)
    clean = json.loads(text, parse_constant=lambda _: None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(clean, indent=1) + "\n")
