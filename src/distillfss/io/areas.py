"""How large a raster's pixels are on the ground."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.io.extras import optional

GEOGRAPHIC = "EPSG:4326"
WIDEST = 80.0
"""Degrees from the middle of a raster to its rim, beyond which it counts as half of the Earth."""
SMALLEST_MIDDLE = 1e-3
"""Length of the mean of unit vectors to its rim, below which a raster has no middle."""
MOST_COLUMNS = 33
"""Pixels of a row whose area is reckoned; what lies between them is interpolated."""


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


class Ground:
    """A projection in which a raster's areas are true, and what its pixels cover.

    Lambert's azimuthal one about the raster's middle, which knows no edge at 180 degrees and no pole; of a raster that
    reaches round half of the Earth the cylindrical one, as the former has no opposite side.
    """

    def __init__(self, dataset: Any, projection: str) -> None:
        self._dataset, self._projection = dataset, projection

    @classmethod
    def of(cls, dataset: Any) -> Ground | None:
        """That of an open raster; None if nobody knows where on Earth it is."""
        crs = dataset.crs
        if crs is None or not (crs.is_geographic or crs.is_projected):
            return None
        share = np.linspace(0, 1, 9)
        across = np.concatenate([share, share, np.zeros(9), np.ones(9)]) * dataset.width
        down = np.concatenate([np.zeros(9), np.ones(9), share, share]) * dataset.height
        rim = transformed(crs, GEOGRAPHIC, *_on_map(dataset, across, down))
        if rim is None or not np.isfinite(rim).all():
            return cls(dataset, _cylindrical(dataset))
        away, up = np.radians(rim)
        points = np.stack([np.cos(up) * np.cos(away), np.cos(up) * np.sin(away), np.sin(up)])
        middle = points.mean(1)
        length = float(np.linalg.norm(middle))
        if length < SMALLEST_MIDDLE or float((middle @ points).min()) < length * np.cos(np.radians(WIDEST)):
            return cls(dataset, _cylindrical(dataset))
        east, north = np.degrees([np.arctan2(middle[1], middle[0]), np.arcsin(middle[2] / length)])
        return cls(dataset, f"+proj=laea +lat_0={north:.6f} +lon_0={east:.6f} +datum=WGS84 +units=m")

    def metres(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Coordinates of the raster's map (n,) in metres such that areas are true; None if no way leads there."""
        return transformed(self._dataset.crs, self._projection, x, y)

    def pixel_areas(self, row: int, columns: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Square metres (n,) of the pixels of a row at ``columns``; None if nobody knows."""
        across = columns[:, None] + np.array([0, 1, 1, 0])
        down = np.broadcast_to(row + np.array([0, 0, 1, 1]), across.shape)
        flat = self.metres(*_on_map(self._dataset, across.ravel(), down.ravel().astype(np.float64)))
        if flat is None:
            return None
        east, north = (each.reshape(across.shape) for each in flat)
        areas = shoelaces(east - east[:, :1], north - north[:, :1])
        return areas if np.isfinite(areas).all() and (areas > 0).all() else None

    def row_areas(self, row: int) -> NDArray[np.float64] | None:
        """Square metres (width,) of the pixels of a row, reckoned at some of them."""
        columns = np.unique(np.linspace(0, self._dataset.width - 1, MOST_COLUMNS).round())
        areas = self.pixel_areas(row, columns)
        return None if areas is None else np.interp(np.arange(self._dataset.width), columns, areas)


def _cylindrical(dataset: Any) -> str:
    """Equal areas without an edge within the raster: degrees go on beyond 180, of other maps the middle is in it."""
    projection = "+proj=cea +lat_ts=30 +datum=WGS84 +units=m"
    if dataset.crs.is_geographic:
        return f"{projection} +over"
    middle = _on_map(dataset, np.array([dataset.width / 2]), np.array([dataset.height / 2]))
    found = transformed(dataset.crs, GEOGRAPHIC, *middle)
    known = found is not None and np.isfinite(found).all()
    return f"{projection} +lon_0={found[0][0]:.6f}" if found is not None and known else projection


def _on_map(
    dataset: Any, across: NDArray[np.float64], down: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows of a raster to coordinates of its map."""
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    return a * across + b * down + c, d * across + e * down + f


def shoelaces(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas (n,) of polygons of corners (n, corners)."""
    return np.abs((x * np.roll(y, 1, axis=1) - y * np.roll(x, 1, axis=1)).sum(1)) / 2
