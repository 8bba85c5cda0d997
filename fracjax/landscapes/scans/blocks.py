"""The blocks of a scan on disk: tiles of the grid, each one chunk of every array."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from fracjax.landscapes.scans.layout import DONE, is_whole

__all__ = ["ScanStore", "tile_shape"]


def tile_shape(shape: tuple[int, ...], num_points: int) -> tuple[int, ...]:
    """Cut a grid into tiles of at most `num_points` points: whole rows where they fit."""
    tile = []
    room = max(num_points, 1)
    for size in reversed(shape):
        tile.append(min(size, room))
        room = room // tile[-1] if tile[-1] == size else 1
    return tuple(reversed(tile))


@dataclasses.dataclass(frozen=True)
class ScanStore:
    """Values of a scan on disk.

    Attributes:
        folder: Where it is.
        manifest: What the values depend on.
        shape: Points along each axis of the grid.
        block_shape: Points of one block along each axis; those at the end may be smaller.
        arrays: The Zarr arrays of the outputs, and `done`.
    """

    folder: Path
    manifest: Mapping[str, Any]
    shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    arrays: Mapping[str, zarr.Array]

    @property
    def _tiles(self) -> tuple[int, ...]:
        return tuple(-(-n // size) for n, size in zip(self.shape, self.block_shape, strict=True))

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return int(np.prod(self._tiles))

    def bounds(self, block: int) -> tuple[slice, ...]:
        """Where a block lies in the grid."""
        tile = np.unravel_index(block, self._tiles)
        return tuple(
            slice(int(index) * size, min((int(index) + 1) * size, n))
            for index, size, n in zip(tile, self.block_shape, self.shape, strict=True)
        )

    def size(self, block: int) -> int:
        """Number of points in a block."""
        return int(np.prod([part.stop - part.start for part in self.bounds(block)]))

    def _chunk(self, name: str, block: int) -> Path:
        array = self.arrays[name]
        tile = tuple(int(index) for index in np.unravel_index(block, self._tiles))
        outputs = (0,) * (array.ndim - len(tile))
        return self.folder / name / array.metadata.encode_chunk_key(tile + outputs)

    def read(self, block: int) -> dict[str, np.ndarray] | None:
        """Values of a block by name; None if it was not written, or was damaged since."""
        if not all(is_whole(self._chunk(name, block), a) for name, a in self.arrays.items()):
            return None
        where = self.bounds(block)
        try:
            found = {name: np.asarray(array[where]) for name, array in self.arrays.items()}
        except (ValueError, RuntimeError):  # what a failed checksum raises
            return None
        return found if found.pop(DONE).all() else None

    def is_there(self, block: int) -> bool:
        """Whether a block was written, whole or damaged since."""
        return all(self._chunk(name, block).is_file() for name in self.arrays)

    def is_done(self, block: int) -> bool:
        """Whether a block is there and whole; reads it."""
        return self.read(block) is not None

    def write(self, block: int, values: Mapping[str, np.ndarray]) -> None:
        """Put the values of one block on disk.

        Raises:
            OSError: If there is no room; what was written before stays good.
        """
        where = self.bounds(block)
        try:
            for name, array in self.arrays.items():
                array[where] = True if name == DONE else values[name]
        except OSError as error:
            msg = (
                f"Writing block {block} to {self.folder} failed ({error.strerror or error});"
                " make room and run the same scan again: it goes on from what is there."
            )
            raise OSError(error.errno, msg) from error
