"""A path on disk: written snapshot by snapshot, whole at any moment, read while it grows.

A Zarr group that `xarray.open_zarr` reads:

    parameters  (seed, step, parameter)   one row per snapshot
    loss, ...   (seed, step)              float64 metrics
    step        (step,)                   steps of training, int64
    zarr.json                             manifest, and the shapes of all arrays

The arrays' own metadata have room for more rows than there are. How many there are stands in the
group's `zarr.json` alone (its consolidated metadata), which is replaced whole as the last act of
every write: that is the mark by which a snapshot is done. Zarr writes a chunk to a side file and
moves it into place, and every chunk carries a CRC-32C of its bytes. What a killed process leaves
behind the mark is written again, to the same bytes, by the one that goes on.
"""

import dataclasses
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from fracjax import safe_files
from fracjax.learning.paths.chunks import checksum_holds, chunk_files, read_rows
from fracjax.learning.paths.documents import (
    DOCUMENT,
    FORMAT,
    STEP,
    PathError,
    array_layouts,
    described_arrays,
    read_document,
    rows_done,
    step_axis,
)

__all__ = [
    "DEFAULT_NAME",
    "PathError",
    "StoredArrays",
    "create_arrays",
    "find_store",
    "open_arrays",
    "replace_text",
]

DEFAULT_NAME = "path.zarr"
_ROOM = 1024  # snapshots by which the arrays' own shapes grow
_MOST_DAMAGED = 10_000  # chunks of an array; more are not counted
_CONFIG = {"array.write_empty_chunks": True}  # Zarr takes it up where an array is opened


def find_store(folder: str | os.PathLike) -> Path | None:
    """Find the path of a run: the folder itself, or `path.zarr` in it. None if there is none."""
    for place in (Path(folder), Path(folder) / DEFAULT_NAME):
        document = place / DOCUMENT
        if document.is_file() and FORMAT.split()[0].encode() in safe_files.read_bytes(document):
            return place
    return None


