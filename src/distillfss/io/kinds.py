"""What kind of file something is, from its first bytes, without any optional library."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"})

_WIDTH, _HEIGHT, _SUBFILE, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA_SAMPLES = 256, 257, 254, 258, 262, 277, 338
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_GEO_TAGS = {33550, 33922, 34264, 34735}  # pixel scale, tie points, transformation, geographic keys
_GDAL_NODATA = 42113
_MOST_PAGES = 100_000


class Kind(StrEnum):
    """How a file is dealt with."""

    PICTURE = "picture"
    RASTER = "raster"
    STACK = "stack"
    DICOM = "dicom"
    VIDEO = "video"


@dataclass(frozen=True)
class TiffLayout:
    """What the directories of a TIFF say.

    Attributes
    ----------
    width, height, bands, bits
        Of the first page.
    measured
        Whether the bands of the first page are measurements side by side, as satellites' are: several of them, no
        colours, and not what picture files know, which is grey and transparency of 8 bits each.
    pages
        Pages that are pictures of their own: no overviews and no transparency masks.
    georeferenced
        Whether the file says where on Earth, or on some other plane, its pixels are.
    nodata
        Whether it names a value that stands for "nothing measured here".
    """

    width: int
    height: int
    bands: int
    bits: int
    measured: bool
    pages: int
    georeferenced: bool
    nodata: bool


def kind_of(path: str | Path) -> Kind:
    """The kind of a file; ``PICTURE`` for whatever is none of the others, missing files among them."""
    path = Path(path)
    try:
        if not path.is_file():  # a pipe would wait for ever
            return Kind.PICTURE
        with path.open("rb") as file:
            start = file.read(132)
            if start[128:] == b"DICM":
                return Kind.DICOM
            if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                layout = tiff_layout(file)
                return Kind.PICTURE if layout is None else _kind_of_tiff(layout)
    except (OSError, ValueError):
        return Kind.PICTURE
    suffix = path.suffix.lower()
    if suffix in DICOM_SUFFIXES:
        return Kind.DICOM
    return Kind.VIDEO if suffix in VIDEO_SUFFIXES or _is_video(start) else Kind.PICTURE


def tiff_layout(file: BinaryIO) -> TiffLayout | None:
    """Read the directories of a TIFF or BigTIFF; None if they are damaged."""
    file.seek(0)
    header = file.read(16)
    big = header[2:4] in (b"+\0", b"\0+")
    first: TiffLayout | None = None
    pages = 0
    seen: set[int] = set()
    with contextlib.suppress(
        Exception
    ):  # Pillow raises nearly anything on damaged bytes; what was read till then counts
        directory = ImageFileDirectory_v2(header if big else header[:8])
        at = directory.next
        while at and at not in seen and len(seen) < _MOST_PAGES:
            seen.add(at)
            file.seek(at)
            directory.load(file)
            if first is None:
                first = TiffLayout(
                    width=int(directory[_WIDTH]),
                    height=int(directory[_HEIGHT]),
                    bands=int(directory.get(_SAMPLES, 1)),
                    bits=max(directory.get(_BITS, (1,))),
                    measured=_are_measurements(directory),
                    pages=1,
                    georeferenced=bool(_GEO_TAGS & set(directory)),
                    nodata=_GDAL_NODATA in directory,
                )
            # bit 0: a smaller version of another page, bit 2: a transparency mask of one
            pages += not int(directory.get(_SUBFILE, 0)) & 0b101
            at = directory.next
    if first is None:
        return None
    return TiffLayout(**{**vars(first), "pages": max(1, pages)})


def _are_measurements(directory: ImageFileDirectory_v2) -> bool:
    """See ``TiffLayout.measured``."""
    photometric, bands = directory.get(_PHOTOMETRIC), directory.get(_SAMPLES, 1)
    # all but the first are said to be extra: else this is a picture whose directory is damaged
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) or not 1 < bands == 1 + len(
        directory.get(_EXTRA_SAMPLES, ())
    ):
        return False
    return not (photometric == _BLACK_IS_ZERO and bands == 2 and max(directory.get(_BITS, (1,))) == 8)


def _kind_of_tiff(layout: TiffLayout) -> Kind:
    if layout.georeferenced or layout.nodata or layout.bands > 4 or layout.measured:
        return Kind.RASTER
    return Kind.STACK if layout.pages > 1 else Kind.PICTURE


def _is_video(start: bytes) -> bool:
    """MP4 and its kin, Matroska and WebM, AVI; whatever the name says."""
    if start[4:8] == b"ftyp":
        return start[8:12] not in (b"avif", b"avis", b"heic", b"heix", b"mif1")  # pictures in the same container
    return start[:4] == b"\x1aE\xdf\xa3" or (start[:4] == b"RIFF" and start[8:12] == b"AVI ")
