"""Chunks of a path's arrays: the files that hold some rows, and reading them if they are whole."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr

from fracjax.learning.paths.documents import STEP, PathError, step_axis

__all__ = ["Chunk", "checksum_holds", "chunk_files", "read_rows"]


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A file with a piece of an array.

    Attributes:
        file: Where it is, or should be.
        rows: Snapshots that it has room for.
        place: Its indices among the chunks of the array.
        size: Bytes that it has when it is whole, its checksum among them.
    """

    file: Path
    rows: slice
    place: tuple[int, ...]
    size: int


def chunk_files(
    folder: Path,
    array: zarr.Array,
    name: str,
    stop: int | None = None,
    *,
    start: int = 0,
    seed: int | None = None,
    columns: slice = slice(None),
) -> Iterator[Chunk]:
    """Files that hold some rows of an array; all that it has room for by default."""
    axis = step_axis(name)
    shape, chunks = array.shape, array.chunks
    stop = shape[axis] if stop is None else stop
    places: list[range] = []
    for dimension, (size, length) in enumerate(zip(shape, chunks, strict=True)):
        first, end = 0, size
        if dimension == axis:
            first, end = start, stop
        elif dimension == 0 and seed is not None and length == 1:
            first, end = seed, seed + 1
        elif dimension == 2:
            first, end, _ = columns.indices(size)
        places.append(range(first // length, -(-end // length)))
    itemsize = np.dtype(array.dtype).itemsize
    for place in np.ndindex(*(len(part) for part in places)):
        index = tuple(int(part[i]) for part, i in zip(places, place, strict=True))
        key = array.metadata.encode_chunk_key(index)
        begin = index[axis] * chunks[axis]
        size = math.prod(chunks) * itemsize + 4
        rows = slice(begin, begin + chunks[axis])
        yield Chunk(folder / name / key, rows, index, size)


def checksum_holds(array: zarr.Array, chunk: Chunk) -> bool:
    """Whether a chunk that is there can be read, and is what was written."""
    where = tuple(
        slice(i * length, min((i + 1) * length, size))
        for i, length, size in zip(chunk.place, array.chunks, array.shape, strict=True)
    )
    try:
        array[where]
    except (ValueError, RuntimeError, OSError):
        return False
    return True


def read_rows(
    folder: Path,
    array: zarr.Array,
    name: str,
    start: int,
    stop: int,
    *,
    seed: int | None = None,
    columns: slice = slice(None),
) -> np.ndarray:
    """Read rows of an array, and make sure that they are there: (seed, n, ...) or (n, ...).

    Raises:
        PathError: If a chunk is missing or damaged.
    """
    damaged = ""
    for chunk in chunk_files(folder, array, name, stop, start=start, seed=seed, columns=columns):
        if not chunk.file.is_file() or chunk.file.stat().st_size != chunk.size:
            damaged = f"{chunk.file} is {'damaged' if chunk.file.is_file() else 'missing'}"
            break
    rows = slice(start, stop)
    seeds = slice(None) if seed is None else slice(seed, seed + 1)
    where = (rows,) if name == STEP else (seeds, rows, columns)[: array.ndim]
    if not damaged:
        try:
            return np.asarray(array[where])
        except (ValueError, RuntimeError, OSError) as error:  # a failed checksum, a short chunk
            damaged = f"{folder / name} is damaged ({' '.join(str(error).split())[:120]})"
    msg = (
        f"{damaged}: snapshots {start} to {stop - 1} cannot be read. Read the others by `every`"
        " and `last`, or go on from before them by `open_recorder(..., keep_until=STEP)`."
    )
    raise PathError(msg)
