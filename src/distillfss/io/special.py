"""Images that Pillow does not read, or not rightly, as training and single predictions see them: whole, 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.io.kinds import Kind, kind_of

Reader = Callable[[Path], tuple[NDArray[np.uint8], tuple[str, ...]]]
"""A file to (H, W, 3) uint8 RGB and notices."""


def special_reader(path: Path) -> Reader | None:
    """The reader of a GeoTIFF or DICOM file; None for whatever ``read_image`` reads itself."""
    kind = kind_of(path)
    if kind is Kind.RASTER:
        return _raster
    return _dicom if kind is Kind.DICOM else None


def _raster(path: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    from distillfss.io.geo import read_raster

    pixels, _, notices = read_raster(path)
    return pixels, notices


def _dicom(path: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    from distillfss.io.dicom import read_dicom

    return read_dicom(path)
