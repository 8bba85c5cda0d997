"""Whether a path that is there is of the same run, and from where it can be gone on with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fracjax.learning.paths.documents import STEP, PathError
from fracjax.learning.paths.store import StoredArrays

__all__ = ["heal", "refuse_others"]


def refuse_others(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Make sure that the path there is of the run that is wanted.

    Args:
        folder: Where it is.
        found: Its attributes.
        wanted: Those that the run would give it; `settings` among them.

    Raises:
        PathError: If they differ, with what differs.
    """
    own, others = found["settings"], wanted["settings"]
    pairs = [(name, found[name], wanted[name]) for name in sorted(wanted.keys() - {"settings"})]
    pairs += [(name, own.get(name), others.get(name)) for name in sorted({*own, *others})]
    differing = [
        name if name == "layout" else f"{name}: {there} there, {here} now"
        for name, there, here in pairs
        if there != here
    ]
    if differing:
        msg = f"{folder} holds the path of another run ({'; '.join(differing)}): choose another."
        raise PathError(msg)


def heal(stored: StoredArrays, keep_until: int | None) -> None:
    """Drop what is damaged at the end, and what shall not be kept.

    Args:
        stored: A path that nobody else writes.
        keep_until: Last step that is kept; None for all.

    Raises:
        PathError: If something before the end is damaged, and no `keep_until` given.
    """
    count = stored.count
    damaged = stored.first_damaged()
    if damaged is not None:
        row, file, at_the_end = damaged
        if not at_the_end and keep_until is None:
            msg = (
                f"{file} is missing or damaged, and with it snapshots from {row} on of {count}:"
                " restore it from a copy, or pass `keep_until` with the step of a snapshot before"
                " them to `open_recorder` to go on from there."
            )
            raise PathError(msg)
        count = min(count, row)
    if keep_until is not None:
        steps = stored.read(STEP, 0, count)
        count = int(np.searchsorted(steps, keep_until, side="right"))
    stored.cut(count)
