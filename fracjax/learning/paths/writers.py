"""Who writes a path: one process at a time, and how it stands."""

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import IO

from fracjax.learning.paths.store import PathError, replace_text

__all__ = ["note_state", "take_lock"]

_LOCK = "writer.lock"
_STATE = "state.json"


def take_lock(folder: Path) -> IO[bytes]:
    """Hold the right to write; the kernel takes it back when the process ends.

    Raises:
        PathError: If another process, or another recorder of this one, holds it.
    """
    lock = (folder / _LOCK).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        writer = "another process"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            writer = f"process {json.loads((folder / _STATE).read_text())['process']}"
        msg = f"{folder} is being written by {writer}: wait for it, or choose another folder."
        raise PathError(msg) from None
    return lock


def note_state(folder: Path, state: str) -> None:
    """Say how the run stands, in the form that `fracjax watch` reads."""
    document = {"state": state, "process": os.getpid()}
    replace_text(folder / _STATE, json.dumps(document) + "\n")
