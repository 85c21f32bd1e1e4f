"""GeoTIFF and other large rasters, read in windows as 8-bit RGB, with what is known about their place on Earth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError, UsageError
from distillfss.io.extras import optional
from distillfss.io.legend import chosen_by
from distillfss.io.limits import limits
from distillfss.io.opening import quiet, too_many_pixels
from distillfss.io.pixels import PERCENTILES
from distillfss.notices import Notice, NoticeKind
from distillfss.tiles.engine import Window

_DRIVERS = {b"II": "GTiff", b"MM": "GTiff", b"\x89P": "PNG", b"\xff\xd8": "JPEG"}
"""First bytes → format. GDAL knows some 80 more; several of those open further files, or addresses, in turn."""
CACHE_BYTES = 96 << 20
"""GDAL's own default is a twentieth of the machine's memory."""
SAMPLE_SIDE = 1024
"""Percentiles are those of a copy shrunk to this many pixels a side, from the file's overviews where it has some."""

Range = tuple[float, float]


@contextmanager
def gdal(
    path: Path, *, cure: str = "Copy it again from its source, or convert it with gdal_translate"
) -> Iterator[Any]:
    """rasterio, with a bounded cache; whatever it raises inside the block becomes a ``DataError`` about ``path``."""
    rasterio = optional("rasterio", path)
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_NUM_THREADS="1"):
            yield rasterio
    except rasterio.errors.RasterioError as error:
        raise DataError(f"cannot be read ({_reason(error)})", cure=cure, path=path) from error
    except rasterio._err.CPLE_BaseError as error:
        raise DataError(f"cannot be read ({_reason(error)})", cure=cure, path=path) from error


