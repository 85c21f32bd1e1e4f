"""The classes of a mask raster as polygons, for geographic information systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError, OutputError
from distillfss.io.areas import GEOGRAPHIC, Ground, transformed
from distillfss.io.extras import optional
from distillfss.io.files import atomic_path
from distillfss.io.geo import gdal
from distillfss.io.masks import IGNORE

FORMATS = {"geojson": "GeoJSON", "gpkg": "GPKG"}
"""Suffix → name of the driver."""
LAYER = "classes"
_BATCH = 5000
LONGEST_EDGE = 16
"""Pixels: longer edges are divided before they are projected, where a straight line need not stay one."""


def write_polygons(mask: Path, out: Path, class_names: Sequence[str], source: Path) -> int:
    """Write one polygon, with its holes, per connected region of every class.

    Parameters
    ----------
    mask
        The mask as GeoTIFF: 0 and 255 are left out, i + 1 is ``class_names[i]``. Pixels that touch at a corner only
        are not connected.
    out
        ``.geojson``: RFC 7946, so longitude and latitude (WGS 84), anticlockwise. ``.gpkg``: the mask's own coordinate
        system. Every polygon has the attributes ``class``, ``value``, ``pixels`` and ``square_metres`` (on the ground;
        empty where the mask has no coordinate system, or one that is none of the Earth's).
    source
        The image, for messages.

    Returns
    -------
    int
        How many polygons.

    Raises
    ------
    DataError
        The mask's place is known by ground control points or RPCs alone; or GeoJSON is wanted and the mask has no
        coordinate system, or none with longitude and latitude.
    OutputError
        It cannot be written.
    """
    pyogrio = optional("pyogrio", source)
    kind = out.suffix.lower().removeprefix(".")
    with gdal(mask) as rasterio, rasterio.open(mask) as dataset:
        crs = dataset.crs
        refuse_placeless(dataset, kind, source)
        geometry, values, pixels, metres = _polygons(dataset)
    options = {"RFC7946": "YES"} if kind == "geojson" else {}
    names = np.array([class_names[value - 1] for value in values], object)
    with atomic_path(out, suffix=out.suffix) as temporary:
        try:
            pyogrio.raw.write(
                str(temporary),
                geometry,
                [names, values, pixels, metres],
                ["class", "value", "pixels", "square_metres"],
                layer=LAYER,
                driver=FORMATS[kind],
                geometry_type="Polygon",
                crs=None if crs is None else crs.to_wkt(),
                **options,
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, RuntimeError) as error:
            raise OutputError(
                f"could not be written ({' '.join(str(error).split())[:160]})",
                cure="Free some space or write to another disk, then run it again",
                path=out,
            ) from error
    return len(values)


def refuse_placeless(dataset: Any, kind: str, source: Path) -> None:
    """Raise ``DataError`` where the pixels of an open raster have no place that polygons of this kind can have."""
    _refuse_unrectified(dataset, source)
    if kind == "geojson":
        _refuse_nowhere(dataset, source)


def _refuse_unrectified(dataset: Any, source: Path) -> None:
    """Where pixels form no grid on the ground, polygons would lie in pixels, which no program can put in place."""
    if dataset.crs is None and (dataset.gcps[0] or dataset.rpcs is not None):
        raise DataError(
            "is placed on Earth by ground control points or RPCs alone, which polygons cannot have",
            cure="Warp it onto a map (gdalwarp -t_srs) and predict that, or leave --polygons out",
            path=source,
        )


def _refuse_nowhere(dataset: Any, source: Path) -> None:
    """GeoJSON knows longitude and latitude only; raises ``DataError`` where a raster has none."""
    corner = np.array([dataset.transform.c]), np.array([dataset.transform.f])
    if dataset.crs is None:
        problem = "says nowhere where on Earth it lies, which GeoJSON has to"
    elif transformed(dataset.crs, GEOGRAPHIC, *corner) is None:
        problem = "is in a coordinate system that has no longitude and latitude on Earth, which GeoJSON needs"
    else:
        return
    raise DataError(
        problem, cure="Use --polygons gpkg, or give the image a coordinate system (gdal_edit -a_srs)", path=source
    )


def _polygons(dataset: Any) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
    """Well-known binary, class, size in pixels and in square metres of every region of an open mask raster."""
    features, rasterio = optional("rasterio.features"), optional("rasterio")
    band = rasterio.band(dataset, 1)
    ground = Ground.of(dataset)
    parts: list[tuple[NDArray[Any], ...]] = []
    waiting: list[tuple[Any, int]] = []
    # the mask is its own mask: background is 0
    for shape, value in features.shapes(band, mask=band, connectivity=4, transform=dataset.transform):
        if int(value) != IGNORE:
            waiting.append((shape, int(value)))
        if len(waiting) == _BATCH:
            parts.append(_batch(waiting, dataset, ground))
            waiting = []
    parts.append(_batch(waiting, dataset, ground))
    geometry, values, pixels, metres = (np.concatenate(each) for each in zip(*parts, strict=True))
    return geometry, values, pixels, metres


def _batch(found: list[tuple[Any, int]], dataset: Any, ground: Ground | None) -> tuple[NDArray[Any], ...]:
    shapely = optional("shapely")
    polygons = np.array(
        [shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in found], object
    )
    transform = dataset.transform
    pixel = abs(transform.a * transform.e - transform.b * transform.d)
    pixels = np.rint(shapely.area(polygons) / pixel).astype(np.int64) if found else np.empty(0, np.int64)
    metres = np.full(len(found), np.nan)
    if found and ground is not None:
        divided = shapely.segmentize(polygons, LONGEST_EDGE * np.sqrt(pixel))
        flat = ground.metres(*shapely.get_coordinates(divided).T)
        if flat is not None:
            metres = shapely.area(shapely.set_coordinates(divided, np.column_stack(flat)))
    binary = np.array([*shapely.to_wkb(polygons)], object) if found else np.empty(0, object)
    return binary, np.array([value for _, value in found], np.int32), pixels, metres
