"""Masks and probabilities of rasters as GeoTIFF: in place on Earth, tiled, compressed, written in strips."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import OutputError
from distillfss.io.extras import optional
from distillfss.io.files import atomic_path
from distillfss.io.geo import CACHE_BYTES
from distillfss.io.masks import IGNORE, PALETTE
from distillfss.io.opening import quiet

BLOCK = 256
CLASSES_TAG = "DISTILLFSS_CLASSES"
PROBABILITY_NODATA = 65535
"""Probabilities are 0 to 65534; this stands for "nothing measured here"."""


class StripWriter:
    """Writes rows from the top and remembers their checksum."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._row = 0
        self.rows: list[int] = []
        self.checksum = 0

    def write(self, rows: NDArray[Any]) -> None:
        """Write the next rows, (h, W) or (bands, h, W)."""
        bands = rows if rows.ndim == 3 else rows[None]
        height = bands.shape[1]
        where = ((self._row, self._row + height), (0, bands.shape[2]))
        self._dataset.write(np.ascontiguousarray(bands), window=where)
        self.checksum = zlib.crc32(np.ascontiguousarray(bands).data, self.checksum)
        self.rows.append(height)
        self._row += height


@contextmanager
def new_raster(
    path: Path, like: Any, *, bands: int, dtype: str, nodata: int, tags: Mapping[str, str], names: Sequence[str] = ()
) -> Iterator[StripWriter]:
    """Write a GeoTIFF with place, size and coordinate system of the open dataset ``like``, whole or not at all.

    When the block ends, the file is read back and compared: GDAL reports some failures to write nowhere else.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    rasterio = optional("rasterio", path)
    profile = {
        "driver": "GTiff",
        "width": like.width,
        "height": like.height,
        "count": bands,
        "dtype": dtype,
        "nodata": nodata,
        "compress": "deflate",
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "band",
        "bigtiff": "if_safer",
    }
    with atomic_path(path) as temporary, rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_PAM_ENABLED=False):
        try:
            with quiet():  # about files that lie nowhere on Earth
                dataset = rasterio.open(temporary, "w", **profile)
            with dataset:
                _place(dataset, like)
                dataset.update_tags(**tags)
                for number, name in enumerate(names, start=1):
                    dataset.set_band_description(number, name)
                if dtype == "uint8" and bands == 1:
                    dataset.write_colormap(1, {value: (*map(int, rgb), 255) for value, rgb in enumerate(PALETTE)})
                writer = StripWriter(dataset)
                yield writer
            with quiet():
                dataset = rasterio.open(temporary)
            with dataset:
                intact = _checksum(dataset, writer.rows) == writer.checksum
        except rasterio.errors.RasterioError as error:
            raise _unwritable(path, error.__cause__ or error) from error
        if not intact:
            raise _unwritable(path, "what was written cannot be read back")


def mask_tags(class_names: Sequence[str]) -> dict[str, str]:
    """What the values of a mask mean, as GDAL metadata."""
    return {
        CLASSES_TAG: ", ".join(f"{value}={name}" for value, name in enumerate(["background", *class_names])),
        "DISTILLFSS_NODATA": f"{IGNORE} where the image holds no data",
    }


def _place(dataset: Any, like: Any) -> None:
    points, system = like.gcps
    if points:
        dataset.gcps = points, system
    elif like.crs is not None or not like.transform.is_identity:
        if like.crs is not None:  # a world file, or an image cut from a map, has a transform alone
            dataset.crs = like.crs
        dataset.transform = like.transform
    if like.rpcs is not None:
        dataset.rpcs = like.rpcs


def _checksum(dataset: Any, rows: Sequence[int]) -> int:
    checksum, row = 0, 0
    for height in rows:
        values = dataset.read(window=((row, row + height), (0, dataset.width)))
        checksum = zlib.crc32(np.ascontiguousarray(values).data, checksum)
        row += height
    return checksum


def _unwritable(path: Path, reason: object) -> OutputError:
    text = " ".join(str(reason).split())[:160]
    return OutputError(
        f"could not be written ({text})",
        cure="Free some space or write to another disk, then run it again; nothing that existed was changed",
        path=path,
    )
