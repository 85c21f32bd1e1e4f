"""What DICOM files, stacks and videos have in common: pictures of one size, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.formats.options import FormatOptions, Frame
from distillfss.io.files import atomic_write, make_folder
from distillfss.outputs.scale import PixelArea
from distillfss.report.overlay import encode_jpeg, overlay
from distillfss.tiles.engine import segment_array
from distillfss.tiles.plan import overlap_pixels
from distillfss.tiles.scores import CanSegment, scores_of, tile_side

WHOLE_PIXELS = 16_000_000
"""Pictures up to this size are always seen whole unless tiles are asked for: an ordinary camera's are."""


def wants_tiles(segmenter: CanSegment, shape: tuple[int, int], asked: int | None) -> bool:
    """Whether a picture is cut into tiles.

    On request always. Otherwise if it is large (above 16 megapixels) and, on top of that, has more than four times the
    pixels of the images the model learnt from, so that things would be seen at less than half their size.
    """
    if asked is not None:
        return asked > 0
    pixels = shape[0] * shape[1]
    return pixels > WHOLE_PIXELS and pixels > 4 * tile_side(segmenter) ** 2


def segment_picture(segmenter: CanSegment, pixels: NDArray[np.uint8], options: FormatOptions) -> NDArray[np.uint8]:
    """Mask (H, W) of a picture (H, W, 3), whole or by tiles."""
    if not wants_tiles(segmenter, (pixels.shape[0], pixels.shape[1]), options.tile):
        return segmenter(pixels)
    tile = tile_side(segmenter, options.tile)
    overlap = overlap_pixels(tile, options.overlap)
    return segment_array(pixels, scores_of(segmenter), len(segmenter.class_names), tile=tile, overlap=overlap)


def numbered(folder: Path, index: int, frames: int, suffix: str) -> Path:
    """``folder/0001.png`` for a frame counted from 0; as many digits as the last one needs, at least four."""
    return folder / f"{index + 1:0{max(4, len(str(frames)))}d}.{suffix}"


def write_overlay(path: Path, pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Path:
    """A JPEG with the classes drawn over the picture; makes its folder."""
    make_folder(path.parent)
    atomic_write(path, encode_jpeg(overlay(pixels, mask)))
    return path


class ClassCounts:
    """Pixels of every class over many masks."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._names = ["background", *class_names]
        self._found = np.zeros(256, np.int64)

    def add(self, mask: NDArray[np.uint8], pixel_area: PixelArea | None = None) -> Frame:
        """Count a mask; returns what is in this one."""
        found = np.bincount(mask.ravel(), minlength=256)
        self._found += found
        return Frame((mask.shape[0], mask.shape[1]), found[: len(self._names)].tolist(), pixel_area)

    def pixels(self) -> dict[str, int]:
        return {name: int(self._found[value]) for value, name in enumerate(self._names)}

    def square_metres(self, frames: Sequence[Frame]) -> dict[str, float] | None:
        """Square metres of every class over frames; None where one of them does not say how large its pixels are."""
        areas = [frame.pixel_area for frame in frames]
        if not areas or None in areas:
            return None
        pixel = np.array([area.square_metres for area in areas if area])
        counted = pixel @ np.array([frame.pixels for frame in frames], np.float64)
        return {name: float(f"{metres:.10g}") for name, metres in zip(self._names, counted, strict=True)}
