"""Where tiles lie and how much each of them counts at every pixel.

Along either axis tiles start on a grid with a fixed step, so that two crops of one picture are cut alike. The first and
the last tile are pushed inwards to end at the border, so that every tile is full of real pixels. In the overlap of two
neighbours the outer quarters are left to whichever tile sees further there, and in between one fades into the other.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import UsageError

SMALLEST_TILE = 32
LARGEST_FADE = 256
"""Wider than this, blending gains nothing, but what is kept for the row of tiles below would fill the memory."""
OVERLAP = 0.25
"""Default share of a tile's side that the next tile sees as well."""


@dataclass(frozen=True)
class Span:
    """One tile's place along one axis, in pixels of the image.

    Attributes
    ----------
    start
        First pixel of the tile, which is ``tile`` pixels long (longer than the image if that is smaller).
    begin, end
        The tile counts from ``begin`` up to, not including, ``end``. It fades in over the first ``fade`` pixels unless
        it is the first tile, and out over the last ``fade`` unless it is the last.
    final
        Pixels from ``begin`` up to here need no further tile.
    """

    start: int
    begin: int
    end: int
    final: int


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis.

    Attributes
    ----------
    spans
        From the first to the last; every pixel of the image is between ``begin`` and ``end`` of one or two of them.
    fade
        Over how many pixels neighbours fade into each other.
    """

    length: int
    tile: int
    fade: int
    spans: tuple[Span, ...]

    def ramp(self) -> NDArray[np.float32]:
        """(fade,) weights with which a tile fades in, between 0 and 1; it fades out with 1 minus these."""
        return (0.5 - 0.5 * np.cos(np.pi * (np.arange(self.fade) + 0.5) / max(1, self.fade))).astype(np.float32)


def plan_axis(length: int, tile: int, overlap: int, origin: int = 0) -> Axis:
    """Place tiles along an axis.

    Parameters
    ----------
    length
        Pixels of the image along this axis, at least 1.
    tile
        Side of a tile in pixels.
    overlap
        Pixels by which neighbours overlap at least, at most half a tile.
    origin
        Where the image's first pixel lies in some larger frame. Tiles start at multiples of ``tile - overlap`` of that
        frame, so crops of one picture that state their own origin agree from ``tile`` pixels off the border inwards.

    Raises
    ------
    UsageError
        If the tile is too small, or the overlap negative or above half a tile.
    """
    if tile < SMALLEST_TILE:
        raise UsageError(f"tiles of {tile} pixels are too small", cure=f"Use at least {SMALLEST_TILE}")
    if not 0 <= overlap <= tile // 2:
        raise UsageError(f"an overlap of {overlap} pixels", cure=f"Use 0 to {tile // 2}, half a tile")
    step = tile - overlap
    starts = [0]
    if length > tile:
        starts = sorted({0, *range(-origin % step, length - tile + 1, step), length - tile})
    fade = min(overlap - 2 * (overlap // 4), LARGEST_FADE)
    margin = (overlap - fade) // 2
    # The overlap of the first pair may be wider than asked for: it is used at its start, and that of the last at its
    # end, so that no two fades meet.
    fades = [
        (right if pair == 0 else left + step) + margin for pair, (left, right) in enumerate(itertools.pairwise(starts))
    ]
    begins, finals = [0, *fades], [*fades, length]
    ends = [*(at + fade for at in fades), length]
    return Axis(length, tile, fade, tuple(Span(*each) for each in zip(starts, begins, ends, finals, strict=True)))


def overlap_pixels(tile: int, share: float) -> int:
    """The overlap in pixels from its share of a tile's side.

    Raises
    ------
    UsageError
        If the share is not between 0 and 0.5.
    """
    if not 0 <= share <= 0.5:
        raise UsageError(f"an overlap of {share:g}", cure="Use a share of the tile's side from 0 to 0.5")
    return int(tile * share)
