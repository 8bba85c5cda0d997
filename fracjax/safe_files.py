"""Files of strangers, read as data: bounded in size, and nothing in them is run.

What a command is pointed at may be damaged, forged, or no file at all: a pipe that nobody
writes to would be waited for, a device read for ever, and a Zarr array can name codecs that
unpickle (numcodecs before 0.16.6), or that blow a few bytes up to more than the memory.
"""

import contextlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

__all__ = ["MOST_BYTES", "open_array", "read_bytes", "read_json", "read_npz", "refuse_odd_files"]

MOST_BYTES = 256 * 1024 * 1024
_MOST_JSON_BYTES = 50_000_000
_MOST_ENTRIES = 100_000


def read_bytes(path: Path | str, *, most: int = MOST_BYTES) -> bytes:
    """Read a whole file.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        ValueError: If it is a pipe, a device or a socket, or larger.
        OSError: If it is missing, a folder, or may not be read.
    """
    # Opening a pipe waits for who writes to it, unless told not to.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            msg = f"{path} is no file."
            raise ValueError(msg)
        if found.st_size > most:
            msg = f"{path} is larger than {most / 2**20:.3g} MiB, too large for what it should be."
            raise ValueError(msg)
        return file.read(found.st_size)


def read_json(path: Path | str, *, most: int = _MOST_JSON_BYTES) -> Any:
    """Read a JSON document.

    Halves of surrogate pairs, which JSON can spell and nothing can write, become question
    marks.

    Raises:
        ValueError: If it is none, nests too deep, or see `read_bytes`.
        OSError: See `read_bytes`.
    """
    text = read_bytes(path, most=most).decode()
    try:
        document = json.loads(text)
        if "\\ud" in text.lower():
            whole = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
            document = json.loads(whole)
    except RecursionError:
        msg = f"{path} nests too deep."
        raise ValueError(msg) from None
    return document


def read_npz(content: bytes, *, most: int = MOST_BYTES) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` without pickles.

    Args:
        content: The file.
        most: Bytes that all entries may have together, unpacked.

    Raises:
        Exception: Of many kinds, inside the parsers, if it is damaged, larger, or holds
            objects.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        # One changed byte can hide entries from `zipfile`; the archive's own count tells.
        end = content.rfind(b"PK\x05\x06")
        counted = int.from_bytes(content[end + 10 : end + 12], "little")
        if counted not in (len(entries), 0xFFFF) or len(entries) > _MOST_ENTRIES:
            msg = "entries of the archive are missing"
            raise ValueError(msg)
        if sum(entry.file_size for entry in entries) > most:
            msg = f"it unpacks to more than {most >> 20} MiB"
            raise ValueError(msg)
        arrays = {}
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in arrays:
                msg = f"two entries are called {name!r}"
                raise ValueError(msg)
            # Read at once: an array is never larger than the bytes that are really there.
            packed = io.BytesIO(archive.read(entry))
            arrays[name] = _bounded_array(packed)
    return arrays


def _bounded_array(packed: io.BytesIO) -> np.ndarray:
    """Read one array, whose header must not promise more than there is."""
    version = np.lib.format.read_magic(packed)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if header is None:
        msg = f"an array is in version {version} of NumPy's format"
        raise ValueError(msg)
    shape, _, dtype = header(packed)
    size = dtype.itemsize
    for length in shape:
        size *= length  # of Python's integers, which do not overflow
    if dtype.hasobject:
        msg = "Object arrays are pickles, which are not read"
        raise ValueError(msg)
    if size > len(packed.getbuffer()):
        msg = "the header of an array promises more than there is"
        raise ValueError(msg)
    packed.seek(0)
    return np.asarray(np.lib.format.read_array(packed, allow_pickle=False))


def refuse_odd_files(folder: Path) -> None:
    """Make sure that a folder of arrays holds files and folders only.

    Raises:
        ValueError: If there is a pipe, a device or a socket, which a reader would wait for.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.isfile(path):
                msg = f"{path} is no file."
                raise ValueError(msg)


def open_array(
    folder: Path,
    *,
    mode: Literal["r", "r+"],
    shape: Sequence[int | None],
    chunks: Sequence[int | None],
    dtype: np.dtype | str,
    fill_value: Any,
    dimensions: Sequence[str],
) -> zarr.Array:
    """Open a Zarr array that must be laid out as said: plain numbers with checksums.

    An array's own description has no checksum. A changed one could turn numbers into others,
    or name codecs that run code.

    Args:
        folder: Of the array.
        mode: To read, or to write, too.
        shape: Sizes; None for any.
        chunks: Of the chunks, likewise.
        dtype: Of numbers or booleans.
        fill_value: Of points that were not written.
        dimensions: Names of the axes.

    Raises:
        ValueError: If it is anything else.
        OSError: If the description is missing or may not be read.
    """
    place = folder / "zarr.json"
    document = read_json(place)
    kind = np.dtype(dtype)
    ordered = {} if kind.itemsize == 1 else {"configuration": {"endian": "little"}}
    wanted = {
        "zarr_format": 3,
        "node_type": "array",
        "data_type": kind.name,
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", **ordered}, {"name": "crc32c"}],
        "dimension_names": list(dimensions),
        "attributes": {},
    }
    found = document if isinstance(document, dict) else {}
    differing = [name for name, value in wanted.items() if found.get(name, {}) != value]
    if found.get("storage_transformers"):
        differing.append("storage_transformers")
    if not _are_sizes(found.get("shape"), shape, least=0):
        differing.append("shape")
    grid = found.get("chunk_grid")
    lengths = grid.get("configuration") if isinstance(grid, dict) else None
    lengths = lengths.get("chunk_shape") if isinstance(lengths, dict) else None
    regular = {"name": "regular", "configuration": {"chunk_shape": lengths}}
    if grid != regular or not _are_sizes(lengths, chunks, least=1):
        differing.append("chunk_grid")
    if not differing:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, OverflowError):
            opened = zarr.open_array(folder, mode=mode, zarr_format=3)
            stated, meant = np.asarray(opened.fill_value), np.asarray(fill_value, kind)
            if np.array_equal(stated, meant, equal_nan=kind.kind in "fc"):
                return opened
        differing.append("fill_value")
    msg = f"{place} does not describe the array that should be there ({', '.join(differing)})."
    raise ValueError(msg)


def _are_sizes(found: Any, wanted: Sequence[int | None], *, least: int) -> bool:
    if not isinstance(found, list) or len(found) != len(wanted):
        return False
    return all(
        type(there) is int and there >= least and size in (there, None)
        for there, size in zip(found, wanted, strict=True)
    )
