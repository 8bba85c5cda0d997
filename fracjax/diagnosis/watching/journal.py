"""The folder of a watched run: records that are only ever appended, and what made them.

    watch.json       what was asked for; written once, whole
    records.jsonl    one record a line, appended and synced to disk
    state.json       who writes and how far; replaced whole

A process that is killed leaves at most one torn line at the end of `records.jsonl`. Readers
pass it over; the next writer cuts it off. Any process may read while another writes.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fracjax import safe_files
from fracjax.diagnosis.watching.records import Record

__all__ = ["Journal", "JournalError", "read_configuration", "read_records", "read_state"]

RECORDS = "records.jsonl"
_CONFIGURATION = "watch.json"
_STATE = "state.json"
_STATES = ("unknown", "running", "finished", "interrupted")


class JournalError(ValueError):
    """A folder that records cannot be read from or written to."""


def read_records(folder: str | os.PathLike) -> list[Record]:
    """Read the records of a run, by rising step, also while it is being written.

    A last line without its end is passed over. Of several records of one step the first
    counts.

    Raises:
        JournalError: If a line before the last is damaged.
    """
    path = Path(folder) / RECORDS
    content = safe_files.read_bytes(path) if os.path.lexists(path) else b""
    found: dict[int, Record] = {}
    for number, line in enumerate(_whole_lines(content), start=1):
        try:
            record = Record.from_json(line)
        except ValueError as error:
            msg = f"{path}, line {number}: {error}."
            raise JournalError(msg) from None
        found.setdefault(record.step, record)
    return [found[step] for step in sorted(found)]


def read_configuration(folder: str | os.PathLike) -> dict[str, Any] | None:
    """Read what was asked for, or `None` where nothing was watched yet.

    Raises:
        JournalError: If the file is damaged.
    """
    return _read_json(Path(folder) / _CONFIGURATION)


def read_state(folder: str | os.PathLike) -> dict[str, Any]:
    """Read how the run stands: `state` ("running", "finished" or "interrupted"), `alive`.

    A run whose process has gone without a word is "interrupted". The process is looked for
    on this machine only.

    Raises:
        JournalError: If the file is damaged.
    """
    path = Path(folder) / _STATE
    state = _read_json(path) or {"state": "unknown"}
    if state.get("state") not in _STATES:
        msg = f"{path} is damaged."
        raise JournalError(msg)
    alive = state["state"] == "running" and safe_files.is_running(state.get("process"))
    if state["state"] == "running" and not alive:
        state["state"] = "interrupted"
    return {**state, "alive": alive}


class Journal:
    """Writes the folder of one run."""

    def __init__(self, folder: str | os.PathLike, configuration: Mapping[str, Any]):
        """Begin a run, or go on with one that was asked for in the same way.

        Args:
            folder: Made if it is missing.
            configuration: What decides the records, as values that JSON can hold.

        Raises:
            JournalError: If the folder holds records of another configuration, or is being
                written by another process.
            OSError: If it cannot be written to.
        """
        self.folder = Path(folder)
        wanted = json.loads(json.dumps(configuration))
        found = read_configuration(folder)
        if found is not None and found != wanted:
            names = sorted({*wanted, *found})
            other = [name for name in names if found.get(name) != wanted.get(name)]
            msg = (
                f"{folder} holds records of another configuration ({', '.join(other)} differ);"
                " give another folder."
            )
            raise JournalError(msg)
        state = read_state(folder)
        if state["alive"] and state.get("process") != os.getpid():
            msg = f"{folder} is being written by process {state['process']}; give another folder."
            raise JournalError(msg)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._heal()
        self.records = read_records(folder)
        if found is None:
            _replace(self.folder / _CONFIGURATION, json.dumps(wanted, indent=1) + "\n")

    def _heal(self) -> None:
        """Cut off a line that a killed process did not finish."""
        path = self.folder / RECORDS
        if not path.exists():
            return
        content = safe_files.read_bytes(path)
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())

    def append(self, record: Record) -> bool:
        """Write a record, unless its step has one; return whether it was written."""
        if any(record.step == old.step for old in self.records):
            return False
        with (self.folder / RECORDS).open("ab") as file:
            file.write(record.to_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.records = sorted([*self.records, record], key=lambda kept: kept.step)
        return True

    def note(self, state: str, **details: Any) -> None:
        """Say how the run stands."""
        document = {"state": state, "process": os.getpid(), **details}
        _replace(self.folder / _STATE, json.dumps(document) + "\n")


def _whole_lines(content: bytes) -> list[bytes]:
    return content[: content.rfind(b"\n") + 1].splitlines()


def _read_json(path: Path) -> dict[str, Any] | None:
    if not os.path.lexists(path):
        return None
    try:
        found = safe_files.read_json(path)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        msg = f"{path} is damaged."
        raise JournalError(msg)
    return found


def _replace(path: Path, text: str) -> None:
    with safe_files.written_whole(path) as file:
        file.write(text.encode())
