"""Decoders of their own, straight from the specifications and strict: what tests compare Pillow's work with.

Each takes the bytes of a file and returns an array for ``array_to_rgb8`` (alpha last), or raises ``RefusedError``.
Slow, small and only for what the fuzzing seeds are made of.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import tifffile


class RefusedError(Exception):
    """This is no file of the format."""


class UnknownError(Exception):
    """Perhaps a file of the format, but of a kind this decoder does not know."""


_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def png(content: bytes) -> np.ndarray:
    """PNG, not interlaced: chunks with their sums, zlib with its own, the five filters, palette and transparency."""
    numbers, depth, colour, chunks = _png_numbers(content)
    return _png_colours(numbers, depth, colour, chunks)


def png_numbers(content: bytes) -> np.ndarray:
    """The same as numbers (H, W, channels), as they are stored: of palettes the places in it."""
    return _png_numbers(content)[0]


def _png_numbers(content: bytes) -> tuple[np.ndarray, int, int, dict[bytes, bytes]]:
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise RefusedError("signature")
    chunks, data, place = {}, b"", 8
    while True:
        head = content[place : place + 8]
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        body, check = content[place + 8 : place + 8 + length], content[place + 8 + length : place + 12 + length]
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"tRNS"):
            if len(body) < length or len(check) < 4:
                raise RefusedError("cut short")
            if zlib.crc32(kind + body) != struct.unpack(">I", check)[0]:
                raise RefusedError(f"check sum of {kind!r}")
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            data += body
        else:
            chunks[kind] = body
        place += 12 + length
    if len(chunks.get(b"IHDR", b"")) != 13:
        raise RefusedError("header")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace or not width or not height:
        raise UnknownError("layout")
    bits = _CHANNELS[colour] * depth
    stride, step = -(-width * bits // 8), max(1, bits // 8)
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(data, (stride + 1) * height)
    except zlib.error as error:
        raise RefusedError("zlib") from error
    if len(raw) < (stride + 1) * height:
        raise RefusedError("too few pixels")
    rows = np.zeros((height, stride), np.int64)
    for y in range(height):
        start = y * (stride + 1)
        rows[y] = _unfiltered(raw[start], raw[start + 1 : start + 1 + stride], rows[y - 1] if y else None, step)
    return _unpacked(rows.astype(np.uint8), width, depth, _CHANNELS[colour]), depth, colour, chunks


def _unpacked(rows: np.ndarray, width: int, depth: int, channels: int) -> np.ndarray:
    if depth == 16:
        values = rows.reshape(len(rows), width, channels, 2).astype(np.uint16)
        return (values[..., 0] << 8) | values[..., 1]
    if depth == 8:
        return rows.reshape(len(rows), width, channels)
    bits = np.unpackbits(rows, axis=1)[:, : width * depth].reshape(len(rows), width, depth)
    return (bits @ (1 << np.arange(depth)[::-1]))[..., None].astype(np.uint8)


def _unfiltered(kind: int, line: bytes, above: np.ndarray | None, step: int) -> list[int]:
    up = [0] * len(line) if above is None else above.tolist()
    out: list[int] = []
    for x, value in enumerate(line):
        left = out[x - step] if x >= step else 0
        corner = up[x - step] if x >= step else 0
        if kind == 4:
            guess = left + up[x] - corner
            added = min((abs(guess - left), 0, left), (abs(guess - up[x]), 1, up[x]), (abs(guess - corner), 2, corner))[
                2
            ]
        elif kind < 4:
            added = (0, left, up[x], (left + up[x]) // 2)[kind]
        else:
            raise RefusedError("filter")
        out.append((value + added) & 255)
    return out


def _png_colours(values: np.ndarray, depth: int, colour: int, chunks: dict[bytes, bytes]) -> np.ndarray:
    channels, key = _CHANNELS[colour], chunks.get(b"tRNS")
    top = 65535 if depth == 16 else 255
    if colour == 3:
        palette = np.frombuffer(chunks.get(b"PLTE", b""), np.uint8)
        if not palette.size or palette.size % 3 or int(values.max()) >= palette.size // 3:
            raise RefusedError("palette")
        table = np.hstack([palette.reshape(-1, 3), np.full((palette.size // 3, 1), 255, np.uint8)])
        if key is not None:
            if len(key) > len(table):
                raise RefusedError("tRNS")
            table[: len(key), 3] = np.frombuffer(key, np.uint8)
        return table[values[..., 0]]
    if depth < 8:
        scale = 255 // ((1 << depth) - 1)
        if key is not None:
            raise UnknownError("a colour key below 8 bits")
        return np.repeat(values * np.uint8(scale), 3, axis=2)
    alpha = np.full(values.shape[:2], top, values.dtype)
    if channels in (2, 4):
        alpha, values = values[..., -1], values[..., :-1]
    elif key is not None:
        if len(key) != 2 * channels:
            raise RefusedError("tRNS")
        wanted = np.frombuffer(key, ">u2") & top
        alpha = np.where((values == wanted).all(axis=2), 0, top).astype(values.dtype)
    return np.dstack([np.broadcast_to(values, (*values.shape[:2], 3)), alpha])


def ppm(content: bytes) -> np.ndarray:
    """PGM and PPM, binary, of 8 bits and full range."""
    if content[:2] not in (b"P5", b"P6"):
        raise RefusedError("signature")
    numbers, place = [], 2
    while len(numbers) < 3:
        while content[place : place + 1].isspace():
            place += 1
        start = place
        while content[place : place + 1].isdigit():
            place += 1
        if start == place:
            raise RefusedError("header")
        numbers.append(int(content[start:place]))
    width, height, top = numbers
    channels = 3 if content[:2] == b"P6" else 1
    pixels = content[place + 1 :][: width * height * channels]
    if top != 255 or not content[place : place + 1].isspace() or not pixels or len(pixels) < width * height * channels:
        raise UnknownError("layout")
    return np.frombuffer(pixels, np.uint8).reshape(height, width, channels)


def bmp(content: bytes) -> np.ndarray:
    """BMP with the common header, 24 bits, not compressed."""
    if content[:2] != b"BM" or len(content) < 54:
        raise RefusedError("signature")
    offset, header, width, height, planes, bits, compression = struct.unpack("<IIiiHHI", content[10:34])
    if not offset:
        raise UnknownError("layout")
    if (header, planes, bits, compression) != (40, 1, 24, 0) or width <= 0 or height == 0:
        raise UnknownError("layout")
    stride = -(-width * 3 // 4) * 4
    rows = content[offset:][: stride * abs(height)]
    if len(rows) < stride * (abs(height) - 1) + width * 3:  # what fills up the last row holds nothing
        raise RefusedError("cut short")
    rows = rows.ljust(stride * abs(height), b"\0")
    pixels = np.frombuffer(rows, np.uint8).reshape(abs(height), stride)[:, : width * 3].reshape(-1, width, 3)[..., ::-1]
    return pixels[::-1] if height > 0 else pixels


def tiff(content: bytes) -> np.ndarray:
    """TIFF by tifffile, which is not Pillow's libtiff."""
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages[0]
            plain = page.photometric in (1, 2) and page.planarconfig == 1 and page.compression in (1, 8, 32946)
            # a table of lengths that cannot be read leaves tifffile nothing, and libtiff nothing to mind
            if not plain or page.extrasamples or len(page.databytecounts) != len(page.dataoffsets):
                raise UnknownError("layout")
            if page.dtype is None or page.bitspersample < 8:
                raise UnknownError("bits")
            pixels = page.asarray()
    except UnknownError:
        raise
    except Exception as error:  # whatever damaged tags make it raise; what it says of pixels counts
        if "failed to read" in str(error) or "decompress" in str(error):
            raise RefusedError(str(error)) from error
        raise UnknownError(str(error)) from error
    return pixels


def no_data(content: bytes) -> float | None:
    """What GDAL's tag in a TIFF says is no data."""
    if content[:2] not in (b"II", b"MM"):
        return None
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tag = file.pages[0].tags.get(42113)
    try:
        return None if tag is None else float(str(tag.value).strip("\0 "))
    except ValueError:
        return None
