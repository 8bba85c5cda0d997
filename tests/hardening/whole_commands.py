"""Whole commands that begin, or go on with, what lies in a folder: jobs of `mortal.py`."""

import contextlib
import sys

import jax
import typer

from fracjax.cli import app

__all__ = ["command_diagnose", "command_reproduce", "command_scan"]


def _run(folder, *words):
    """Run a command, with the programs of its other lives; fail as it does."""
    jax.config.update("jax_compilation_cache_dir", str(folder.parents[1] / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    with contextlib.redirect_stdout(sys.stderr):  # what is printed belongs to the outcomes
        code = app([*map(str, words)], standalone_mode=False)
    if code:
        raise typer.Exit(code)


def command_scan(folder):
    scan = folder / "scan"
    how = ("--evaluator", "plain", "--chunk", 27)  # else it notes what it timed
    if (scan / "scan.json").exists():
        _run(folder, "scan", "--resume", scan, *how)
    else:
        sizes = ("--grid", "9x9", "--horizon", 10, "--gamma", 0.9)
        _run(folder, "scan", "pendulum", *sizes, *how, "--out", scan)


def command_diagnose(folder):
    sizes = ("--quick", "--horizon", 20, "--gamma", 0.9)
    _run(folder, "diagnose", "pendulum", *sizes, "--out", folder / "diagnosis")


def command_reproduce(folder):
    parts = ("references", "--quick", "--only", "cat")
    _run(folder, "reproduce", *parts, "--out", folder / "rows")
