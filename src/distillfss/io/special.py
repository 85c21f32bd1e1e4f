"""Images that Pillow does not read, or not rightly, as training and single predictions see them: whole, 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distillfss.io.kinds import Kind, kind_of, tiff_layout
from distillfss.notices import Notice

Range = tuple[float, float]
Pixels = tuple[NDArray[np.uint8], tuple[Notice, ...], NDArray[np.bool_] | None]
"""(H, W, 3) uint8 RGB, notices, and (H, W) where there is data; None: everywhere."""
Reader = Callable[[Path, Sequence[int] | None, Range | None], Pixels]
"""Of a file, bands and range of values."""


def special_reader(path: Path) -> Reader | None:
    """The reader of a GeoTIFF or DICOM file; None for whatever ``read_image`` reads itself."""
    kind = kind_of(path)
    if kind is Kind.RASTER:
        return _raster
    return _dicom if kind is Kind.DICOM else None


class SpecialHeader(NamedTuple):
    """Height and width of a file's picture, and bits of its values."""

    height: int
    width: int
    bits: int


def special_header(path: Path) -> SpecialHeader | None:
    """What a GeoTIFF or DICOM file says before its pixels; None for whatever ``read_image`` reads itself.

    Raises
    ------
    DataError
        It is a damaged DICOM file, or pydicom is not installed.
    """
    kind = kind_of(path)
    if kind is Kind.RASTER:
        with path.open("rb") as file:
            layout = tiff_layout(file)
        return None if layout is None else SpecialHeader(layout.height, layout.width, layout.bits)
    if kind is Kind.DICOM:
        from distillfss.io.dicom import header_of

        return SpecialHeader(*header_of(path))
    return None


def special_size(path: Path) -> tuple[int, int] | None:
    """(height, width) of a GeoTIFF or DICOM file, see ``special_header``; None for any other."""
    header = special_header(path)
    return None if header is None else (header.height, header.width)


def bands_and_range(told: Any) -> tuple[tuple[int, ...] | None, Range | None]:
    """``bands`` and ``range`` of what a support (``SupportSet.reading``) or a model file tells, None where it does not.

    A model file may say anything: what makes no sense counts as nothing said.
    """
    try:
        bands, value_range = told.get("bands"), told.get("range")
        return (
            tuple(int(band) for band in bands) if bands else None,
            (float(value_range[0]), float(value_range[1])) if value_range else None,
        )
    except (AttributeError, IndexError, TypeError, ValueError):
        return None, None


def _raster(path: Path, bands: Sequence[int] | None, value_range: Range | None) -> Pixels:
    from distillfss.io.geo import read_raster

    pixels, valid, notices = read_raster(path, bands, value_range)
    return pixels, notices, valid


def _dicom(path: Path, bands: Sequence[int] | None, value_range: Range | None) -> Pixels:
    from distillfss.io.dicom import read_dicom

    return *read_dicom(path, value_range), None
