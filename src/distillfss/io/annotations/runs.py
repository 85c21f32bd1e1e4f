"""Run lengths and bitmaps inside text files: COCO's two forms, CVAT's, Label Studio's, and PNG in base64.

The runs are summed before anything is allocated and have to make exactly the pixels claimed. That is why COCO's are not
left to pycocotools: it passes over sums that are too small and returns memory as it was. The tests compare with it.
"""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.errors import DataError
from distillfss.io.limits import limits
from distillfss.io.opening import decoding, quiet, too_many_pixels

_AGAIN = "Export the annotation again"
_PNG = b"\x89PNG\r\n\x1a\n"
MOST_PNG = 64 << 20
"""Bytes of a bitmap inside an annotation file."""


def fill_runs(counts: Sequence[int], height: int, width: int, *, by_column: bool) -> NDArray[np.bool_]:
    """Run lengths, background first, → (H, W); by column as COCO has it, or by row.

    Raises
    ------
    DataError
        They do not make ``height`` times ``width`` pixels, or these are too many.
    """
    check_size(height, width)
    runs = _whole_numbers(counts)
    total = sum(runs)
    if min(runs, default=0) < 0 or total != height * width:
        raise DataError(f"run lengths that make {total} pixels, not {width}x{height}", cure=_AGAIN)
    values = np.arange(len(runs)) % 2 == 1
    flat = np.repeat(values, np.array(runs, np.int64))
    return flat.reshape(width, height).T if by_column else flat.reshape(height, width)


def coco_counts(text: str) -> list[int]:
    """COCO's compressed run lengths → numbers.

    Six bits a character, five of them of a number in two's complement, the lowest first, the sixth says that it goes
    on; from the fourth number on each is the difference from the one two before.
    """
    data = text.encode("utf-8", "surrogateescape")
    counts: list[int] = []
    place = 0
    while place < len(data):
        value, shift, more = 0, 0, True
        while more:
            if place >= len(data) or shift > 60:
                raise DataError("compressed run lengths that break off", cure=_AGAIN)
            code = data[place] - 48
            if not 0 <= code < 64:
                raise DataError("compressed run lengths with a foreign character", cure=_AGAIN)
            value |= (code & 0x1F) << shift
            more = bool(code & 0x20)
            place, shift = place + 1, shift + 5
            if not more and code & 0x10:
                value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts


def label_studio_alpha(packed: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Label Studio's brush: bit-packed runs of the bytes of an RGBA picture, of which alpha says what is covered.

    A header (32 bits: number of bytes; 5: word size - 1; four times 4: length sizes - 1), then runs: a bit (1: one
    word, repeated; 0: that many words follow), two bits that choose a length size, the length - 1, and the words.
    """
    check_size(height, width)
    try:
        raw = np.asarray(packed)
        if raw.ndim != 1 or raw.dtype.kind not in "iu" or raw.min(initial=0) < 0 or raw.max(initial=0) > 255:
            raise ValueError
    except (ValueError, OverflowError):
        raise DataError("brush strokes that are no list of bytes", cure=_AGAIN) from None
    stream = _Bits(raw.astype(np.uint8).tobytes())
    size, word = stream.take(32), stream.take(5) + 1
    lengths = [stream.take(4) + 1 for _ in range(4)]
    if size != 4 * height * width or word != 8:
        raise DataError(f"brush strokes over {size // 4} pixels, not {width}x{height}", cure=_AGAIN)
    out = np.zeros(size, np.uint8)
    place = 0
    while place < size:
        repeated = stream.take(1)
        end = place + 1 + stream.take(lengths[stream.take(2)])
        if end > size:
            raise DataError("brush strokes that go on beyond the picture", cure=_AGAIN)
        if repeated:
            out[place:end] = stream.take(8)
        else:
            out[place:end] = [stream.take(8) for _ in range(end - place)]
        place = end
    return out.reshape(height, width, 4)[..., 3] > 0


def png_bitmap(text: Any) -> NDArray[np.bool_]:
    """A PNG in base64, perhaps compressed once more → (H, W): where it is opaque or, without transparency, not 0."""
    try:
        data = base64.b64decode(text, validate=False)
        if not data.startswith(_PNG):
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(data, MOST_PNG)
            if unpacker.unconsumed_tail:
                raise DataError("a bitmap that unpacks to more than 64 MB", cure=_AGAIN)
    except (binascii.Error, ValueError, TypeError, zlib.error) as exc:
        raise DataError("a bitmap that cannot be unpacked", cure=_AGAIN) from exc
    with decoding(None):
        with quiet():
            picture = Image.open(io.BytesIO(data), formats=["PNG"])
        check_size(picture.height, picture.width)
        if picture.has_transparency_data:
            return np.asarray(picture.convert("RGBA"))[..., 3] > 0
        pixels = np.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], -1).max(axis=2) > 0


def check_size(height: Any, width: Any) -> None:
    """Refuse what is no size of a picture, before memory is asked for."""
    if not (isinstance(height, int) and isinstance(width, int)) or height < 1 or width < 1:
        raise DataError(f"{width!r}x{height!r} is no size of a picture", cure=_AGAIN)
    if height * width > limits().pixels:
        raise too_many_pixels(None, width, height)


def _whole_numbers(counts: Any) -> list[int]:
    try:
        runs = [int(count) for count in counts]
        same = all(run == count for run, count in zip(runs, counts, strict=True))
    except (TypeError, ValueError, OverflowError):
        same = False
    if not same:
        raise DataError("run lengths that are no whole numbers", cure=_AGAIN)
    return runs


class _Bits:
    """Bits of bytes, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def take(self, count: int) -> int:
        end = self._place + count
        if end > 8 * len(self._data):
            raise DataError("brush strokes that break off", cure=_AGAIN)
        first, last = self._place // 8, (end + 7) // 8
        self._place = end
        return (int.from_bytes(self._data[first:last], "big") >> (8 * last - end)) & ((1 << count) - 1)
