"""What most scripts do first: read the same options, import peers, say where they run."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from interleaved import load, machine

__all__ = ["announced", "options", "with_rounds"]


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


def with_rounds(arguments: argparse.Namespace, rounds: tuple[int, int]) -> argparse.Namespace:
    """Fill in the number of rounds: usual, or when quick."""
    if arguments.repeats is None:
        arguments.repeats = rounds[arguments.quick]
    return arguments


def announced(
    packages: Sequence[str],
) -> tuple[dict[str, object], dict[str, ModuleType], dict[str, str]]:
    """Machine, peers that could be imported, and versions of all, which are printed."""
    host = machine()
    modules, versions = load(packages)
    for name, value in {**host, **versions}.items():
        print(f"{name}: {value}")
    return host, modules, versions
