"""Bounds for the index of TensorStore's OCDBT, in which orbax packs checkpoints.

The index is a manifest and nodes of a tree, compressed. Names in it are written as what they share
with the name before and the rest, so that a few kilobytes can stand for gigabytes. TensorStore
unpacks all of it at once; here the lengths are added up first.

The layout is described in https://google.github.io/tensorstore/kvstore/ocdbt/index.html.
"""

import struct
from pathlib import Path

from fracjax import safe_files

__all__ = ["refuse_large_indices"]

_MANIFEST, _NODE = b"\x0c\xdb\x3a\x2a", b"\x0c\xdb\x20\xde"
_HEAD = 12  # magic number and length
_CHECKSUM = 4
_ZSTD = b"\x28\xb5\x2f\xfd"
_BLOCK = 2**17  # what a block unpacks to, at most
_MOST = 32 * 2**20  # of all indices together, unpacked; those of a policy have kilobytes
_OF_A_NAME = 64  # bytes of a name in memory, beside its letters


def refuse_large_indices(folder: Path) -> None:
    """Make sure that the index in a folder, wherever it lies in its files, is not too large.

    Raises:
        ValueError: If it unpacks to more than a policy's could.
    """
    room = _MOST
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = safe_files.read_bytes(path)
        for magic in (_MANIFEST, _NODE):
            at = content.find(magic)
            while at >= 0:
                room -= _unpacked_bytes(content, at, room)
                if room < 0:
                    msg = f"{path} has an index too large for a policy."
                    raise ValueError(msg)
                at = content.find(magic, at + 1)


def _unpacked_bytes(content: bytes, at: int, room: int) -> int:
    """Bound the memory that a manifest or node takes; 0 for what TensorStore would refuse."""
    (length,) = struct.unpack_from("<Q", content.ljust(at + _HEAD, b"\0"), at + 4)
    piece = content[at : at + length]
    if len(piece) != length or length < _HEAD + _CHECKSUM + 2 or piece[_HEAD] != 0:
        return 0
    body = piece[_HEAD + 2 : -_CHECKSUM]
    if piece[_HEAD + 1] == 1:
        size = _zstd_bytes(body, room)
        if size > room:
            return size
        body = _decompressed(body)
    size = len(body)
    try:
        names = _Names(body)
        if piece[:4] == _MANIFEST:
            names.skip_configuration()
            return size if names.ended else size + names.files()
        names.at += 1  # the height in the tree
        return size + names.files() + names.keys()
    except IndexError:  # it ends early, where TensorStore's reader ends, too
        return size + names.counted


def _zstd_bytes(frame: bytes, room: int) -> int:
    """Bound what a frame unpacks to, by its blocks."""
    if frame[:4] != _ZSTD or len(frame) < 6:
        return 0
    flags = frame[4]
    single = flags >> 5 & 1
    size_bytes = (single, 2, 4, 8)[flags >> 6]
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    stated = int.from_bytes(frame[at : at + size_bytes], "little")
    at += size_bytes
    total = 0
    last = False
    while not last and at + 3 <= len(frame) and total <= room:
        head = int.from_bytes(frame[at : at + 3], "little")
        last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
        total += _BLOCK if kind == 2 else size
        at += 3 + (1 if kind == 1 else size)
    # A second frame would have to be bounded, too; a stated size is believed by decoders.
    return max(total, stated) if at >= len(frame) or flags & 4 else room + 1


def _decompressed(frame: bytes) -> bytes:
    from numcodecs import zstd  # on which Zarr builds

    try:
        return bytes(zstd.decompress(frame))
    except RuntimeError:  # damaged; TensorStore unpacks what is before the damage
        return b""


class _Names:
    """Reads the lengths of names in an index."""

    def __init__(self, body: bytes):
        self._body = body
        self.at = 0
        self.counted = 0

    @property
    def ended(self) -> bool:
        return self.at >= len(self._body)

    def skip_configuration(self) -> None:
        """Pass over identity, kind, two limits, arity and compression."""
        self.at += 16
        for _ in range(3):
            self._number()
        self.at += 1
        if self._number() == 1:
            self.at += 4

    def files(self) -> int:
        """Count the names of data files, and pass over them."""
        count = self._number()
        shared = [0, *self._numbers(count - 1)]
        rest = self._numbers(count)
        self._numbers(count)  # how much of each is a folder's
        self.at += sum(rest)
        return self._count(shared, rest)

    def keys(self) -> int:
        """Count the names of what is kept."""
        count = self._number()
        return self._count([0, *self._numbers(count - 1)], self._numbers(count))

    def _count(self, shared: list[int], rest: list[int]) -> int:
        found = sum(shared) + sum(rest) + _OF_A_NAME * len(rest)
        self.counted += found
        return found

    def _numbers(self, count: int) -> list[int]:
        if count > len(self._body) - self.at:
            raise IndexError
        return [self._number() for _ in range(count)]

    def _number(self) -> int:
        number = shift = 0
        while True:
            byte = self._body[self.at]
            self.at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
