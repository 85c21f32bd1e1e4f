"""The rule for every file there can be, as a function: decoded right, or refused by name; never anything else."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import oracles
from PIL import Image, ImageOps

from distillfss.errors import DataError
from distillfss.io.decode import read_image
from distillfss.io.masks import read_mask
from distillfss.io.pixels import array_to_rgb8

ORACLES: tuple[tuple[bytes, Callable[[bytes], np.ndarray]], ...] = (
    (b"\x89PNG", oracles.png),
    (b"BM", oracles.bmp),
    (b"P5", oracles.ppm),
    (b"P6", oracles.ppm),
    (b"II*\0", oracles.tiff),
    (b"MM\0*", oracles.tiff),
)
TURNED, FRAMES = "turned upright", "several pages or frames"


class Wrong(AssertionError):  # noqa: N818  (what the rule forbids)
    """The rule is broken."""


def judge(path: Path, content: bytes) -> str:
    """What became of a file: ``refused``, ``same`` as another decoder's, ``like Pillow`` or ``nothing to compare``.

    Raises
    ------
    Wrong
        Other pixels than the other decoder's, pixels where it refuses, or a refusal that does not name the file.
    """
    path.write_bytes(content)
    try:
        decoded = read_image(path)
    except DataError as error:
        return _refused(error, path)
    if decoded.pixels.dtype != np.uint8 or decoded.pixels.ndim != 3 or decoded.pixels.shape[2] != 3:
        raise Wrong(f"pixels of shape {decoded.pixels.shape}")
    if any(TURNED in notice for notice in decoded.notices):
        return "nothing to compare"
    for signature, oracle in ORACLES:
        if content.startswith(signature):
            return _compared(decoded.pixels, decoded.notices, content, oracle)
    return _like_pillow(decoded.pixels, decoded.notices, content)


def judge_mask(path: Path, content: bytes) -> str:
    """The same of a mask, whose numbers are compared: what is stored, or what GIS programs and 16 bits mean by it."""
    path.write_bytes(content)
    try:
        mask = read_mask(path)
    except DataError as error:
        return _refused(error, path)
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise Wrong(f"a mask of shape {mask.shape} and type {mask.dtype}")
    oracle = {b"\x89PNG": oracles.png_numbers, b"II*\0": oracles.tiff, b"MM\0*": oracles.tiff}.get(content[:4])
    if oracle is None:
        return "nothing to compare"
    try:
        stored = oracle(content)
    except oracles.UnknownError:
        return "nothing to compare"
    except oracles.RefusedError as error:
        raise Wrong(f"the other decoder refuses it: {error}") from error
    expected = _indices(stored.reshape(*stored.shape[:2], -1), oracles.no_data(content))
    if expected.shape != mask.shape or not np.array_equal(expected, mask):
        turned = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).size
        if Image.open(io.BytesIO(content)).getexif().get(0x0112, 1) != 1 and turned == mask.shape[::-1]:
            return "nothing to compare"
        raise Wrong(f"other numbers: {np.unique(mask)[:9]} in place of {np.unique(expected)[:9]}")
    return "same"


def _indices(stored: np.ndarray, nothing: float | None) -> np.ndarray:
    """Numbers (H, W, channels) as classes, in float64: all colours say the same, 255 is "no data", 16-bit white 255."""
    values = stored[..., 0].astype(np.float64)
    colours = stored[..., : {2: 1, 4: 3}.get(stored.shape[2], stored.shape[2])]
    if stored.shape[2] > 1 and (colours != colours[..., :1]).any():
        raise Wrong("colours that differ were taken for classes")
    gaps = np.isnan(values)
    if nothing is not None and nothing not in range(255):
        gaps |= stored[..., 0] == np.asarray(nothing).astype(stored.dtype)
    if stored.dtype == np.uint16 and set(np.unique(values)) <= {0, 65535}:
        values /= 257
    return np.where(gaps, 255, values)


def _refused(error: DataError, path: Path) -> str:
    if error.path != path or not error.cure or not str(error).startswith(f"{path}: "):
        raise Wrong(f"a refusal that does not say enough: {error}") from error
    if "impossible answer" in error.problem or "exit code" in error.problem:
        raise Wrong(f"a fault of ours, not of a decoder: {error}") from error
    return "crashed" if "crashed" in error.problem else "slow" if "took more" in error.problem else "refused"


def _compared(
    pixels: np.ndarray, notices: tuple[str, ...], content: bytes, oracle: Callable[[bytes], np.ndarray]
) -> str:
    try:
        expected = array_to_rgb8(oracle(content))[0]
    except oracles.UnknownError:
        return _like_pillow(pixels, notices, content)
    except (oracles.RefusedError, DataError) as error:
        raise Wrong(f"the other decoder refuses it: {error}") from error
    if expected.shape != pixels.shape or not np.array_equal(expected, pixels):
        raise Wrong(f"another picture: {pixels.shape} instead of {expected.shape}")
    return "same"


def _like_pillow(pixels: np.ndarray, notices: tuple[str, ...], content: bytes) -> str:
    """At least not another picture than anybody sees who opens it with Pillow, where ours need not differ."""
    if any("transparent" in notice or "16-bit" in notice or "CMYK" in notice for notice in notices):
        return "nothing to compare"
    image = Image.open(io.BytesIO(content))
    if not np.array_equal(np.asarray(ImageOps.exif_transpose(image).convert("RGB")), pixels):
        raise Wrong("another picture than Pillow's")
    return "like Pillow"
