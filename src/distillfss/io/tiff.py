"""What Pillow does not check in a TIFF file: that its pieces cover the picture, are there, and have their sums.

Strips or tiles that are missing leave black behind, without a word. Those packed by zlib carry a sum that libtiff does
not reach when it has got as many pixels as it wants.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from distillfss.errors import DataError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _CHANNELS, _ROWS, _PLANAR = 256, 257, 258, 259, 277, 278, 284
_OFFSETS, _COUNTS = (273, 324), (279, 325)
_PLAIN, _ZLIB = 1, (8, 32946)
_WHOLE_NUMBERS = (3, 4, 13, 16)
"""Types of what may say where a piece is and how long: SHORT, LONG, IFD, LONG8."""
_HEADER = 8
_BLOCK = 1 << 20
_ANY = 1 << 62


def check_pieces(image: Image.Image, file: BinaryIO, path: Path | None) -> None:
    """Check an opened, not yet decoded TIFF.

    Raises
    ------
    DataError
        Pieces are missing, too short, or damaged.
    """
    tags: Any = getattr(image, "tag_v2", {})
    offsets, counts = _numbers(tags, _OFFSETS), _numbers(tags, _COUNTS)
    types = {getattr(tags, "tagtype", {}).get(name) for name in (*_OFFSETS, *_COUNTS) if name in tags}
    if not types.issubset(_WHOLE_NUMBERS) or (counts and len(counts) != len(offsets)) or tags.get(_ROWS) == 0:
        raise _damaged("it does not say where its pieces are", path)
    width, height = tags.get(_WIDTH, image.width), tags.get(_HEIGHT, image.height)  # as stored, not yet turned
    covered = 0
    for tile in getattr(image, "tile", None) or []:
        left, top, right, bottom = tile.extents or (0, 0, width, height)
        covered += max(0, min(right, width) - left) * max(0, min(bottom, height) - top)
    planes = tags.get(_CHANNELS, 1) if tags.get(_PLANAR, 1) == 2 else 1
    if covered not in (width * height, planes * width * height):  # more of them are painted over the first
        raise _damaged(f"pieces of the picture are {'missing' if covered < width * height else 'left over'}", path)
    if counts and not all(counts):
        raise _damaged("pieces of the picture are empty", path)
    if offsets and not _HEADER <= min(offsets) <= max(offsets) < _size(file):
        raise _damaged("pieces of the picture lie in its header or behind its end", path)
    compression = tags.get(_COMPRESSION, _PLAIN)
    if compression == _PLAIN and counts:
        bits = tags.get(_BITS, (1,))
        per_pixel = sum(bits) if len(bits) > 1 else bits[0] * tags.get(_CHANNELS, 1)
        if sum(counts) < height * -(-width * per_pixel // 8):
            raise _damaged("its pixels end early", path)
    if compression in _ZLIB:
        position = file.tell()
        try:
            # without byte counts libtiff reads on to the end of the file, where a sound stream has ended before
            rest = (_ANY,) * (len(offsets) - len(counts))
            whole = all(_is_whole(file, *piece) for piece in zip(offsets, (*counts, *rest), strict=False))
        finally:
            file.seek(position)
        if not whole:
            raise _damaged("wrong check sum", path)


def _size(file: BinaryIO) -> int:
    position = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(position)
    return end


def _numbers(tags: Any, names: tuple[int, int]) -> tuple[int, ...]:
    value = next((tags[name] for name in names if name in tags), ())
    return tuple(value) if isinstance(value, tuple) else (value,)


def _is_whole(file: BinaryIO, offset: int, count: int) -> bool:
    file.seek(offset)
    unpacker = zlib.decompressobj()
    try:
        while count > 0 and not unpacker.eof:
            packed = file.read(min(count, _BLOCK))
            if not packed:
                break
            count -= len(packed)
            while packed and not unpacker.eof:
                unpacker.decompress(packed, _BLOCK)
                packed = unpacker.unconsumed_tail
    except zlib.error:
        return False
    return unpacker.eof


def _damaged(reason: str, path: Path | None) -> DataError:
    return DataError(
        f"the picture is truncated or damaged ({reason})", cure="Copy it again from its source, or remove it", path=path
    )