@dataclasses.dataclass
class StoredArrays:
    """The arrays of a path that is being written.

    Attributes:
        folder: Where they are.
        document: What `zarr.json` says.
        arrays: Zarr arrays by name.
        count: Snapshots that are done.
    """

    folder: Path
    document: dict[str, Any]
    arrays: dict[str, zarr.Array]
    count: int

    def append(self, rows: Mapping[str, np.ndarray]) -> None:
        """Write snapshots, and then that they are there.

        Args:
            rows: `parameters` (seed, n, width), `step` (n,) and all metrics (seed, n).

        Raises:
            OSError: If there is no room; what was written before stays good.
        """
        end = self.count + len(rows[STEP])
        try:
            for name, array in self.arrays.items():
                axis = step_axis(name)
                if end > array.shape[axis]:
                    array.resize(_shape(array.shape, axis, _ROOM * -(-end // _ROOM)))
                _write(array, axis, self.count, rows[name])
            self._commit(end)
        except OSError as error:
            msg = (
                f"Writing snapshot {self.count} to {self.folder} failed"
                f" ({error.strerror or error}); make room and go on: the {self.count} before it"
                " are there."
            )
            raise OSError(error.errno, msg) from error

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read rows that are done."""
        return read_rows(self.folder, self.arrays[name], name, start, stop)

    def cut(self, count: int) -> None:
        """Forget all snapshots but the first `count`, and what a killed process left."""
        for leftover in self.folder.rglob("*.partial"):
            leftover.unlink(missing_ok=True)
        self._commit(count)  # first: from here on the rest does not count
        for name, array in self.arrays.items():
            axis = step_axis(name)
            length = array.chunks[axis]
            array.resize(_shape(array.shape, axis, _ROOM * -(-max(count, 1) // _ROOM)))
            for chunk in chunk_files(self.folder, array, name):
                if chunk.rows.start >= count:
                    chunk.file.unlink(missing_ok=True)
            inside = count % length
            if inside and _holds_more(self.folder, array, name, count):
                room = min(length - inside, array.shape[axis] - count)
                blank = np.full(_shape(array.shape, axis, room), array.fill_value, array.dtype)
                _write(array, axis, count, blank)

    def first_damaged(self) -> tuple[int, Path, bool] | None:
        """Find the first row in a chunk that is missing or short; checksums of the last ones.

        Reading every chunk would take as long as the path is; sizes take no time, and a
        process that was killed leaves only the last ones in doubt.

        Returns:
            The row, the file, and whether every damaged chunk is its array's last.

        Raises:
            PathError: If a folder is in the place of one.
        """
        found: list[tuple[int, Path]] = []
        all_last = True
        for name, array in self.arrays.items():
            last = (self.count - 1) // array.chunks[step_axis(name)]
            most = len(found) + _MOST_DAMAGED
            for chunk in chunk_files(self.folder, array, name, self.count):
                is_last = chunk.rows.start // array.chunks[step_axis(name)] == last
                whole = chunk.file.is_file() and chunk.file.stat().st_size == chunk.size
                if whole and is_last:
                    whole = checksum_holds(array, chunk)
                if chunk.file.is_dir():
                    msg = f"{chunk.file} is a folder where a file should be: remove it."
                    raise PathError(msg)
                if not whole:
                    found.append((chunk.rows.start, chunk.file))
                    all_last &= is_last
                if len(found) == most:
                    break
        return (*min(found), all_last) if found else None

    def _commit(self, count: int) -> None:
        for name, metadata in self.document["consolidated_metadata"]["metadata"].items():
            metadata["shape"][step_axis(name)] = count
        replace_text(self.folder / DOCUMENT, json.dumps(self.document, indent=1) + "\n")
        self.count = count


def create_arrays(
    folder: Path,
    attributes: Mapping[str, Any],
    *,
    width: int,
    dtype: str,
    num_seeds: int,
) -> None:
    """Make an empty path beside its place and move it there, so that it is never half made."""
    metrics = attributes["metrics"]
    making = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.parent.mkdir(parents=True, exist_ok=True)
    group = zarr.open_group(making, mode="w", attributes={"format": FORMAT, **attributes})
    for name, wanted in array_layouts(metrics, width, dtype, num_seeds).items():
        axis = step_axis(name)
        group.create_array(
            name,
            shape=_shape(tuple(size or 0 for size in wanted["shape"]), axis, _ROOM),
            chunks=wanted["chunks"],
            dtype=wanted["dtype"],
            fill_value=wanted["fill_value"],
            compressors=[Crc32cCodec()],
            dimension_names=wanted["dimensions"],
        )
    with warnings.catch_warnings():  # Zarr warns that version 3 has not settled the format
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(making)
    document = json.loads((making / DOCUMENT).read_text())
    StoredArrays(making, document, {}, 0)._commit(0)
    if folder.exists():
        folder.rmdir()
    making.rename(folder)


def open_arrays(folder: Path) -> StoredArrays:
    """Open a path for writing.

    Raises:
        PathError: See `read_document`; or if it describes arrays that are not its own.
    """
    document = read_document(folder)
    with zarr.config.set(_CONFIG):
        arrays = described_arrays(folder, document, mode="r+")
    if set(document["consolidated_metadata"]["metadata"]) != set(arrays):
        msg = f"{folder / DOCUMENT} describes other arrays than a path has: restore it from a copy."
        raise PathError(msg)
    return StoredArrays(folder, document, arrays, rows_done(document))


def replace_text(path: Path, text: str) -> None:
    """Write a whole file or nothing; without waiting for the disk, as Zarr writes chunks."""
    with safe_files.written_whole(path, sync=False) as file:
        file.write(text.encode())


def _holds_more(folder: Path, array: zarr.Array, name: str, count: int) -> bool:
    """Whether the chunk that the next row goes to is there already."""
    return any(
        chunk.file.is_file() for chunk in chunk_files(folder, array, name, count + 1, start=count)
    )


def _write(array: zarr.Array, axis: int, start: int, rows: np.ndarray) -> None:
    """Write rows from `start` on."""
    stop = start + rows.shape[axis]
    if axis == 0:
        array[start:stop] = rows
    else:
        array[:, start:stop] = rows


def _shape(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])
