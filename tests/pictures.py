"""Pictures for tests, made by hand: files Pillow itself cannot write, damaged files, folders with a support set."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOBODY = 65534
PNG_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}


def random_rgb(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int = 8, colour_type: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def png16(array: np.ndarray, extra: bytes = b"") -> bytes:
    """A PNG with 16 bits per channel of an array (H, W, channels), straight from the specification."""
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    body = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return png_header(width, height, 16, PNG_COLOUR_TYPE[channels]) + extra + body


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """What the EXIF standard says, in NumPy: which way the stored rows and columns run on the upright picture."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a[::-1].swapaxes(0, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a[:, ::-1].swapaxes(0, 1),
    }[orientation](array)


def two_classes(height: int = 24, width: int = 32, *values: int) -> np.ndarray:
    """A mask with a rectangle of every value, beside one another, on background."""
    mask = np.zeros((height, width), np.uint8)
    for index, value in enumerate(values):
        mask[4:12, 2 + 6 * index : 6 + 6 * index] = value
    return mask


def make_folder(
    root: Path, masks: Mapping[str, np.ndarray], meta: object = None, image_size: tuple[int, int] | None = None
) -> Path:
    """``images/STEM.png`` and ``masks/STEM.png`` for every mask, and ``meta.json`` if given."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for seed, (stem, mask) in enumerate(masks.items()):
        Image.fromarray(random_rgb(*(image_size or mask.shape), seed=seed)).save(root / "images" / f"{stem}.png")
        Image.fromarray(mask).save(root / "masks" / f"{stem}.png")
    if meta is not None:
        (root / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return root


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's rights inside the block, for tests of permissions; nothing changes where there are none."""
    if os.getuid() != 0:
        yield
        return
    try:
        os.setresuid(NOBODY, NOBODY, 0)
    except OSError as exc:
        pytest.skip(f"runs as root and may not become somebody else ({exc})")
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextlib.contextmanager
def folder_for_everyone() -> Iterator[Path]:
    """A temporary folder anybody may enter and write to (pytest's own are closed to all but their owner)."""
    with tempfile.TemporaryDirectory(prefix="distillfss-test-") as name:
        Path(name).chmod(0o777)
        try:
            yield Path(name)
        finally:
            for path in [p for p in Path(name).rglob("*") if p.is_dir()]:
                path.chmod(0o777)
