"""GeoJSON in coordinates of the world: whether it is, and where they lie in the pixels of the map it was drawn on.

A file with a ``crs`` is in coordinates of that system. One without is in longitude and latitude by RFC 7946, but in
pixels by the habit of microscopy, so where the image is a map, what the objects overlap decides: the image's pixels or
its part of the Earth. Where it is none, or lies elsewhere, only what cannot be pixels is told from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.annotations.base import malformed
from distillfss.io.extras import optional
from distillfss.io.geo import gdal
from distillfss.io.kinds import Kind, kind_of
from distillfss.io.opening import quiet

DEGREES = "OGC:CRS84"
"""WGS 84, longitude first: what GeoJSON is in where it says nothing."""
SMALL = 0.01
"""Objects that, taken for pixels, all lie within this share of the longer side are meant in degrees."""
_NAME = re.compile(r"(?:.*[:/])?(?:(EPSG)[:/](?:[\d.]*[:/])?(\d{1,6})|(OGC)[:/](?:[\d.]*[:/])?(CRS84))", re.IGNORECASE)
_CURE = "Export it in longitude and latitude (WGS 84), or in pixels"

Points = NDArray[np.float64]
Move = Callable[[Points], Points]


@dataclass(frozen=True)
class Place:
    """Where on Earth a map lies: rasterio's coordinate system, and the transform from (column, row) into it."""

    crs: Any
    transform: Any

    def pixels(self, name: str, path: Path, points: Points) -> Points:
        """Points (N, 2) of the named system → x and y in pixels. Raises ``DataError`` about the annotation ``path``."""
        warp = optional("rasterio.warp", path)
        with gdal(path, cure=_CURE) as rasterio:
            try:
                system = rasterio.CRS.from_user_input(name)
            except ValueError as error:
                raise _unknown(name, path) from error
            x, y = warp.transform(system, self.crs, points[:, 0].tolist(), points[:, 1].tolist())
        return _applied(~self.transform, np.asarray(x, np.float64), np.asarray(y, np.float64))

    def lies_on(self, other: Place) -> bool:
        """Whether the pixels of both are the same pieces of ground, to half a pixel."""
        ends = np.array([0.0, 100.0])
        there = _applied(~other.transform, *_applied(self.transform, ends, ends).T)
        return bool(self.crs == other.crs and (np.abs(there - ends[:, None]) <= 0.5).all())

    def degrees(self, size: tuple[int, int], path: Path) -> tuple[Points, Points] | None:
        """West and south, east and north of the map; None if its coordinate system is none of the Earth."""
        height, width = size
        across, down = np.array([0, width, 0, width]), np.array([0, 0, height, height])
        corners = _applied(self.transform, across, down)
        low, high = corners.min(0), corners.max(0)
        warp = optional("rasterio.warp", path)
        with suppress(DataError), gdal(path):
            west, south, east, north = warp.transform_bounds(self.crs, DEGREES, *low, *high)
            if west > east:  # across the date line
                west, east = -180, 180
            if np.isfinite([west, south, east, north]).all():
                return np.array([west, south]), np.array([east, north])
        return None


def to_pixels(image: Path, size: tuple[int, int], crs: Any, outlines: Sequence[Points], path: Path) -> Move:
    """How points (N, 2) of a GeoJSON file become pixels of its image.

    Parameters
    ----------
    image, size
        The image and its (height, width).
    crs
        The file's member of this name, or None.
    outlines
        All outer rings of the file, each (N, 2), as they stand there.
    path
        The file.

    Raises
    ------
    DataError
        It has a ``crs`` and the image no place on Earth, or a ``crs`` that is not known; both pixels and degrees would
        make sense; or it cannot be in pixels, nor on what the image shows of the Earth.
    """
    place = place_of(image)
    if crs is not None:
        name = _name(crs, path)
        if place is None:
            raise DataError(
                f"is in coordinates of the world ({name}), but {image.name} does not say where on Earth it lies",
                cure="Put the GeoTIFF it was drawn on there, or export the annotation in pixels",
                path=path,
            )
        return partial(place.pixels, name, path)
    if place is not None and _in_degrees(place, size, outlines, path):
        return partial(place.pixels, DEGREES, path)
    if _cannot_be_pixels(outlines):
        where = "does not say where on Earth it lies" if place is None else "shows another part of the Earth"
        raise DataError(
            f"none of its objects is as large as a pixel, as in longitude and latitude, but {image.name} {where}",
            cure="Put the GeoTIFF it was drawn on there, or export the annotation in pixels",
            path=path,
        )
    return as_they_are


def _applied(transform: Any, x: Points, y: Points) -> Points:
    """(N, 2) from x and y, each (N,)."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


def as_they_are(points: Points) -> Points:
    """In pixels already."""
    return points


def place_of(image: Path) -> Place | None:
    """Where a map lies; None of a picture that does not say. Raises ``DataError`` if it cannot be read."""
    if kind_of(image) is not Kind.RASTER:
        return None
    with gdal(image) as rasterio, quiet(), rasterio.open(image.resolve(), driver="GTiff") as dataset:
        crs, transform = dataset.crs, dataset.transform
    return None if crs is None or transform.is_identity or transform.is_degenerate else Place(crs, transform)


def _name(crs: Any, path: Path) -> str:
    given = crs["properties"]["name"] if isinstance(crs, dict) and crs.get("type") == "name" else None
    if not isinstance(given, str):
        raise malformed(path, "its crs has no name")
    match = _NAME.fullmatch(given.strip())
    if match is None:
        raise _unknown(given, path)  # GDAL would take addresses and files for names as well
    return ":".join(part for part in match.groups() if part).upper()


def _unknown(name: str, path: Path) -> DataError:
    return DataError(f"is in the coordinate system {name[:80]!r}, which is not known", cure=_CURE, path=path)


def _in_degrees(place: Place, size: tuple[int, int], outlines: Sequence[Points], path: Path) -> bool:
    boxes = [(ring.min(0), ring.max(0)) for ring in outlines if len(ring)]
    extent = place.degrees(size, path)
    if not boxes or extent is None or not _any_overlaps(boxes, *extent):
        return False
    height, width = size
    if not _any_overlaps(boxes, np.zeros(2), np.array([width, height], np.float64)):
        return True
    low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    if (low < (-180, -90)).any() or (high > (180, 90)).any():
        return False
    if (high - low).max() < SMALL * max(size):
        return True
    raise DataError(
        "could be in pixels, or in longitude and latitude: both lie in the image",
        cure='If it is in degrees, add "crs": {"type": "name", "properties": {"name": "EPSG:4326"}} to the file; '
        "if it is in pixels, take the image its coordinates (gdal_edit -unsetgt)",
        path=path,
    )


def _cannot_be_pixels(outlines: Sequence[Points]) -> bool:
    """Whether all outlines lie among longitudes and latitudes, and each within less than a pixel."""
    boxes = [(ring.min(0), ring.max(0)) for ring in outlines if len(ring)]
    return bool(boxes) and all(
        (low >= (-180, -90)).all() and (high <= (180, 90)).all() and (high - low < 1).all() for low, high in boxes
    )


def _any_overlaps(boxes: Sequence[tuple[Points, Points]], low: Points, high: Points) -> bool:
    return any((first < high).all() and (last > low).all() for first, last in boxes)
