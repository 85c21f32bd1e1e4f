"""What Pillow does not check in a PNG file: sums, order and completeness of the parts that decide pixels.

A flipped bit in the compressed pixels often leaves a stream that can still be unpacked, to another picture; a stream
that ends early leaves the remaining rows black. Neither raises anything by itself.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from distillfss.errors import DataError

_SIGNATURE_BYTES = 8
_BLOCK = 1 << 20
_DECIDE_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of every pass over an interlaced picture: first column and row, steps between columns and rows."""


def check_parts(file: BinaryIO, path: Path | None) -> bool:
    """Check sums and order of all parts that decide pixels; the file's position is left as it was.

    Returns
    -------
    bool
        Whether there are frames: where the first picture's pixels end early, Pillow goes on with those of the next.

    Raises
    ------
    DataError
        A sum is wrong, the file ends within such a part, one stands there twice or behind those it should precede; or
        of an animation the first frame, which Pillow makes of the picture, is another than the picture.
    """
    position, before, pixels_end, frames = file.tell(), b"", False, False
    size, first_frame = b"", False
    try:
        for kind, length in _parts(file):
            if kind == b"IHDR":
                size = _peek(file, 8)
            if before != b"IDAT" and kind in (b"fcTL", b"fdAT"):
                if kind == b"fdAT" or first_frame or _peek(file, 20)[4:] != size + bytes(8):
                    raise _damaged(f"{kind.decode()} of another frame before the first", path)
                first_frame = True
            if kind in _DECIDE_PIXELS:
                early = bool(before) and _DECIDE_PIXELS.index(kind) <= _DECIDE_PIXELS.index(before)
                if pixels_end or (early and kind != b"IDAT"):
                    raise _damaged(f"{kind.decode()} at a wrong place", path)
                if not _sum_is_right(file, kind, length):
                    raise _damaged(f"wrong check sum in {kind.decode()}", path)
                before = kind
            else:
                pixels_end = pixels_end or before == b"IDAT"
                frames = frames or kind == b"fdAT"
    finally:
        file.seek(position)
    return frames


def check_complete(file: BinaryIO, path: Path | None) -> None:
    """Unpack the pixels once more and count them; the file's position is left as it was.

    Raises
    ------
    DataError
        There are fewer than the header says.
    """
    position, unpacker, missing = file.tell(), zlib.decompressobj(), 1
    for kind, length in _parts(file):
        if kind == b"IHDR":
            missing = _raw_bytes(file.read(length))
        while kind == b"IDAT" and length and missing > 0:
            packed = file.read(min(length, _BLOCK))
            length -= len(packed)
            while packed and missing > 0:
                try:
                    missing -= len(unpacker.decompress(packed, _BLOCK))
                except zlib.error:
                    raise _damaged("its pixels cannot be unpacked", path) from None
                packed = unpacker.unconsumed_tail
    file.seek(position)
    # what its filters still hold back comes out at the end
    if missing > 0 and missing > len(unpacker.flush()):
        raise _damaged("its pixels end early", path)


def _parts(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and length of the parts up to the end; the file stands at the content of each."""
    place = _SIGNATURE_BYTES
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, length
        place += 12 + length


def _peek(file: BinaryIO, length: int) -> bytes:
    """The next bytes, which stay to be read."""
    place = file.tell()
    content = file.read(length)
    file.seek(place)
    return content


def _sum_is_right(file: BinaryIO, kind: bytes, length: int) -> bool:
    value = zlib.crc32(kind)
    while length:
        block = file.read(min(length, _BLOCK))
        if not block:
            return False
        value = zlib.crc32(block, value)
        length -= len(block)
    return file.read(4) == struct.pack(">I", value)


def _raw_bytes(header: bytes) -> int:
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    total = 0
    for column, row, across, down in _ADAM7 if interlaced else _WHOLE:
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * _CHANNELS[colour] * depth // 8))
    return total


def _damaged(reason: str, path: Path | None) -> DataError:
    return DataError(
        f"the picture is truncated or damaged ({reason})", cure="Copy it again from its source, or remove it", path=path
    )
