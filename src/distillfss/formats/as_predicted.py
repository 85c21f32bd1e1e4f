"""The mask that ``predict`` makes of a file, for whoever compares it with another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.formats.frames import segment_picture, wants_tiles
from distillfss.formats.options import FormatOptions
from distillfss.io.geo import RasterSource
from distillfss.io.kinds import Kind, kind_of
from distillfss.io.special import Range
from distillfss.tiles.engine import segment_strips
from distillfss.tiles.plan import overlap_pixels
from distillfss.tiles.scores import scores_of, tile_side


def mask_by_tiles(
    segmenter: Any,
    path: Path | None,
    pixels: NDArray[np.uint8],
    bands: Sequence[int] | None = None,
    value_range: Range | None = None,
) -> NDArray[np.uint8] | None:
    """Mask (H, W) of an image that ``predict`` cuts into tiles, by its defaults; None of one that it sees whole.

    A map is read from its file, since its tiles lie on a grid fixed to the ground; 255 where it holds no data.

    Parameters
    ----------
    segmenter
        The model. One that knows ``predict`` alone sees everything whole; what tiles need is in ``tiles.scores``.
    path
        The image's file; None of an image in memory.
    pixels
        The image (H, W, 3) uint8 as it was read.
    bands, value_range
        How a map is read, see ``RasterSource``.
    """
    if not callable(segmenter) and not hasattr(segmenter, "scores"):
        return None
    if path is not None and kind_of(path) is Kind.RASTER:
        tile, options = tile_side(segmenter), FormatOptions()
        with RasterSource(path, bands, value_range) as source:
            strips = segment_strips(
                source,
                scores_of(segmenter),
                len(segmenter.class_names),
                tile=tile,
                overlap=overlap_pixels(tile, options.overlap),
                origin=source.origin,
            )
            return np.concatenate([strip.labels for strip in strips])
    height, width = pixels.shape[:2]
    if not wants_tiles(segmenter, (height, width), None):
        return None
    return segment_picture(segmenter, pixels, FormatOptions())
