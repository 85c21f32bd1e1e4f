"""How large a raster's pixels are on the ground."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.io.extras import optional

EQUAL_AREA = "EPSG:6933"
"""Cylindrical, WGS 84: areas are true everywhere, unlike in UTM (0.1 % off) or web maps (a factor of 2 in Europe)."""


def to_equal_area(
    crs: Any, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates in metres such that areas are true. ``crs`` is a rasterio coordinate system."""
    warp = optional("rasterio.warp")
    east, north = warp.transform(crs, EQUAL_AREA, x.tolist(), y.tolist())
    return np.asarray(east, np.float64), np.asarray(north, np.float64)


def pixel_square_metres(dataset: Any, row: int) -> float | None:
    """Area on the ground of a pixel in the middle of a row of an open raster; None if nobody knows."""
    if dataset.crs is None or not (dataset.crs.is_geographic or dataset.crs.is_projected):
        return None
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    across = dataset.width / 2 + np.array([0, 1, 1, 0])
    down = row + np.array([0, 0, 1, 1])
    try:
        east, north = to_equal_area(dataset.crs, a * across + b * down + c, d * across + e * down + f)
    except Exception:  # coordinate systems of another planet, or made up by hand: PROJ has its own errors for each
        return None
    area = shoelace(east - east[0], north - north[0])
    return area if np.isfinite(area) and area > 0 else None


def shoelace(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Area of a polygon."""
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
