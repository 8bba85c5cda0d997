"""GIF films written picture by picture: memory for one, whatever their number.

Pillow compresses single pictures, and its own writer of films keeps all of them until the end.
A GIF is a header, and for every picture a delay, a table of colours and the compressed rows.
"""

import io
import struct
from typing import BinaryIO

import numpy as np
from PIL import Image

__all__ = ["GifStream"]

_LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_TRAILER = b"\x3b"
_EXTENSION, _DESCRIPTOR = 0x21, 0x2C
_HAS_TABLE = 0x80
_HEADER_BYTES = 13


class GifStream:
    """Writes a film that repeats for ever."""

    def __init__(self, file: BinaryIO, size: tuple[int, int], frames_per_second: float) -> None:
        """Write the header for pictures of `size` (width, height)."""
        self._file = file
        # Hundredths of a second; viewers slow films down that ask for less than two.
        self._delay = max(2, round(100 / frames_per_second))
        file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0) + _LOOP)

    def add(self, picture: np.ndarray) -> None:
        """Write one picture, (height, width, 3) bytes, with 256 colours of its own."""
        quantised = Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        quantised.save(buffer, format="GIF", optimize=False, interlace=False)
        table, rows = _parts(buffer.getvalue())
        height, width = picture.shape[:2]
        bits = (len(table) // 3).bit_length() - 2
        self._file.write(b"\x21\xf9\x04\x00" + struct.pack("<H", self._delay) + b"\x00\x00")
        self._file.write(struct.pack("<BHHHHB", _DESCRIPTOR, 0, 0, width, height, 0x80 | bits))
        self._file.write(table + rows)

    def close(self) -> None:
        """Write the end."""
        self._file.write(_TRAILER)


def _parts(data: bytes) -> tuple[bytes, bytes]:
    """Colour table and compressed rows of a file with one picture."""
    place, flags = _HEADER_BYTES, data[10]
    table = b""
    if flags & _HAS_TABLE:
        length = 3 << ((flags & 7) + 1)
        table, place = data[place : place + length], place + length
    while data[place] == _EXTENSION:
        place += 2
        while data[place]:
            place += data[place] + 1
        place += 1
    flags, place = data[place + 9], place + 10
    if flags & _HAS_TABLE:
        length = 3 << ((flags & 7) + 1)
        table, place = data[place : place + length], place + length
    end = place + 1
    while data[end]:
        end += data[end] + 1
    return table, data[place : end + 1]
