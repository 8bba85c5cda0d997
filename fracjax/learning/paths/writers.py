"""Who writes a path: one process at a time, and how it stands."""

import abc
import contextlib
import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from fracjax import safe_files
from fracjax.learning.paths.store import PathError, replace_text

__all__ = ["BlockWriter", "note_state", "take_lock"]

_LOCK = "writer.lock"
_STATE = "state.json"
_Writer = TypeVar("_Writer", bound="BlockWriter")


class BlockWriter(abc.ABC):
    """Writes in a `with` block; how the block ends is how the run ended."""

    def __enter__(self: _Writer) -> _Writer:
        """Write in this block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note how the block ended, and let others write."""
        self.close(finished=kind is None)

    @abc.abstractmethod
    def close(self, *, finished: bool = True) -> None:
        """Note how the run ended and let others write."""


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
