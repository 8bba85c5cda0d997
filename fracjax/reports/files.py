"""Folders that results are written to: never another's, and whole files or none."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fracjax import safe_files

__all__ = ["PAGE", "RESULTS", "OutputError", "check_output", "make_folder", "write_files"]

RESULTS = "results.json"
PAGE = "report.html"


class OutputError(ValueError):
    """A folder that results cannot be written to."""


def check_output(folder: Path, configuration: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make sure that results of this configuration may be written to `folder`.

    The folder is created. Results of another configuration are never overwritten unasked.

    Raises:
        OutputError: If the folder is a file, cannot be written to, or holds results of
            another configuration.
    """
    make_folder(folder)
    if overwrite:
        return
    results = folder / RESULTS
    if not results.exists():
        if (folder / PAGE).exists():
            msg = f"{folder} holds a report of unknown origin; pass --overwrite to replace it."
            raise OutputError(msg)
        return
    try:
        found = safe_files.read_json(results)["configuration"]
    except (OSError, ValueError, KeyError, TypeError):
        msg = f"{results} is not a result of fracjax; pass --overwrite to replace it."
        raise OutputError(msg) from None
    wanted = json.loads(json.dumps(configuration))
    if found != wanted:
        keys = sorted(set(wanted) | set(found if isinstance(found, dict) else {}))
        other = [
            key for key in keys if not isinstance(found, dict) or found.get(key) != wanted.get(key)
        ]
        msg = (
            f"{folder} holds results of another configuration ({', '.join(other)} differ);"
            " pass --overwrite to replace them or another --out."
        )
        raise OutputError(msg)


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there, and make sure that it can be written to.

    Raises:
        OutputError: If it is a file or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file; give a folder."
        raise OutputError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f"cannot write to {folder}: {error.strerror or error}."
        raise OutputError(msg) from None


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files, each whole or not at all: a run that is killed leaves the old or the new.

    Raises:
        OutputError: If the disk is full or the folder has vanished.
    """
    try:
        for name, content in files.items():
            with safe_files.written_whole(folder / name) as file:
                file.write(content)
    except OSError as error:
        msg = f"cannot write to {folder}: {error.strerror or error}."
        raise OutputError(msg) from None
    return [folder / name for name in files]