class RasterSource:
    """An open raster as a ``Source`` of tiles. Use it in a ``with`` block, or ``close`` it.

    Parameters
    ----------
    path
        The file.
    bands
        One or three bands, counted from 1, to be seen as grey or as red, green, blue. By default those the file calls
        red, green and blue, else the first three, else the first.
    value_range
        Values that become 0 and 255. By default 8-bit values stay as they are, and others are stretched from the 0.1
        to the 99.9 percentile of the chosen bands together, over the whole file; of fewer than 8 bits, the highest
        possible value becomes 255. In a grey file whose lowest value is
        white (photometric interpretation ``MINISWHITE``), they become 255 and 0.

    Attributes
    ----------
    shape
        (height, width).
    dataset
        The open rasterio dataset.
    bands, value_range
        What was chosen; ``value_range`` is None where values stay as they are.
    remarks
        What was assumed.
    notices
        The same as people read it, one line each.

    Raises
    ------
    DataError
        The file cannot be read, or its values are no numbers a picture can have.
    UsageError
        The bands or the range make no sense for this file.
    """

    def __init__(self, path: str | Path, bands: Sequence[int] | None = None, value_range: Range | None = None) -> None:
        self.path = Path(path)
        self.remarks: list[Notice] = []
        with gdal(self.path) as rasterio:
            with quiet():  # about files that lie nowhere on Earth
                self.dataset = rasterio.open(self.path.resolve(), driver=_driver(self.path))
            try:
                self._settle(bands, value_range)
            except BaseException:
                self.dataset.close()
                raise

    def _settle(self, bands: Sequence[int] | None, value_range: Range | None) -> None:
        dataset = self.dataset
        self.shape = (int(dataset.height), int(dataset.width))
        if dataset.subdatasets:
            pages = len(dataset.subdatasets)
            unread = f"{self.path}: holds {pages} pages, only the first was read; split it to use the others"
            self.remarks.append(Notice(unread, NoticeKind.FIRST_ONLY))
        colours = [colour.name for colour in dataset.colorinterp]
        self._table = _colour_table(dataset, colours) if bands is None else None
        self.bands = tuple(bands) if bands is not None else self._usual_bands(colours)
        if len(self.bands) not in (1, 3) or not all(1 <= band <= dataset.count for band in self.bands):
            raise UsageError(
                f"bands {','.join(map(str, self.bands))} of a file with {dataset.count}",
                cure=f"Name one band or three, from 1 to {dataset.count}",
                path=self.path,
            )
        types = {np.dtype(dataset.dtypes[band - 1]) for band in self.bands}
        if any(kind.kind == "c" for kind in types):
            raise DataError("holds complex numbers", cure="Save their magnitude (gdal_calc) instead", path=self.path)
        self._masked = not all(
            [flag.name for flag in dataset.mask_flag_enums[band - 1]] == ["all_valid"] for band in self.bands
        )
        # as the readers of plain TIFF do; GDAL hands out the numbers as they are stored
        storage = dataset.tags(ns="IMAGE_STRUCTURE")
        self._negative = self._table is None and self.bands == (1,) and storage.get("MINISWHITE") == "YES"
        self._floats = any(kind.kind == "f" for kind in types)
        if value_range is not None and not value_range[0] < value_range[1]:
            raise UsageError("the range is empty", cure="Give the lower value first: --range 0,3000", path=self.path)
        as_they_are = types == {np.dtype(np.uint8)} and value_range is None
        self.value_range = value_range
        if as_they_are and self._table is None:
            self.value_range = _of_few_bits(dataset, self.bands)
        elif not as_they_are and value_range is None:
            self.value_range = self._percentiles()
        if value_range is None and not as_they_are:
            low, high = self.value_range or (0, 0)
            stretched = (
                f"{self.path}: values {low:g} to {high:g} (its 0.1 and 99.9 percentiles) were stretched to 8 bit; "
                f"{chosen_by('range')} chooses them, also for several files that are to be seen alike"
            )
            self.remarks.append(Notice(stretched))

    @property
    def notices(self) -> list[str]:
        return [remark.text for remark in self.remarks]

    def _usual_bands(self, colours: list[str]) -> tuple[int, ...]:
        if {"red", "green", "blue"} <= set(colours):
            return tuple(colours.index(name) + 1 for name in ("red", "green", "blue"))
        seen = [number for number, name in enumerate(colours, start=1) if name != "alpha"]
        taken = tuple(seen[:3]) if len(seen) >= 3 else tuple(seen[:1] or [1])
        if len(seen) > len(taken):
            which = (
                f"{', '.join(map(str, taken))} were taken as red, green and blue"
                if len(taken) == 3
                else f"{taken[0]} is seen, as grey"
            )
            chosen = f"{self.path}: {len(seen)} bands, of which {which}; {chosen_by('bands')} chooses others"
            self.remarks.append(Notice(chosen))
        return taken

    def _percentiles(self) -> Range:
        height, width = self.shape
        size = min(height, SAMPLE_SIDE), min(width, SAMPLE_SIDE)
        values = self.dataset.read(list(self.bands), out_shape=(len(self.bands), *size))
        seen = values[:, self._valid_of(values, out_shape=size)] if self._masked or self._floats else values
        if not seen.size:
            return 0.0, 1.0  # nothing measured at all
        low, high = (float(q) for q in np.quantile(seen, [q / 100 for q in PERCENTILES], method="inverted_cdf"))
        if low == high:
            low, high = float(seen.min()), float(seen.max())
        return (low, high) if low < high else (low, low + 1)

    def _valid_of(self, values: NDArray[Any], **where: Any) -> NDArray[np.bool_]:
        """(h, w): pixels where a band holds data, and all are numbers."""
        valid = np.ones(values.shape[1:], bool)
        if self._masked:
            valid = self.dataset.read_masks(list(self.bands), **where).any(axis=0)
        if self._floats:
            valid &= np.isfinite(values).all(axis=0)
        return valid

    def read(self, row: int, column: int, height: int, width: int) -> Window:
        """A window as 8-bit RGB, and which of its pixels hold data.

        Raises
        ------
        DataError
            The file is damaged there.
        """
        with gdal(self.path):
            where = ((row, row + height), (column, column + width))
            values = self.dataset.read(list(self.bands), window=where)
            valid = self._valid_of(values, window=where) if self._masked or self._floats else None
        return Window(self._to_rgb8(values), valid)

    def _to_rgb8(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """(1 or 3, h, w) of the file's type to (h, w, 3)."""
        if self._table is not None:
            return self._table[values[0]]
        if self.value_range is not None:
            values = stretch(values, self.value_range)
        if self._negative:
            values = 255 - values
        rgb = np.empty((*values.shape[1:], 3), np.uint8)
        rgb[...] = np.moveaxis(values, 0, -1)
        return rgb

    def shrunk(self, longest: int) -> Window:
        """The whole raster with its longer side brought to ``longest`` pixels or less."""
        height, width = self.shape
        scale = min(1.0, longest / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        with gdal(self.path):
            values = self.dataset.read(list(self.bands), out_shape=(len(self.bands), *size))
            valid = self._valid_of(values, out_shape=size) if self._masked or self._floats else None
        return Window(self._to_rgb8(values), valid)

    @property
    def origin(self) -> tuple[int, int]:
        """(row, column) of the first pixel in the grid of such pixels that covers the whole map.

        Two cut-outs of one map lie on the same grid, so tiles placed by it are the same in both.
        """
        a, b, c, d, e, f = tuple(self.dataset.transform)[:6]
        if b or d or not a or not e:
            return 0, 0
        row, column = f / e, c / a
        if not math.isfinite(row) or not math.isfinite(column):
            return 0, 0
        # 0.3: an offset of no or half a pixel, as most maps have, must not round either way by chance
        return math.floor(row + 0.3), math.floor(column + 0.3)

    def close(self) -> None:
        self.dataset.close()

    def __enter__(self) -> RasterSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def stretch(values: NDArray[Any], value_range: Range) -> NDArray[np.uint8]:
    """Map ``value_range`` linearly to 0...255, clipped; what is no number becomes 0."""
    low, high = value_range
    # a narrow range of large numbers has to be shifted at full precision; what is left of it fits into float32
    exact = np.result_type(values.dtype, np.float32)
    scaled = np.subtract(values, exact.type(low), dtype=exact).astype(np.float32, copy=False)
    scaled *= np.float32(255 / (high - low))
    np.nan_to_num(scaled, copy=False, nan=0.0)
    return np.rint(np.clip(scaled, 0, 255, out=scaled), out=scaled).astype(np.uint8)


def read_raster(
    path: str | Path, bands: Sequence[int] | None = None, value_range: Range | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None, tuple[Notice, ...]]:
    """A whole raster as (H, W, 3) uint8 RGB, which pixels hold data, and notices; see ``RasterSource``.

    Raises
    ------
    DataError
        Also if it has more pixels than a picture may have.
    """
    with RasterSource(path, bands, value_range) as source:
        height, width = source.shape
        if height * width > limits().pixels:
            raise too_many_pixels(Path(path), width, height)
        window = source.read(0, 0, height, width)
    pixels = window.pixels
    if window.valid is not None and window.valid.any() and not window.valid.all():
        pixels[~window.valid] = np.rint(pixels[window.valid].mean(axis=0)).astype(np.uint8)
    return pixels, window.valid, tuple(source.remarks)


def _driver(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", cure="Check the path", path=path) from error
    if start not in _DRIVERS:
        raise DataError("is no TIFF, PNG or JPEG file", cure="Convert it with gdal_translate", path=path)
    return _DRIVERS[start]


def _of_few_bits(dataset: Any, bands: Sequence[int]) -> Range | None:
    """Black and white of values that have fewer than 8 bits, which GDAL hands out as they are; None of others."""
    bits = min(int(dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 8)) for band in bands)
    return (0.0, float(2**bits - 1)) if bits < 8 else None


def _colour_table(dataset: Any, colours: list[str]) -> NDArray[np.uint8] | None:
    """(256, 3) of a palette raster."""
    if colours[0] != "palette" or dataset.dtypes[0] != "uint8":
        return None
    table = np.zeros((256, 3), np.uint8)
    for value, colour in dataset.colormap(1).items():
        table[value] = colour[:3]
    return table


def _reason(error: BaseException) -> str:
    return " ".join(str(error.__cause__ or error).split())[:160] or type(error).__name__
