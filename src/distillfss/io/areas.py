"""How large a raster's pixels are on the ground."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.io.extras import optional

EQUAL_AREA = "EPSG:6933"
"""Cylindrical, WGS 84: areas are true everywhere, unlike in UTM (0.1 % off) or web maps (a factor of 2 in Europe)."""


GEOGRAPHIC = "EPSG:4326"


def transformed(
    crs: Any, target: str, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Coordinates in another system; None if no way leads there. ``crs`` is a rasterio coordinate system."""
    warp = optional("rasterio.warp")
    try:
        across, up = warp.transform(crs, target, x.tolist(), y.tolist())
    except Exception:  # coordinate systems of another planet, or made up by hand: PROJ has its own errors for each
        return None
    return np.asarray(across, np.float64), np.asarray(up, np.float64)


def to_equal_area(
    crs: Any, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Coordinates in metres such that areas are true; None if nobody knows where on Earth they are."""
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return None
    return transformed(crs, EQUAL_AREA, x, y)


def pixel_square_metres(dataset: Any, row: int) -> float | None:
    """Area on the ground of a pixel in the middle of a row of an open raster; None if nobody knows."""
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    across = dataset.width / 2 + np.array([0, 1, 1, 0])
    down = row + np.array([0, 0, 1, 1])
    metres = to_equal_area(dataset.crs, a * across + b * down + c, d * across + e * down + f)
    if metres is None:
        return None
    east, north = metres
    area = shoelace(east - east[0], north - north[0])
    return area if np.isfinite(area) and area > 0 else None


def shoelace(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Area of a polygon."""
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
