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
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from fracjax import safe_files
from fracjax.learning.paths.layouts import Layout

__all__ = [
    "DEFAULT_NAME",
    "PathError",
    "StoredArrays",
    "create_arrays",
    "find_store",
    "open_arrays",
    "read_document",
]

DEFAULT_NAME = "path.zarr"
PARAMETERS = "parameters"
STEP = "step"
DOCUMENT = "zarr.json"
_FORMAT = "fracjax path 1"
_ROOM = 1024  # snapshots by which the arrays' own shapes grow
_CHUNK_BYTES = 2**18
_CHUNK_COLUMNS = 2**20
_SHORT_CHUNK = 64  # snapshots of metrics and steps
_MOST_CHUNKS = 4_000_000  # of one array
_MOST_DAMAGED = 10_000  # more are not counted
_CONFIG = {"array.write_empty_chunks": True}  # Zarr takes it up where an array is opened


class PathError(ValueError):
    """A path on disk that cannot be read or written; says what to do."""


def find_store(folder: str | os.PathLike) -> Path | None:
    """Find the path of a run: the folder itself, or `path.zarr` in it. None if there is none."""
    for place in (Path(folder), Path(folder) / DEFAULT_NAME):
        document = place / DOCUMENT
        if document.is_file() and _FORMAT.split()[0].encode() in safe_files.read_bytes(document):
            return place
    return None


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
        whole = found["format"] == _FORMAT
        whole = whole and _is_whole(found, sizes, Layout.from_json(found["layout"]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
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
                axis = _axis(name)
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
            axis = _axis(name)
            length = array.chunks[axis]
            array.resize(_shape(array.shape, axis, _ROOM * -(-max(count, 1) // _ROOM)))
            for chunk in _chunk_files(self.folder, array, name):
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
            last = (self.count - 1) // array.chunks[_axis(name)]
            for chunk in _chunk_files(self.folder, array, name, self.count):
                is_last = chunk.rows.start // array.chunks[_axis(name)] == last
                whole = chunk.file.is_file() and chunk.file.stat().st_size == chunk.size
                if whole and is_last:
                    whole = _checksum_holds(array, chunk)
                if chunk.file.is_dir():
                    msg = f"{chunk.file} is a folder where a file should be: remove it."
                    raise PathError(msg)
                if not whole:
                    found.append((chunk.rows.start, chunk.file))
                    all_last &= is_last
                if len(found) == _MOST_DAMAGED:
                    break
        return (*min(found), all_last) if found else None

    def _commit(self, count: int) -> None:
        for name, metadata in self.document["consolidated_metadata"]["metadata"].items():
            metadata["shape"][_axis(name)] = count
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
    group = zarr.open_group(making, mode="w", attributes={"format": _FORMAT, **attributes})
    for name, wanted in _descriptions(metrics, width, dtype, num_seeds).items():
        axis = _axis(name)
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
        PathError: See `read_document`.
    """
    document = read_document(folder)
    with zarr.config.set(_CONFIG):
        arrays = described_arrays(folder, document, mode="r+")
    return StoredArrays(folder, document, arrays, rows_done(document))


def described_arrays(
    folder: Path, document: Mapping[str, Any], *, mode: Literal["r", "r+"]
) -> dict[str, zarr.Array]:
    """Open the arrays of a path in the order of writing; they must be what it says.

    Raises:
        PathError: If one is not.
    """
    found = document["attributes"]
    width, seeds = Layout.from_json(found["layout"]).width, found["num_seeds"] or 1
    try:
        arrays = {
            name: safe_files.open_array(
                folder / name, mode=mode, **{**wanted, "chunks": (None,) * len(wanted["shape"])}
            )
            for name, wanted in _descriptions(
                found["metrics"], width, found["dtype"], seeds
            ).items()
        }
    except (ValueError, KeyError, TypeError, OSError) as error:
        msg = f"{folder} lacks the description of an array ({error}): restore it from a copy."
        raise PathError(msg) from None
    count = rows_done(document)
    for name, array in arrays.items():
        chunks = math.prod(
            -(-size // length) for size, length in zip(array.shape, array.chunks, strict=True)
        )
        if array.shape[_axis(name)] < count or chunks > _MOST_CHUNKS:
            msg = f"{folder / name} does not hold {count} snapshots: restore it from a copy."
            raise PathError(msg)
    return arrays


def _descriptions(
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


def rows_done(document: Mapping[str, Any]) -> int:
    """Snapshots that are done."""
    return int(document["consolidated_metadata"]["metadata"][STEP]["shape"][0])


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
    for chunk in _chunk_files(folder, array, name, stop, start=start, seed=seed, columns=columns):
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


def replace_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class _Chunk:
    file: Path
    rows: slice
    place: tuple[int, ...]
    size: int


def _chunk_files(
    folder: Path,
    array: zarr.Array,
    name: str,
    stop: int | None = None,
    *,
    start: int = 0,
    seed: int | None = None,
    columns: slice = slice(None),
) -> Iterator[_Chunk]:
    """Files that hold some rows of an array; all that it has room for by default."""
    axis = _axis(name)
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
        yield _Chunk(folder / name / key, rows, index, size)


def _checksum_holds(array: zarr.Array, chunk: _Chunk) -> bool:
    where = tuple(
        slice(i * length, min((i + 1) * length, size))
        for i, length, size in zip(chunk.place, array.chunks, array.shape, strict=True)
    )
    try:
        array[where]
    except (ValueError, RuntimeError, OSError):
        return False
    return True


def _holds_more(folder: Path, array: zarr.Array, name: str, count: int) -> bool:
    """Whether the chunk that the next row goes to is there already."""
    return any(
        chunk.file.is_file() for chunk in _chunk_files(folder, array, name, count + 1, start=count)
    )


def _write(array: zarr.Array, axis: int, start: int, rows: np.ndarray) -> None:
    """Write rows from `start` on."""
    stop = start + rows.shape[axis]
    if axis == 0:
        array[start:stop] = rows
    else:
        array[:, start:stop] = rows


def _axis(name: str) -> int:
    """Axis of snapshots."""
    return 0 if name == STEP else 1


def _shape(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])
