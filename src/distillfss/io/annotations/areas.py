"""Areas: what a drawn object covers, and the one rule by which it becomes pixels.

Coordinates are in pixels from the upper left corner of the upper left pixel, so the pixel in row r and column c is the
square from (c, r) to (c + 1, r + 1). **It belongs to an object if its centre (c + 0.5, r + 0.5) lies inside the outline
and in none of the holes.** Where an outline crosses itself, inside is what it goes around an odd number of times. A
centre exactly on an outline belongs to one side of it only, so neighbours that share an edge neither overlap nor leave
a gap. GDAL (by way of rasterio) does it, in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.annotations.extra import needed

FARTHEST = 1e7
"""Coordinates beyond this are no pixels of any picture."""
MOST_POINTS = 2_000_000
"""Of one outline."""

Window = tuple[int, int, NDArray[np.bool_]]
"""Row and column of the upper left corner inside the image, and which pixels from there on are covered."""

NOTHING: Window = (0, 0, np.zeros((0, 0), np.bool_))


class Area(Protocol):
    """Something that covers pixels."""

    def window(self, height: int, width: int) -> Window:
        """The pixels covered, cut to an image of this size."""


@dataclass(frozen=True, eq=False)
class Outline:
    """A polygon: rings of x and y, each (N, 2) float64; the first goes around it, the others around its holes.

    With ``even_odd`` no ring is special: covered is what an odd number of them go around.
    """

    rings: tuple[NDArray[np.float64], ...]
    even_odd: bool = False

    @classmethod
    def of(cls, rings: Sequence[object], *, even_odd: bool = False) -> Outline:
        """From rings of points as they stand in a file; rings of fewer than three points cover nothing and are left.

        Raises
        ------
        DataError
            (Without a path) something that is no list of pairs of numbers, or numbers beyond reason.
        """
        points = [_checked(points_of(ring)) for ring in rings]
        if not even_odd and points and len(points[0]) < 3:
            points = []
        return cls(tuple(ring for ring in points if len(ring) > 2), even_odd)

    def is_outside(self, height: int, width: int) -> bool:
        """Whether all of it lies beside an image of this size."""
        points = np.concatenate([np.zeros((0, 2)), *self.rings])
        return bool(len(points)) and bool((points.max(0) <= 0).any() or (points.min(0) >= (width, height)).any())

    def window(self, height: int, width: int) -> Window:
        if not self.rings:
            return NOTHING
        rasterize = needed("rasterio.features", "polygons").rasterize
        points = np.concatenate(self.rings)
        left, top = np.clip(np.floor(points.min(0)).astype(int), 0, (width, height))
        right, bottom = np.clip(np.ceil(points.max(0)).astype(int), 0, (width, height))
        if right <= left or bottom <= top:
            return NOTHING
        closed = [(np.vstack([ring, ring[:1]]) - (left, top)).tolist() for ring in self.rings]
        shape = int(bottom - top), int(right - left)
        layers = [closed] if self.even_odd else [[ring] for ring in closed]
        # GDAL alone would fill again where two holes overlap
        drawn = [({"type": "Polygon", "coordinates": layer}, int(n == 0)) for n, layer in enumerate(layers)]
        covered = rasterize(drawn, out_shape=shape, dtype="uint8")
        return int(top), int(left), covered.astype(np.bool_)


@dataclass(frozen=True)
class Ellipse:
    """An ellipse turned by ``angle`` degrees clockwise (as seen, y pointing down) about its centre."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    angle: float = 0.0

    def window(self, height: int, width: int) -> Window:
        values = (self.x, self.y, self.radius_x, self.radius_y, self.angle)
        if not np.isfinite(values).all() or max(map(abs, values)) > FARTHEST:
            raise _beyond()
        if self.radius_x <= 0 or self.radius_y <= 0:
            return NOTHING
        reach = max(self.radius_x, self.radius_y)
        left, right = (int(np.clip(v, 0, width)) for v in (np.floor(self.x - reach), np.ceil(self.x + reach)))
        top, bottom = (int(np.clip(v, 0, height)) for v in (np.floor(self.y - reach), np.ceil(self.y + reach)))
        rows, columns = np.ogrid[top:bottom, left:right]
        across, down = columns + 0.5 - self.x, rows + 0.5 - self.y
        cosine, sine = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        along, beside = across * cosine + down * sine, down * cosine - across * sine
        return top, left, (along / self.radius_x) ** 2 + (beside / self.radius_y) ** 2 <= 1


@dataclass(frozen=True, eq=False)
class Bitmap:
    """Pixels as they are, their upper left corner at row ``top`` and column ``left``."""

    top: int
    left: int
    pixels: NDArray[np.bool_]

    def window(self, height: int, width: int) -> Window:
        first, last = max(0, -self.top), max(0, min(self.pixels.shape[0], height - self.top))
        begin, end = max(0, -self.left), max(0, min(self.pixels.shape[1], width - self.left))
        return self.top + first, self.left + begin, self.pixels[first:last, begin:end]


def box(left: float, top: float, right: float, bottom: float, angle: float = 0.0) -> Outline:
    """A rectangle, turned by ``angle`` degrees clockwise about its middle."""
    corners = _checked(points_of([[left, top], [right, top], [right, bottom], [left, bottom]]))
    if angle:
        middle = corners.mean(0)
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        corners = (corners - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle
    return Outline((corners,))


def points_of(ring: object) -> NDArray[np.float64]:
    """(N, 2) from a list of points as it stands in a file. Raises ``DataError`` (without a path) if it is none."""
    try:
        points = np.asarray(ring, np.float64)
    except (TypeError, ValueError, OverflowError) as exc:
        raise DataError("an outline that is no list of points", cure="Export the annotation again") from exc
    if points.size == 0:
        return np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] < 2:
        raise DataError("an outline that is no list of points", cure="Export the annotation again")
    if len(points) > MOST_POINTS:
        raise DataError(f"an outline of {len(points)} points", cure="Simplify it in the tool it was drawn with")
    return points[:, :2]


def _checked(points: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(points).all() or np.abs(points).max(initial=0) > FARTHEST:
        raise _beyond()
    return points


def _beyond() -> DataError:
    return DataError("coordinates that lie in no picture", cure="Export the annotation again, in pixels")
