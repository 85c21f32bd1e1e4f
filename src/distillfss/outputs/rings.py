"""Polygons of a mask that run along the edges of its pixels, so that filling them gives the mask back exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Polygon:
    """One connected component.

    Attributes
    ----------
    value
        Class index.
    ring
        (n, 2) int64 corners (x, y) of one closed line, the first not repeated; (0, 0) is the upper left corner of the
        upper left pixel. Holes are part of the line: see ``cut_open``.
    """

    value: int
    ring: NDArray[np.int64]

    def flat(self) -> list[int]:
        """``[x0, y0, x1, y1, ...]``"""
        numbers: list[int] = self.ring.ravel().tolist()
        return numbers


def polygons(mask: NDArray[np.uint8]) -> list[Polygon]:
    """Components of every class in a mask (H, W), by class, then from top to bottom.

    Pixels belong together that share an edge; those that only touch at a corner do not, because the outline of the two
    would cross itself.
    """
    from rasterio.features import shapes  # type: ignore[import-untyped]

    found = [
        Polygon(int(value), cut_open([np.array(ring[:-1], np.int64) for ring in shape["coordinates"]]))
        for shape, value in shapes(mask, mask=mask > 0, connectivity=4)
    ]
    return sorted(found, key=lambda polygon: (polygon.value, *min((y, x) for x, y in polygon.ring.tolist())))


def cut_open(rings: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """An outline and its holes → one closed line around the same pixels.

    COCO and YOLO know no holes. A cut of no width leads from every hole to the left, along an edge between pixels, to
    the first line it meets; it is walked there and back, so it encloses nothing and filling the line leaves the hole
    out, by the even-odd as by the non-zero rule.

    Parameters
    ----------
    rings
        (n, 2) corners with integer coordinates and axis-parallel sides; the outline first.
    """
    ring, *holes = rings
    started = []
    for hole in holes:
        leftmost = np.lexsort((hole[:, 1], hole[:, 0]))[0]
        started.append(np.roll(hole, -leftmost, axis=0))
    # from left to right: whatever a cut meets on its way is part of the line already
    for hole in sorted(started, key=lambda corners: (corners[0, 0], corners[0, 1])):
        x, y = hole[0]
        following = np.roll(ring, -1, axis=0)
        low, high = np.minimum(ring[:, 1], following[:, 1]), np.maximum(ring[:, 1], following[:, 1])
        met = (ring[:, 0] == following[:, 0]) & (low <= y) & (y <= high) & (ring[:, 0] <= x)
        at = int(np.argmax(np.where(met, ring[:, 0], -1)))
        cut = np.array([[ring[at, 0], y]])
        ring = np.concatenate([ring[: at + 1], cut, hole, hole[:1], cut, ring[at + 1 :]])
    # where a cut ends at a corner, that corner is there twice
    kept: NDArray[np.int64] = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    return kept
