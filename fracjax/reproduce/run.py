"""Run an experiment part by part; what is done is kept, so that a killed run goes on."""

import dataclasses
import io
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from fracjax import safe_files
from fracjax.reproduce import pages
from fracjax.reproduce.experiments import Experiment, Size
from fracjax.reproduce.rows import Findings, Row

__all__ = ["as_document", "kept_results", "run"]

_FILE = "rows.json"
_PAGE = "README.md"
_OVERVIEW = "overview"


def run(
    experiment: Experiment,
    *,
    seed: int = 0,
    size: Size = "default",
    folder: Path | None = None,
    settings: dict[str, Any] | None = None,
    on_part: Callable[[str, int, int], None] | None = None,
) -> list[Row]:
    """Compute the rows of an experiment.

    Every part draws from its own key, made of the seed and the part's name, so that parts can
    be added or left out without changing the others.

    Args:
        experiment: What to compute.
        seed: Seed.
        size: How much to compute, see `Experiment`.
        folder: Where to keep rows as they come (rows.json, and README.md to look at); a later
            run with the same settings goes on from there. Figures are written beside them as
            PNG, before the rows of their part, so that a part whose rows are kept has its
            figures.
        settings: What else must be the same for a run to go on (versions, dtype).
        on_part: Called with the part's name, how many are done and how many there are.

    Raises:
        ValueError: If the folder holds rows of other settings or a README.md of another's,
            or cannot be written to.
    """
    identity = {"experiment": experiment.name, "seed": seed, "size": size, **(settings or {})}
    kept = _Kept() if folder is None else _load(folder, identity)
    if folder is not None:
        _claim(folder, experiment.name)
    rows: list[Row] = []
    for number, (name, part) in enumerate(experiment.parts.items()):
        if on_part is not None:
            on_part(name, number, len(experiment.parts))
        if name not in kept.rows:
            key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
            found = part(key, size)
            found = found if isinstance(found, Findings) else Findings(found)
            kept.rows[name] = found.rows
            if folder is not None:
                kept.figures[name] = _draw(folder, found)
                _save(folder, identity, kept)
        rows.extend(kept.rows[name])
    if folder is not None:
        if experiment.overview is not None:
            over = Findings(rows, experiment.overview(rows))
            kept.figures[_OVERVIEW] = _draw(folder, over)
            _save(folder, identity, kept)
        page = pages.render(experiment.description, identity, kept.rows, kept.figures)
        _write(folder, {_PAGE: page.encode()})
    return rows


def as_document(rows: list[Row]) -> dict[str, Any]:
    """Rows as JSON: what is not finite becomes null, infinite degrees of freedom are left out."""
    return {"rows": [dict(_finite(dataclasses.asdict(row))) for row in rows]}


def _finite(entries: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, entry in entries.items():
        bad = isinstance(entry, float) and not math.isfinite(entry)
        if not (bad and name == "degrees"):  # a row without them has infinitely many
            yield name, None if bad else entry


def kept_results(
    folder: Path, settings: dict[str, Any]
) -> tuple[dict[str, list[Row]], dict[str, list[str]]]:
    """Read what a run has kept: rows and names of figures, by part.

    Raises:
        ValueError: If the folder holds rows of other settings, or something else.
    """
    kept = _load(folder, settings)
    return kept.rows, kept.figures


@dataclasses.dataclass(frozen=True)
class _Kept:
    """What is done, by part: rows, and file names of figures."""

    rows: dict[str, list[Row]] = dataclasses.field(default_factory=dict)
    figures: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def _load(folder: Path, identity: dict[str, Any]) -> _Kept:
    path = folder / _FILE
    if not os.path.lexists(path):
        return _Kept()
    try:
        document = safe_files.read_json(path)
        found, parts = dict(document["settings"]), document["parts"]
        kept = _Kept(
            {name: [_row(entries) for entries in part] for name, part in parts.items()},
            {name: [str(file) for file in files] for name, files in document["figures"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is not a file of rows ({error}); choose another folder or remove it."
        raise ValueError(msg) from None
    different = sorted(
        name for name in {*found, *identity} if found.get(name) != identity.get(name)
    )
    if different:
        changes = ", ".join(
            f"{name} {found.get(name)!r} there, {identity.get(name)!r} now" for name in different
        )
        msg = f"{path} holds rows of other settings ({changes}); choose another folder."
        raise ValueError(msg)
    return kept


def _claim(folder: Path, name: str) -> None:
    """Refuse a folder that rows cannot be kept in, before the work that they cost."""
    from fracjax.reports.files import make_folder  # brings Matplotlib

    page = folder / _PAGE
    if os.path.lexists(page) and not os.path.lexists(folder / _FILE):
        start = pages.heading(name).encode()
        if not page.is_file() or not safe_files.read_bytes(page).startswith(start):
            msg = f"{page} is no page of {name}; choose another folder."
            raise ValueError(msg)
    make_folder(folder)


def _row(entries: dict[str, Any]) -> Row:
    known: dict[str, Any] = {
        name: math.nan if entry is None else entry for name, entry in entries.items()
    }
    row = Row(**known)
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "float": (float, int)}
    for field in dataclasses.fields(Row):
        kind = str(getattr(field.type, "__name__", field.type))
        if type(value := getattr(row, field.name)) not in kinds[kind]:
            msg = f"{field.name} is {str(value)[:20]!r}"
            raise TypeError(msg)
    return row


def _draw(folder: Path, found: Findings) -> list[str]:
    """Write the figures of a part; return their names."""
    pictures = {}
    for name, draw in found.figures.items():
        buffer = io.BytesIO()
        draw().savefig(buffer, format="png")
        pictures[f"{name}.png"] = buffer.getvalue()
    _write(folder, pictures)
    return list(pictures)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    if files:
        from fracjax.reports.files import write_files  # brings Matplotlib

        folder.mkdir(parents=True, exist_ok=True)
        write_files(folder, files)


def _save(folder: Path, identity: dict[str, Any], kept: _Kept) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: as_document(rows)["rows"] for name, rows in kept.rows.items()}
    document = {"settings": identity, "figures": kept.figures, "parts": parts}
    text = json.dumps(document, indent=1, allow_nan=False)
    with safe_files.written_whole(folder / _FILE) as file:
        file.write((text + "\n").encode())
