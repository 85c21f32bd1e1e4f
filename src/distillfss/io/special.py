"""Images that Pillow does not read, or not rightly, as training and single predictions see them: whole, 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.io.kinds import Kind, kind_of, tiff_layout

Range = tuple[float, float]
Reader = Callable[[Path, Sequence[int] | None, Range | None], tuple[NDArray[np.uint8], tuple[str, ...]]]
"""A file, bands and range of values to (H, W, 3) uint8 RGB and notices."""


def special_reader(path: Path) -> Reader | None:
    """The reader of a GeoTIFF or DICOM file; None for whatever ``read_image`` reads itself."""
    kind = kind_of(path)
    if kind is Kind.RASTER:
        return _raster
    return _dicom if kind is Kind.DICOM else None


def special_size(path: Path) -> tuple[int, int] | None:
    """(height, width) of a GeoTIFF or DICOM file, from its header; None for whatever ``read_image`` reads itself.

    Raises
    ------
    DataError
        It is a damaged DICOM file, or pydicom is not installed.
    """
    kind = kind_of(path)
    if kind is Kind.RASTER:
        with path.open("rb") as file:
            layout = tiff_layout(file)
        return None if layout is None else (layout.height, layout.width)
    if kind is Kind.DICOM:
        from distillfss.io.dicom import size_in

        return size_in(path)
    return None


def _raster(
    path: Path, bands: Sequence[int] | None, value_range: Range | None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    from distillfss.io.geo import read_raster

    pixels, _, notices = read_raster(path, bands, value_range)
    return pixels, notices


def _dicom(
    path: Path, bands: Sequence[int] | None, value_range: Range | None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    from distillfss.io.dicom import read_dicom

    return read_dicom(path, value_range)
