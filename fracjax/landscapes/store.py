"""A scan on disk: written block by block, resumable after any interruption.

A Zarr group with one array `value` of shape (points, *outputs), one chunk per block of
points. Zarr writes a chunk to a side file and moves it into place, so that a chunk is there
whole or not at all, and every chunk carries a CRC-32C of its bytes. A block is done when its
chunk is there and passes the check; nothing else says so, and nothing else can disagree.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from fracjax._types import PyTree

__all__ = ["ScanStore", "fingerprint", "open_store"]

_FORMAT = 1
_NAME = "value"
_REQUIRED = ("format", "manifest", "num_points", "block_size", "outputs", "dtype")


def fingerprint(tree: PyTree) -> str:
    """Hash structure, shapes, dtypes and bytes of a pytree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    digest = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class ScanStore:
    """Values of a scan on disk.

    Attributes:
        folder: Where it is.
        manifest: What the values depend on.
        block_size: Points in one block.
        array: The Zarr array, (points, *outputs).
    """

    folder: Path
    manifest: Mapping[str, Any]
    block_size: int
    array: zarr.Array

    @property
    def num_blocks(self) -> int:
        """Number of blocks, the last one perhaps shorter."""
        return -(-self.array.shape[0] // self.block_size)

    def bounds(self, block: int) -> tuple[int, int]:
        """First point of a block, and one past its last."""
        start = block * self.block_size
        return start, min(start + self.block_size, self.array.shape[0])

    def _chunk(self, block: int) -> Path:
        coordinates = (block,) + (0,) * (self.array.ndim - 1)
        return self.folder / _NAME / self.array.metadata.encode_chunk_key(coordinates)

    def read(self, block: int) -> np.ndarray | None:
        """Values of a block; None if it was not written, or was damaged since."""
        if not self._chunk(block).is_file():
            return None
        start, stop = self.bounds(block)
        try:
            return np.asarray(self.array[start:stop])
        except (ValueError, RuntimeError):  # what a failed checksum or a short chunk raises
            return None

    def write(self, block: int, values: np.ndarray) -> None:
        """Put the values of one block on disk.

        Raises:
            OSError: If there is no room; what was written before stays good.
        """
        start, stop = self.bounds(block)
        try:
            self.array[start:stop] = values
        except OSError as error:
            msg = (
                f"Writing block {block} to {self.folder} failed ({error.strerror or error});"
                " make room and run the same scan again: it goes on from what is there."
            )
            raise OSError(error.errno, msg) from error

    def done(self) -> np.ndarray:
        """Which blocks are there and whole; reads all of them."""
        return np.array([self.read(block) is not None for block in range(self.num_blocks)])


def open_store(
    folder: Path | str,
    manifest: Mapping[str, Any],
    *,
    num_points: int,
    block_size: int,
    outputs: tuple[int, ...],
    dtype: np.dtype,
) -> ScanStore:
    """Open a store for a scan, or make it.

    Args:
        folder: Where it is or shall be.
        manifest: Names and JSON values of all that the values depend on.
        num_points: Points of the scan.
        block_size: Points in one block.
        outputs: Shape of one value.
        dtype: Of the values.

    Raises:
        ValueError: If a store for something else is there (what differs is named), or
            something that is no store.
    """
    folder = Path(folder)
    wanted = {
        "format": _FORMAT,
        "manifest": json.loads(json.dumps(manifest)),
        "num_points": num_points,
        "block_size": block_size,
        "outputs": list(outputs),
        "dtype": np.dtype(dtype).str,
    }
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = _attributes(folder)
        _refuse_others(folder, found, wanted)
        for leftover in folder.rglob("*.partial"):
            leftover.unlink()
        array = zarr.open_array(folder / _NAME, mode="r+", config={"write_empty_chunks": True})
    else:
        array = _create(folder, wanted)
    return ScanStore(folder, wanted["manifest"], block_size, array)


def _create(folder: Path, wanted: dict[str, Any]) -> zarr.Array:
    """Make the group beside its place and move it there, so that it is never half made."""
    making = folder.with_name(folder.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    group = zarr.open_group(making, mode="w", attributes=wanted)
    outputs = tuple(wanted["outputs"])
    group.create_array(
        _NAME,
        shape=(wanted["num_points"], *outputs),
        chunks=(wanted["block_size"], *(max(size, 1) for size in outputs)),
        dtype=wanted["dtype"],
        compressors=[Crc32cCodec()],
    )
    if folder.exists():
        folder.rmdir()
    making.rename(folder)
    return zarr.open_array(folder / _NAME, mode="r+", config={"write_empty_chunks": True})


def _attributes(folder: Path) -> dict[str, Any]:
    """What the store there was made for."""
    try:
        found = dict(zarr.open_group(folder, mode="r").attrs)
    except (ValueError, KeyError, TypeError, OSError, json.JSONDecodeError) as error:
        msg = f"{folder} holds something that is no scan; choose another folder."
        raise ValueError(msg) from error
    if any(name not in found for name in _REQUIRED) or found["format"] != _FORMAT:
        msg = f"{folder} holds something that is no scan of this version; choose another folder."
        raise ValueError(msg)
    return found


def _refuse_others(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise if values there depend on something else than values wanted."""
    there = {**found, **found["manifest"]}
    here = {**wanted, **wanted["manifest"]}
    names = sorted((there.keys() | here.keys()) - {"manifest"})
    absent = "nothing"
    differing = [
        f"{name}: {there.get(name, absent)} there, {here.get(name, absent)} now"
        for name in names
        if there.get(name) != here.get(name)
    ]
    if differing:
        msg = f"{folder} holds another scan ({'; '.join(differing)}); choose another folder."
        raise ValueError(msg)
