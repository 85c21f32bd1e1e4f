"""Small valid files of every allowed format, and ways to damage them: for the tests and for ``scripts/fuzz.py``."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from random import Random

import numpy as np
import tifffile
from pictures import png16, random_rgb
from PIL import Image


def _smooth() -> np.ndarray:
    rows, columns = np.indices((23, 31))
    return np.dstack([rows * 11, columns * 8, (rows + columns) * 4]).astype(np.uint8)


def _pillow(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _tifffile(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="rgb" if array.ndim == 3 else "minisblack", **options)
    return buffer.getvalue()


def seeds() -> dict[str, bytes]:
    """Name → file. The name begins with the format."""
    rgb, smooth = random_rgb(11, 14), _smooth()
    deep = np.random.default_rng(3).integers(0, 65536, (9, 8, 3)).astype(np.uint16)
    rgba = np.dstack([rgb, np.linspace(0, 255, rgb[..., 0].size).reshape(rgb.shape[:2]).astype(np.uint8)])
    palette = Image.fromarray((rgb[..., 0] % 7).astype(np.uint8))
    palette.putpalette(bytes(range(0, 210, 10)))
    frames = [Image.fromarray(smooth), Image.fromarray(255 - smooth)]
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "png rgb": _pillow(Image.fromarray(rgb), "PNG"),
        "png grey": _pillow(Image.fromarray(smooth[..., 0]), "PNG"),
        "png alpha": _pillow(Image.fromarray(rgba), "PNG"),
        "png palette": _pillow(palette, "PNG", transparency=2),
        "png bits": _pillow(Image.fromarray(rgb[..., 0] > 99), "PNG"),
        "png deep": png16(deep),
        "png deep grey": png16(deep[..., :1]),
        "ppm": _pillow(Image.fromarray(rgb), "PPM"),
        "ppm grey": _pillow(Image.fromarray(rgb[..., 0]), "PPM"),
        "bmp": _pillow(Image.fromarray(rgb), "BMP"),
        "tiff": _tifffile(rgb),
        "tiff deep": _tifffile(deep, byteorder=">"),
        "tiff deep grey": _tifffile(deep[..., 0]),
        "tiff zlib": _tifffile(smooth, compression="zlib", predictor=True),
        "tiff tiles": _tifffile(random_rgb(32, 32), tile=(16, 16)),
        "lzw": _pillow(Image.fromarray(smooth), "TIFF", compression="tiff_lzw"),
        "jpegtiff": _pillow(Image.fromarray(smooth), "TIFF", compression="jpeg"),
        "jpeg": _pillow(Image.fromarray(smooth), "JPEG", quality=90, exif=exif),
        "jpeg grey": _pillow(Image.fromarray(smooth[..., 0]), "JPEG"),
        "jpeg progressive": _pillow(Image.fromarray(smooth), "JPEG", progressive=True),
        "jpeg cmyk": _pillow(Image.fromarray(smooth).convert("CMYK"), "JPEG"),
        "mpo": _pillow(frames[0], "MPO", save_all=True, append_images=frames[1:]),
        "webp": _pillow(Image.fromarray(smooth), "WEBP"),
        "webp lossless": _pillow(Image.fromarray(rgba), "WEBP", lossless=True),
        "webp frames": _pillow(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "gif": _pillow(palette, "GIF"),
        "gif frames": _pillow(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "apng": _pillow(frames[0], "PNG", save_all=True, append_images=frames[1:]),
    }


def mask_seeds() -> dict[str, bytes]:
    """Masks of every type that is read. The name begins with the format."""
    classes = np.random.default_rng(5).integers(0, 4, (23, 31)).astype(np.uint8)
    palette = Image.fromarray(classes)
    palette.putpalette(bytes(range(0, 210, 10)))
    gaps = np.where(classes == 3, np.float32(-3.4e38), classes).astype(np.float32)
    told = [(42113, "s", 0, "-3.4e+38", True)]
    return {
        "png": _pillow(Image.fromarray(classes), "PNG"),
        "png palette": _pillow(palette, "PNG"),
        "png white": _pillow(Image.fromarray(classes > 1), "PNG"),
        "png deep": png16(classes.astype(np.uint16)[..., None]),
        "png deep white": png16(((classes > 1) * 65535).astype(np.uint16)[..., None]),
        "png colours": _pillow(Image.fromarray(np.dstack([classes] * 3)), "PNG"),
        "tiff": _tifffile(classes),
        "tiff zlib": _tifffile(classes, compression="zlib", predictor=True),
        "tiff tiles": _tifffile(np.resize(classes, (32, 32)), tile=(16, 16), compression="zlib"),
        "tiff floats": _tifffile(classes.astype(np.float32)),
        "tiff floats big": _tifffile(classes.astype(np.float32), byteorder=">"),
        "tiff floats zlib": _tifffile(gaps, compression="zlib", extratags=told),
        "tiff gaps": _tifffile(gaps, extratags=told),
        "tiff 16": _tifffile(classes.astype(np.uint16)),
        "tiff 16 zlib": _tifffile(classes.astype(np.uint16), compression="zlib"),
        "tiff 16 big": _tifffile(classes.astype(np.uint16), byteorder=">"),
        "tiff signed": _tifffile(
            np.where(classes == 3, -9999, classes).astype(np.int16), extratags=[(42113, "s", 0, "-9999", True)]
        ),
        "tiff 32": _tifffile(classes.astype(np.int32)),
        "tiff 32 zlib": _tifffile(classes.astype(np.uint32), compression="zlib"),
    }


Mutation = Callable[[Random, bytes], bytes]


def flip_bits(random: Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8, 30))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def edit_header(random: Random, content: bytes) -> bytes:
    """Numbers that break things, where formats keep their sizes."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2))):
        place = random.randrange(min(len(data), 120))
        number = random.choice((0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1))
        data[place : place + 4] = struct.pack(random.choice("<>") + "I", number)
    return bytes(data)


def cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content))]


def move_bytes(random: Random, content: bytes) -> bytes:
    """Remove, repeat or exchange a piece."""
    a, b = sorted(random.randrange(len(content) + 1) for _ in "ab")
    piece = content[a:b]
    return (
        random.choice((content[:a] + content[b:], content[:b] + content[a:], content[:a] + bytes(b - a) + content[b:]))
        or piece
        or b"\0"
    )


def edit_chunks(random: Random, content: bytes) -> bytes:
    """Of a PNG: change, drop, repeat, reorder or insert chunks, and make their sums right again."""
    if content[:4] != b"\x89PNG":
        return edit_header(random, content)
    chunks, place = [], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return edit_header(random, content)
    index = random.randrange(len(chunks))
    kind, body = chunks[index]
    what = random.randrange(6)
    if what == 0:
        chunks[index] = (kind, flip_bits(random, body) if body else b"\0")
    elif what == 1:
        del chunks[index]
    elif what == 2:
        chunks.insert(random.randrange(len(chunks)), (kind, body))
    elif what == 3:
        random.shuffle(chunks)
    elif what == 4:
        bomb = zlib.compress(bytes(random.choice((10, 1 << 16, 1 << 23))))
        added = random.choice(
            ((b"zTXt", b"a\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb), (b"iTXt", b"a\0\1\0\0\0" + bomb))
        )
        chunks.insert(1, added)
    else:
        chunks[index] = (kind, cut(random, body) if body else body)
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return content[:8] + b"".join(parts)


MUTATIONS: tuple[Mutation, ...] = (flip_bits, edit_header, cut, move_bytes, edit_chunks)


def mutated(random: Random, content: bytes) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = random.choice(MUTATIONS)(random, content) or b"\0"
    return content
