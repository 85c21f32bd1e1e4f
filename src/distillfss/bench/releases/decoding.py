"""Reading the masks of releases: black and white with compression errors, colours, class numbers of any width.

Masks belong to the pixels as stored: the loaders of all these releases pass over EXIF orientation, so it is not applied
here (see ``writing``). Pictures are opened with the same guards as everywhere (``io.opening``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.errors import DataError
from distillfss.io.opening import decoding, open_picture

HALF = 128
Colour = tuple[int, int, int]


def grey(path: Path) -> NDArray[np.uint8]:
    """(H, W) brightness as stored; a palette is looked up."""
    return np.asarray(_converted(path, "L"))


def white(path: Path) -> NDArray[np.bool_]:
    """(H, W): where a black-and-white mask is white; grey left by JPEG compression is decided at half."""
    return grey(path) >= HALF


def colours(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB as stored; an opaque alpha channel is dropped."""
    return np.asarray(_converted(path, "RGB"))


def numbers(path: Path) -> NDArray[np.int64]:
    """(H, W) whole numbers of a single-channel mask of 1, 8, 16 or 32 bits (palette: its indices)."""
    with open_picture(path) as image:
        with decoding(path):
            image.load()
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise DataError(
                f"a mask in the colour space {image.mode} where class numbers are expected",
                cure="Download the release again; it holds single-channel masks",
                path=path,
            )
        return np.asarray(image).astype(np.int64)


def union(paths: Iterable[Path], shape: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """(H, W): where any of several masks is white. Overlaps count once, holes that all of them leave stay holes."""
    merged: NDArray[np.bool_] | None = None if shape is None else np.zeros(shape, np.bool_)
    for path in paths:
        mask = white(path)
        if merged is None:
            merged = np.zeros_like(mask)
        if mask.shape != merged.shape:
            (height, width), (h, w) = merged.shape, mask.shape
            raise DataError(
                f"has {w}x{h} pixels but the masks before it {width}x{height}",
                cure="Copy it again from the release",
                path=path,
            )
        merged |= mask
    if merged is None:
        raise ValueError("no mask and no shape")
    return merged


def by_colour(rgb: NDArray[np.uint8], table: Mapping[Colour, int], path: Path) -> NDArray[np.uint8]:
    """Colours (H, W, 3) → class values (H, W), exactly.

    Raises
    ------
    DataError
        A colour that is not in the table; the message says which, where, how often, and which are known.
    """
    codes = _codes(rgb)
    values = np.zeros(codes.shape, np.uint8)
    known = np.zeros(codes.shape, np.bool_)
    for colour, value in table.items():
        here = codes == int(_codes(np.array(colour, np.uint8)))
        values[here] = value
        known |= here
    if not known.all():
        row, column = (int(i) for i in np.argwhere(~known)[0])
        colour = tuple(rgb[row, column].tolist())
        count = int((codes == codes[row, column]).sum())
        raise DataError(
            f"the unknown colour {colour} in {count} pixel{'s' * (count > 1)}, first at column {column}, row {row}",
            cure=f"Known are {', '.join(map(str, table))}; download the release again, masks must not be resaved",
            path=path,
        )
    return values


def by_number(values: NDArray[np.int64], table: Mapping[int, int], path: Path) -> NDArray[np.uint8]:
    """Class numbers of a release (H, W) → class values (H, W); ``DataError`` names one that is not in the table."""
    present = np.unique(values).tolist()
    unknown = [value for value in present if value not in table]
    if unknown:
        count = int((values == unknown[0]).sum())
        raise DataError(
            f"the unknown class number {unknown[0]} in {count} pixel{'s' * (count > 1)}",
            cure=f"Known are {', '.join(map(str, table))}; download the release again, masks must not be resaved",
            path=path,
        )
    places = np.searchsorted(present, values)
    return np.array([table[value] for value in present], np.uint8)[places]


def _codes(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    wide = rgb.astype(np.int64)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _converted(path: Path, mode: str) -> Image.Image:
    with open_picture(path) as image, decoding(path):
        return image.convert(mode)
