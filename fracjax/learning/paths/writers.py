"""Who writes a path: one process at a time, and how it stands."""

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import IO

from fracjax import safe_files
from fracjax.learning.paths.store import PathError, replace_text

__all__ = ["note_state", "take_lock"]

_LOCK = "writer.lock"
_STATE = "state.json"


def take_lock(folder: Path) -> IO[bytes]:
    """Hold the right to write; the kernel takes it back when the process ends.

    Raises:
        PathError: If another process, or another recorder of this one, holds it.
    """
    lock = open(folder / _LOCK, "ab", opener=_without_waiting)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        writer = "another process"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            writer = f"process {safe_files.read_json(folder / _STATE)['process']}"
        msg = f"{folder} is being written by {writer}: wait for it, or choose another folder."
        raise PathError(msg) from None
    return lock


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe in its place, which nobody reads, is an error."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def note_state(folder: Path, state: str) -> None:
    """Say how the run stands, in the form that `fracjax watch` reads."""
    document = {"state": state, "process": os.getpid()}
    replace_text(folder / _STATE, json.dumps(document) + "\n")
