"""The check sums of a PNG file, which Pillow does not compare where the pixels are.

A flipped bit in the compressed pixels often leaves a stream that can still be unpacked, to another picture. The sums
are the only thing in the file that tells.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from distillfss.errors import DataError

SIGNATURE_BYTES = 8
_BLOCK = 1 << 20
_DECIDE_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"tRNS")


def check_sums(file: BinaryIO, path: Path | None) -> None:
    """Compare the sums of all parts that decide pixels; the file's position is left as it was.

    Raises
    ------
    DataError
        A sum is wrong, or the file ends within such a part.
    """
    position = file.tell()
    file.seek(SIGNATURE_BYTES)
    try:
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                return
            if kind not in _DECIDE_PIXELS:
                file.seek(length + 4, 1)
                continue
            if _sum(file, length, zlib.crc32(kind)) != file.read(4):
                raise DataError(
                    f"the picture is truncated or damaged (wrong check sum in {kind.decode()})",
                    cure="Copy it again from its source, or remove it",
                    path=path,
                )
    finally:
        file.seek(position)


def _sum(file: BinaryIO, length: int, start: int) -> bytes:
    value = start
    while length:
        block = file.read(min(length, _BLOCK))
        if not block:
            return b""  # as many bytes are not there: no sum of four bytes equals this
        value = zlib.crc32(block, value)
        length -= len(block)
    return struct.pack(">I", value)
