"""How a scan lies on disk, and whether what is there is laid out so: nothing there is trusted."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from fracjax import safe_files
from fracjax.landscapes.slices.grids import AXES

__all__ = [
    "DONE",
    "FORMAT",
    "fill_value_of",
    "is_whole",
    "open_arrays",
    "output_dimensions",
    "read_attributes",
    "refuse_larger",
    "refuse_lost",
    "whole_coordinates",
]

DONE = "done"
FORMAT = 3
_DOCUMENT = "zarr.json"


def output_dimensions(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, ...]]:
    """Name the further dimensions of outputs that are arrays; equal sizes share a name.

    Args:
        shapes: Shape of every output at one point. The first size is called `output`, others
            `output1` and so on.
    """
    names: dict[tuple[int, int], str] = {}
    found: dict[str, tuple[str, ...]] = {}
    for output in sorted(shapes, key=lambda name: (name != "value", name)):
        shape, dimensions = shapes[output], []
        for axis, size in enumerate(shape):
            place = (size, shape[:axis].count(size))  # an axis cannot have a name twice
            names.setdefault(place, f"output{len(names) or ''}")
            dimensions.append(names[place])
        found[output] = tuple(dimensions)
    return found


def open_arrays(
    folder: Path,
    found: Mapping[str, Any],
    *,
    mode: Literal["r", "r+"],
    names: tuple[str, ...] | None = None,
) -> tuple[dict[str, zarr.Array], dict[str, zarr.Array]]:
    """Open outputs, `done` last as it is written, and coordinates: laid out as the group says.

    Raises:
        ValueError: If one is missing or laid out otherwise.
    """
    names = _axes_there(folder, len(found["shape"])) if names is None else names
    outputs = {**found["outputs"], DONE: [[], "|b1"]}
    further = output_dimensions({name: tuple(shape) for name, (shape, _) in outputs.items()})
    try:
        arrays = {
            name: safe_files.open_array(
                folder / name,
                mode=mode,
                shape=(*found["shape"], *shape),
                chunks=(*found["block_shape"], *(max(size, 1) for size in shape)),
                dtype=dtype,
                fill_value=fill_value_of(np.dtype(dtype)),
                dimensions=(*names, *further[name]),
            )
            for name, (shape, dtype) in outputs.items()
        }
        coordinates = {
            name: safe_files.open_array(
                folder / name,
                mode=mode,
                shape=(size,),
                chunks=(None,),
                dtype="float64",
                fill_value=np.nan,
                dimensions=(name,),
            )
            for name, size in zip(names, found["shape"], strict=True)
        }
    except FileNotFoundError as error:
        msg = f"{error.filename} is missing: restore it from a copy, or choose another folder."
        raise ValueError(msg) from error
    return arrays, coordinates


def _axes_there(folder: Path, num_axes: int) -> tuple[str, ...]:
    """Names of the axes, as `done` has them."""
    place = folder / DONE / _DOCUMENT
    document = safe_files.read_json(place) if place.is_file() else None
    names = document.get("dimension_names") if isinstance(document, dict) else None
    plain = isinstance(names, list) and all(str(name).isidentifier() for name in names)
    if not plain or len(set(map(str, names or ()))) != num_axes:
        msg = f"{place} is missing or damaged: restore it from a copy, or choose another folder."
        raise ValueError(msg)
    return tuple(map(str, names or ()))


def _chunk_bytes(array: zarr.Array) -> int:
    """Bytes of a chunk on disk, also of one at the end of an axis: numbers and their checksum."""
    return math.prod(array.chunks) * array.dtype.itemsize + 4


def is_whole(chunk: Path, array: zarr.Array) -> bool:
    """Whether a chunk is a file of its size: reading it takes no more than it should."""
    return chunk.is_file() and chunk.stat().st_size == _chunk_bytes(array)


def whole_coordinates(folder: Path, array: zarr.Array) -> bool:
    """Whether all chunks are there: what reading them takes is then no more than they have."""
    numbers = range(-(-array.shape[0] // array.chunks[0]))
    files = (folder / array.metadata.encode_chunk_key((number,)) for number in numbers)
    return all(is_whole(file, array) for file in files)


def refuse_lost(folder: Path, found: Mapping[str, Any], arrays: Mapping[str, zarr.Array]) -> None:
    """Refuse a block that is done and lacks values, which Zarr would read as fill values.

    Raises:
        ValueError: If there is one.
    """
    depth = len(found["shape"])
    for place in (folder / DONE / "c").glob("/".join("*" * depth)):
        tile = tuple(int(part) for part in place.parts[-depth:] if part.isdecimal())
        for name, array in arrays.items():
            indices = tile + (0,) * (array.ndim - depth)
            chunk = folder / name / array.metadata.encode_chunk_key(indices)
            if len(tile) == depth and not chunk.is_file():
                msg = f"{chunk} is missing; run the scan again to repair it."
                raise ValueError(msg)


def refuse_larger(folder: Path, arrays: Mapping[str, zarr.Array]) -> None:
    """Refuse chunks that are no files or hold more than they should: Zarr would read all of it.

    Raises:
        ValueError: If there is one.
    """
    for name, array in arrays.items():
        most = _chunk_bytes(array)
        for chunk in (folder / name / "c").glob("/".join("*" * array.ndim)):
            if chunk.name.isdecimal() and not (chunk.is_file() and chunk.stat().st_size <= most):
                msg = f"{chunk} is no file or larger than its values; scan again to repair it."
                raise ValueError(msg)


def fill_value_of(dtype: np.dtype) -> Any:
    """Stand for a point that is not done."""
    if dtype.kind in "fc":
        return np.nan
    return -1 if dtype.kind == "i" else 0


def read_attributes(folder: Path) -> dict[str, Any]:
    """What the store there was made for.

    Raises:
        ValueError: If it is no store of this version, or its attributes cannot be.
    """
    try:
        document = safe_files.read_json(folder / _DOCUMENT)
        found = dict(document["attributes"])
        is_group = (document["zarr_format"], document["node_type"]) == (3, "group")
    except (ValueError, KeyError, TypeError, OSError) as error:
        msg = f"{folder} holds something that is no scan; choose another folder."
        raise ValueError(msg) from error
    if not is_group or found.get("format") != FORMAT or not _is_plain(found):
        msg = f"{folder} holds something that is no scan of this version; choose another folder."
        raise ValueError(msg)
    return found


def _is_plain(found: Mapping[str, Any]) -> bool:
    """Whether a group's attributes say what they should, in their types."""
    shape, blocks, outputs = (found.get(name) for name in ("shape", "block_shape", "outputs"))
    sizes = _are_sizes(shape, 0) and _are_sizes(blocks, 1)
    if not sizes or not isinstance(outputs, dict) or not isinstance(found.get("manifest"), dict):
        return False
    if not 1 <= len(shape or ()) <= len(AXES) or len(blocks or ()) != len(shape or ()):
        return False
    return all(
        isinstance(output, list)
        and len(output) == 2
        and _are_sizes(output[0], 0)
        and re.fullmatch(r"[<|][biufc](1|2|4|8|16)", str(output[1])) is not None
        and not {"", ".", ".."} & set(name.split("/"))  # leads out of the folder
        for name, output in outputs.items()
    )


def _are_sizes(value: Any, least: int) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= least for n in value)
