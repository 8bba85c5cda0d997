"""Files of strangers, read as data: bounded in size, nothing in them is run. Own files, whole.

What a command is pointed at may be damaged, forged, or no file at all: a pipe that nobody
writes to would be waited for, a device read for ever, and a Zarr array can name codecs that
unpickle (numcodecs before 0.16.6), or that blow a few bytes up to more than the memory.

What is written here is there whole or not at all, whenever the process is killed.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import platform
import re
import stat
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import msgpack
import numpy as np

if TYPE_CHECKING:
    import zarr

__all__ = [
    "FLAX_ARRAY",
    "MOST_BYTES",
    "is_running",
    "open_array",
    "read_bytes",
    "read_json",
    "read_msgpack",
    "read_npz",
    "refuse_odd_files",
    "write_npz",
    "written_whole",
]

MOST_BYTES = 256 * 1024 * 1024
_MOST_PROCESSES = 2**31
FLAX_ARRAY = 1  # the extension code of msgpack under which Flax packs an array
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
        _refuse_larger(path, found.st_size, most)
        return file.read(found.st_size)


def _refuse_larger(path: Path | str, size: int, most: int) -> None:
    if size > most:
        msg = f"{path} is larger than {most / 2**20:.3g} MiB, too large for what it should be."
        raise ValueError(msg)


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


def read_msgpack(content: bytes, *, floats: Collection[str]) -> Any:
    """Read nested values, in which arrays are packed as Flax packs them.

    Not by `flax.serialization.msgpack_restore`: NumPy reads a forged object array as pointers.

    Args:
        content: The file.
        floats: Names of the dtypes that arrays may have.

    Raises:
        Exception: Of many kinds, inside the parser, if it is damaged or holds something else.
    """

    def unpack(code: int, data: bytes) -> np.ndarray:
        if code != FLAX_ARRAY:
            msg = f"it holds an unknown msgpack extension ({code})"
            raise ValueError(msg)
        shape, dtype, numbers = msgpack.unpackb(data, raw=True)
        if dtype.decode() not in floats:
            msg = f"it holds an array of type {dtype.decode()}, but only floats are read"
            raise ValueError(msg)
        return np.frombuffer(numbers, np.dtype(dtype.decode())).reshape(shape)

    return msgpack.unpackb(content, ext_hook=unpack, raw=False)


def refuse_odd_files(folder: Path, *, most: int | None = None) -> None:
    """Make sure that a folder of arrays holds files and folders only.

    Args:
        folder: The folder.
        most: Bytes that each file may have; any number if not given.

    Raises:
        ValueError: If there is a pipe, a device or a socket, which a reader would wait for, or a
            larger file.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.isfile(path):
                msg = f"{path} is no file."
                raise ValueError(msg)
            if most is not None:
                _refuse_larger(path, os.path.getsize(path), most)


def open_array(
    folder: Path,
    *,
    mode: Literal["r", "r+"],
    shape: Sequence[int | None],
    chunks: Sequence[int | None],
    dtype: np.dtype | str,
    fill_value: Any,
    dimensions: Sequence[str],
) -> "zarr.Array":
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
    import zarr  # a third of a second, which `fracjax --help` need not wait

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


@contextlib.contextmanager
def written_whole(path: Path | str, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file that is there when all of it has reached the disk, or not at all.

    It is written under a hidden name beside its place, and then moved there. A process that is
    killed in between leaves the hidden file; the next process that writes into the folder in
    this way removes it.

    Args:
        path: Its place.
        sync: Whether to wait for the disk. Without, a process that is killed still leaves a whole
            file, a machine that loses its power perhaps not: for files written at every step.

    Raises:
        OSError: If it cannot be written; an older file is left as it was.
    """
    path = Path(path)
    _remove_leftovers(path.parent.resolve())
    beside = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.partial")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # of writing, which names no file
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


@functools.lru_cache(maxsize=256)
def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder; looked for once, as it may hold very many."""
    leftover = re.compile(rf"\..+\.{_machine()}-([1-9]\d{{0,8}})\.partial")
    with contextlib.suppress(OSError):  # no such folder, or not ours to clean
        for name in os.listdir(folder):
            found = leftover.fullmatch(name)
            if found and not is_running(int(found[1])):
                (folder / name).unlink(missing_ok=True)


@functools.cache
def _machine() -> str:
    """Say where a process number means the same process: on this machine, in this container."""
    names = ""
    with contextlib.suppress(OSError):  # only Linux says
        names = os.readlink("/proc/self/ns/pid")
    return hashlib.blake2b(f"{platform.node()} {names}".encode(), digest_size=4).hexdigest()


def is_running(process: Any) -> bool:
    """Whether a process of that number runs on this machine; False for what is no such number."""
    if type(process) is not int or not 0 < process < _MOST_PROCESSES:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def write_npz(file: BinaryIO, arrays: Mapping[str, np.ndarray], *, compress: bool = False) -> None:
    """Write arrays as `numpy.load` reads them, without pickles.

    Not by `numpy.savez`, whose own arguments are in the way of arrays called `file`.

    Args:
        file: Where to.
        arrays: By name.
        compress: Whether to compress them.
    """
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
