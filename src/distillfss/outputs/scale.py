"""How large a pixel is on the ground, where a file says so.

Only TIFF is asked: the dots per inch of JPEG and PNG are those of a printer or a default. A GeoTIFF answers by its
transform and coordinate system (rasterio), another TIFF by its resolution tags, ImageJ's unit included.
"""

from __future__ import annotations

import importlib.util
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillfss.errors import DataError
from distillfss.io.opening import open_picture

GEOTIFF, RESOLUTION, DICOM = "GeoTIFF", "TIFF resolution", "DICOM"

_GEO_KEYS, _DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT = 34735, 270, 282, 283, 296
_WIDTH, _HEIGHT = 256, 257
_TIFF_UNITS = {2: 0.0254, 3: 0.01}
_IMAGEJ_UNITS = {
    "nm": 1e-9,
    "um": 1e-6,
    "µm": 1e-6,
    "μm": 1e-6,
    "micron": 1e-6,
    "microns": 1e-6,
    "mm": 1e-3,
    "cm": 1e-2,
    "m": 1.0,
    "inch": 0.0254,
}
_PLACEHOLDERS = (1, 72, 96)
"""Dots per inch that programs write when they know none."""
_WEB_MERCATOR = 3857


@dataclass(frozen=True)
class PixelArea:
    """Square metres one pixel covers, and where that comes from."""

    square_metres: float
    source: str


def pixel_area(path: Path) -> PixelArea | None:
    """The area of a pixel of an image file; None where it does not say, or rasterio is missing for a GeoTIFF."""
    with path.open("rb") as file:
        if file.read(2) not in (b"II", b"MM"):
            return None
    try:
        with open_picture(path) as image:
            tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    except DataError:
        tags = {_GEO_KEYS: ()}  # Pillow cannot read every GeoTIFF
    if _GEO_KEYS in tags:
        return _by_transform(path) if importlib.util.find_spec("rasterio") else None
    return _by_resolution(tags)


def page_area(tags: Mapping[int, Any], first: Mapping[int, Any]) -> PixelArea | None:
    """The area of a pixel of one page of a TIFF, from its tags and those of the first page; None where they do not say.

    Microscopes and ImageJ note the resolution and its unit on the first page, for all pages of its size.
    """
    alike = all(tags.get(side) == first.get(side) for side in (_WIDTH, _HEIGHT))
    known = first if alike and _X_RESOLUTION not in tags else tags
    return _by_resolution({**known, _DESCRIPTION: first.get(_DESCRIPTION, "")})


def _by_resolution(tags: Mapping[int, Any]) -> PixelArea | None:
    try:
        across, down = float(tags[_X_RESOLUTION]), float(tags[_Y_RESOLUTION])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (0 < across < math.inf and 0 < down < math.inf):
        return None
    unit = _imagej_unit(str(tags.get(_DESCRIPTION, "")))
    if unit is None:
        code = tags.get(_UNIT, 2)
        unit = _TIFF_UNITS.get(code)
        if unit is None or (code == 2 and round(across) in _PLACEHOLDERS):
            return None
    return PixelArea(unit / across * unit / down, RESOLUTION)


def _imagej_unit(description: str) -> float | None:
    if not description.startswith("ImageJ="):
        return None
    found = re.search(r"^unit=(.+)$", description, re.MULTILINE)
    if found is None:
        return None
    return _IMAGEJ_UNITS.get(found[1].strip().replace("\\u00B5", "µ"))


def _by_transform(path: Path) -> PixelArea | None:
    import rasterio  # type: ignore[import-untyped]
    from rasterio.errors import NotGeoreferencedWarning, RasterioError  # type: ignore[import-untyped]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as raster:
                transform, crs, size = raster.transform, raster.crs, (raster.width, raster.height)
    except RasterioError:
        return None
    if crs is None or transform.is_identity:
        return None
    if crs.is_projected and crs.to_epsg() != _WEB_MERCATOR:
        return PixelArea(abs(transform.determinant) * crs.linear_units_factor[1] ** 2, GEOTIFF)
    try:
        area = _on_the_ground(transform, crs, size)
    except Exception:  # no coordinate system of the Earth: PROJ has its own errors for each
        return None
    return PixelArea(area, GEOTIFF) if 0 < area < math.inf else None


def _on_the_ground(transform: Any, crs: Any, size: tuple[int, int]) -> float:
    """Mean area of a pixel where the grid itself is not in metres (degrees) or only seems to be (Web Mercator).

    The outline of the image is laid into an equal-area projection around its own centre.
    """
    from rasterio.warp import transform as reproject  # type: ignore[import-untyped]

    width, height = size
    steps = 16
    along = [step / steps for step in range(steps)]
    outline = [(width * s, 0.0) for s in along] + [(width, height * s) for s in along]
    outline += [(width * (1 - s), height) for s in along] + [(0.0, height * (1 - s)) for s in along]
    t = transform
    places = [(t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f) for x, y in [*outline, (width / 2, height / 2)]]
    middle = places.pop()
    (longitude,), (latitude,) = reproject(crs, "EPSG:4326", [middle[0]], [middle[1]])
    equal_area = f"+proj=laea +lat_0={latitude} +lon_0={longitude} +datum=WGS84 +units=m"
    xs, ys = reproject(crs, equal_area, [x for x, _ in places], [y for _, y in places])
    twice = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))
    return abs(twice) / 2 / (width * height)
