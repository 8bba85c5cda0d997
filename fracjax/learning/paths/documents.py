"""What a path on disk says of itself, and whether it is laid out so: nothing there is trusted."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from fracjax import safe_files
from fracjax.learning.paths.layouts import Layout

__all__ = [
    "DOCUMENT",
    "FORMAT",
    "PARAMETERS",
    "STEP",
    "PathError",
    "array_layouts",
    "check_metrics",
    "described_arrays",
    "read_document",
    "rows_done",
    "step_axis",
]

PARAMETERS = "parameters"
STEP = "step"
DOCUMENT = "zarr.json"
FORMAT = "fracjax path 1"
_CHUNK_BYTES = 2**18
_CHUNK_COLUMNS = 2**20
_SHORT_CHUNK = 64  # snapshots of metrics and steps
_MOST_CHUNKS = 4_000_000  # of one array


class PathError(ValueError):
    """A path on disk that cannot be read or written; says what to do."""


def read_document(folder: Path) -> dict[str, Any]:
    """Read manifest and shapes, as of one moment.

    Raises:
        PathError: If there is no path, or its `zarr.json` is damaged or of something else.
    """
    place = folder / DOCUMENT
    if not place.is_file():
        msg = f"{folder} holds no path of parameters: record one with `open_recorder`."
        raise PathError(msg)
    try:
        document = safe_files.read_json(place)
        found = document["attributes"]
        shapes = document["consolidated_metadata"]["metadata"]
        sizes = {name: shapes[name]["shape"] for name in (PARAMETERS, STEP, *found["metrics"])}
        whole = found["format"] == FORMAT
        whole = whole and _is_whole(found, sizes, Layout.from_json(found["layout"]))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        msg = (
            f"{place} is damaged or not of a path of parameters ({type(error).__name__}): restore"
            " it from a copy, or record to another folder."
        )
        raise PathError(msg) from None
    if not whole:
        msg = (
            f"{place} is damaged, or of no path of this version: restore it from a copy, or"
            " choose another folder."
        )
        raise PathError(msg)
    return dict(document)


def rows_done(document: Mapping[str, Any]) -> int:
    """Snapshots that are done."""
    return int(document["consolidated_metadata"]["metadata"][STEP]["shape"][0])


def check_metrics(metrics: Any) -> None:
    """Make sure that metrics have names that arrays in the same folder can have.

    Raises:
        ValueError: If one has not.
    """
    taken = {PARAMETERS, STEP, "seed", "parameter", "params"}
    for name in metrics:
        if name in taken or not name.isidentifier() or list(metrics).count(name) > 1:
            msg = (
                f"Argument `metrics` must be distinct names other than {', '.join(sorted(taken))},"
                f" but has {name!r}."
            )
            raise ValueError(msg)


def _is_whole(found: Mapping[str, Any], sizes: Mapping[str, Any], layout: Layout) -> bool:
    """Whether a manifest says what it should, and its shapes agree."""
    check_metrics(found["metrics"])
    seeds, every, count = found["num_seeds"], found["every"], sizes[STEP][0]
    integers = (count, every) if seeds is None else (count, every, seeds)
    plain = all(type(number) is int for number in integers)
    plain = plain and isinstance(found["settings"], dict) and isinstance(found["notes"], dict)
    if not plain or count < 0 or every < 1 or found["dtype"] not in ("float32", "float64"):
        return False
    rows = 1 if seeds is None else seeds
    wanted = {name: [rows, count] for name in found["metrics"]}
    wanted |= {PARAMETERS: [rows, count, layout.width], STEP: [count]}
    return rows > 0 and sizes == wanted


def described_arrays(
    folder: Path, document: Mapping[str, Any], *, mode: Literal["r", "r+"]
) -> dict[str, zarr.Array]:
    """Open the arrays of a path in the order of writing; they must be what it says.

    Raises:
        PathError: If one is not.
    """
    found = document["attributes"]
    width, seeds = Layout.from_json(found["layout"]).width, found["num_seeds"] or 1
    layouts = array_layouts(found["metrics"], width, found["dtype"], seeds)
    try:
        arrays = {
            name: safe_files.open_array(
                folder / name, mode=mode, **{**wanted, "chunks": (None,) * len(wanted["shape"])}
            )
            for name, wanted in layouts.items()
        }
    except (ValueError, KeyError, TypeError, OSError) as error:
        msg = f"{folder} lacks the description of an array ({error}): restore it from a copy."
        raise PathError(msg) from None
    count = rows_done(document)
    for name, array in arrays.items():
        chunks = math.prod(
            -(-size // length) for size, length in zip(array.shape, array.chunks, strict=True)
        )
        if array.shape[step_axis(name)] < count or chunks > _MOST_CHUNKS:
            msg = f"{folder / name} does not hold {count} snapshots: restore it from a copy."
            raise PathError(msg)
    return arrays


def array_layouts(
    metrics: Sequence[str], width: int, dtype: str, num_seeds: int
) -> dict[str, dict[str, Any]]:
    """How arrays are laid out, with any number of snapshots (None), in the order of writing."""
    columns = min(width, _CHUNK_COLUMNS)
    together = _CHUNK_BYTES // (columns * np.dtype(dtype).itemsize)
    length = min(max(together, 1), _SHORT_CHUNK)
    row = {
        "shape": (num_seeds, None),
        "chunks": (num_seeds, _SHORT_CHUNK),
        "dtype": "float64",
        "fill_value": math.nan,
        "dimensions": ("seed", STEP),
    }
    return {
        PARAMETERS: {
            "shape": (num_seeds, None, width),
            "chunks": (1, length, columns),
            "dtype": dtype,
            "fill_value": math.nan,
            "dimensions": ("seed", STEP, "parameter"),
        },
        **dict.fromkeys(metrics, row),
        STEP: {
            "shape": (None,),
            "chunks": (_SHORT_CHUNK,),
            "dtype": "int64",
            "fill_value": -1,
            "dimensions": (STEP,),
        },
    }


def step_axis(name: str) -> int:
    """Axis of snapshots."""
    return 0 if name == STEP else 1
