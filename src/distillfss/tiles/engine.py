"""Segment an image tile by tile while reading and writing it in strips.

Nothing as large as the image is ever held. Memory is one row of tiles as 8-bit pixels, and class scores of one tile
and of the ``fade`` rows in which the next row of tiles takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distillfss.tiles.plan import Axis, Span, plan_axis
from distillfss.tiles.scores import Scores

IGNORE = 255
PROBABILITY_ONE = 65534
"""Probabilities are kept in 16 bits, half the memory of floats: 0 to this stand for 0 to 1, and 65535 is left over."""
_ROWS = 64
"""Scores are resized to the image's pixels this many rows at a time."""

Tick = Callable[[int, int], None]
"""Called with (tiles done, tiles in all)."""


@dataclass(frozen=True, eq=False)
class Window:
    """A part of an image: ``pixels`` (h, w, 3) uint8 RGB; ``valid`` (h, w) bool, None if all of them count."""

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None = None


class Source(Protocol):
    """An image that is read in windows."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        ...

    def read(self, row: int, column: int, height: int, width: int) -> Window:
        """The pixels of a window, which lies within the image."""
        ...


class ArraySource:
    """An image that is in memory, as a ``Source``: (H, W, 3) uint8 RGB."""

    def __init__(self, pixels: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> None:
        self._pixels, self._valid = pixels, valid

    @property
    def shape(self) -> tuple[int, int]:
        return self._pixels.shape[0], self._pixels.shape[1]

    def read(self, row: int, column: int, height: int, width: int) -> Window:
        part = np.s_[row : row + height, column : column + width]
        return Window(self._pixels[part], None if self._valid is None else self._valid[part])


@dataclass(frozen=True, eq=False)
class Strip:
    """Rows that are done.

    Attributes
    ----------
    row
        The first of them.
    labels
        (h, W) uint8: 0 background, i + 1 the i-th class, 255 where the source had no valid pixel.
    probabilities
        (n + 1, h, W) uint16, 0 to ``PROBABILITY_ONE`` for 0 to 1; None unless asked for. Its memory is used again for
        the next strip.
    """

    row: int
    labels: NDArray[np.uint8]
    probabilities: NDArray[np.uint16] | None


def segment_strips(
    source: Source,
    scores: Scores,
    classes: int,
    *,
    tile: int,
    overlap: int,
    origin: tuple[int, int] = (0, 0),
    probabilities: bool = False,
    batch: int = 1,
    tick: Tick | None = None,
) -> Iterator[Strip]:
    """Segment an image of any size, from top to bottom.

    Parameters
    ----------
    source
        The image.
    scores
        The model, see ``Scores``.
    classes
        Foreground classes, n.
    tile, overlap
        Side of a tile and least overlap of neighbours, in pixels; see ``plan_axis``.
    origin
        (row, column) of the image's first pixel in a larger frame. Crops of one picture that state theirs get the same
        result, bit for bit, in all pixels that are at least ``tile`` away from their borders.
    probabilities
        Whether strips hold probabilities.
    batch
        Tiles given to ``scores`` at once.
    tick
        Told about every tile that is done.

    Yields
    ------
    Strip
        Every row exactly once, in order.

    Raises
    ------
    UsageError
        If tile and overlap do not fit together.
    """
    height, width = source.shape
    down = plan_axis(height, tile, overlap, origin[0])
    across = plan_axis(width, tile, overlap, origin[1])
    work = _Row(across, down, scores, classes + 1, probabilities, batch)
    done, total = 0, len(down.spans) * len(across.spans)
    band: _Band | None = None
    for span in down.spans:
        band = _read_band(source, span.start, min(tile, height), band)
        for _ in work.run(span, band):
            done += 1
            if tick:
                tick(done, total)
        yield work.strip(span, band)


def segment_array(
    pixels: NDArray[np.uint8],
    scores: Scores,
    classes: int,
    *,
    tile: int,
    overlap: int,
    valid: NDArray[np.bool_] | None = None,
    origin: tuple[int, int] = (0, 0),
    tick: Tick | None = None,
) -> NDArray[np.uint8]:
    """Mask (H, W) uint8 of an image (H, W, 3) that is in memory; parameters as in ``segment_strips``."""
    mask: NDArray[np.uint8] = np.empty(pixels.shape[:2], np.uint8)
    for strip in segment_strips(
        ArraySource(pixels, valid), scores, classes, tile=tile, overlap=overlap, origin=origin, tick=tick
    ):
        mask[strip.row : strip.row + strip.labels.shape[0]] = strip.labels
    return mask


@dataclass(frozen=True, eq=False)
class _Band:
    """All columns of the rows one row of tiles sees, from ``row`` on."""

    row: int
    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None


def _read_band(source: Source, row: int, height: int, last: _Band | None) -> _Band:
    """Read ``height`` rows; those the last band had too are taken from it, whose memory is used again."""
    width = source.shape[1]
    pixels = np.empty((height, width, 3), np.uint8) if last is None else last.pixels
    valid = None if last is None else last.valid
    kept = 0 if last is None else last.row + height - row
    if last is not None and kept:
        pixels[:kept] = pixels[height - kept :]
        if valid is not None:
            valid[:kept] = valid[height - kept :]
    for at in range(kept, height, 256):  # by and by: a reader may need several times a window's memory
        rows = min(256, height - at)
        window = source.read(row + at, 0, rows, width)
        pixels[at : at + rows] = window.pixels
        if valid is None and window.valid is not None:
            valid = np.ones((height, width), bool)
        if valid is not None:
            valid[at : at + rows] = True if window.valid is None else window.valid
    return _Band(row, pixels, valid)


class _Row:
    """One row of tiles after the other; keeps what fades into the next tile and the next row."""

    def __init__(
        self, across: Axis, down: Axis, scores: Scores, channels: int, probabilities: bool, batch: int
    ) -> None:
        self._across, self._down = across, down
        self._scores, self._channels, self._batch = scores, channels, batch
        self._into_right, self._into_below = across.ramp(), down.ramp()
        # What fades into the next row of tiles. Each tile takes what the one above it left before it leaves its own.
        self._carried = np.zeros((channels, down.fade, across.length), np.float32)
        tallest = max(span.final - span.begin for span in down.spans)
        self._labels = np.empty((tallest, across.length), np.uint8)
        shape = (channels, tallest, across.length)
        self._likely = np.empty(shape, np.uint16) if probabilities else None

    def run(self, down: Span, band: _Band) -> Iterator[None]:
        """Segment the row; yields once per tile."""
        tile = self._across.tile
        left = np.zeros((self._channels, down.end - down.begin, self._across.fade), np.float32)
        for first in range(0, len(self._across.spans), self._batch):
            group = self._across.spans[first : first + self._batch]
            cuts = [_cut(band, span.start, tile) for span in group]
            seen = {number: cut for number, cut in enumerate(cuts) if cut is not None}
            found = dict(zip(seen, self._scores(np.stack([*seen.values()])), strict=True)) if seen else {}
            for number, span in enumerate(group):
                left = self._blend(found.get(number), span, down, left)
                yield

    def strip(self, down: Span, band: _Band) -> Strip:
        """The rows that are done after ``run``."""
        rows = down.final - down.begin
        labels = self._labels[:rows].copy()
        if band.valid is not None:
            at = down.begin - band.row
            labels[~band.valid[at : at + rows]] = IGNORE
        return Strip(down.begin, labels, None if self._likely is None else self._likely[:, :rows])

    def _blend(
        self, found: NDArray[np.float32] | None, span: Span, down: Span, left: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Add one tile's scores (n + 1, h, w) and finish what no other tile adds to; returns what is for the right."""
        tile, fade = self._across.tile, self._across.fade
        right = np.zeros_like(left)
        columns = span.begin - span.start, span.end - span.start
        keep = span.final - span.begin
        for row in range(down.begin, down.end, _ROWS):
            last = min(row + _ROWS, down.end)
            if found is None:
                part = np.zeros((self._channels, last - row, span.end - span.begin), np.float32)
            else:
                part = _resized(found, tile, (row - down.start, last - down.start), columns)
            rows = np.s_[:, row - down.begin : last - down.begin]
            if span.begin > 0:
                part[:, :, :fade] *= self._into_right
                part[:, :, :fade] += left[rows]
            if span.final < span.end:
                right[rows] = part[:, :, keep:] * (1 - self._into_right)
            self._finish(part[:, :, :keep], row, span, down)
        return right

    def _finish(self, part: NDArray[np.float32], row: int, span: Span, down: Span) -> None:
        """Blend with the row of tiles above, put by what is for the row below, decide the rest."""
        fade = self._down.fade
        columns = slice(span.begin, span.final)
        last = row + part.shape[1]
        if down.begin > 0 and row < down.begin + fade:
            fading = slice(row - down.begin, min(last, down.begin + fade) - down.begin)
            faded = part[:, : fading.stop - fading.start]
            faded *= self._into_below[fading, None]
            faded += self._carried[:, fading, columns]
        if down.final < last and down.final < down.end:
            first = max(row, down.final)
            fading = slice(first - down.final, last - down.final)
            self._carried[:, fading, columns] = part[:, first - row :] * (1 - self._into_below[fading, None])
        decided = part[:, : max(0, min(last, down.final) - row)]
        rows = slice(row - down.begin, row - down.begin + decided.shape[1])
        self._labels[rows, columns] = _highest(decided)
        if self._likely is not None:
            self._likely[:, rows, columns] = np.rint(_softmax(decided) * np.float32(PROBABILITY_ONE))


def _cut(band: _Band, column: int, tile: int) -> NDArray[np.uint8] | None:
    """A tile (T, T, 3); mirrored where the image is smaller, invalid pixels in the mean colour of the others."""
    pixels = band.pixels[:, column : column + tile]
    if band.valid is not None:
        valid = band.valid[:, column : column + tile]
        if not valid.any():
            return None
        if not valid.all():
            pixels = pixels.copy()
            pixels[~valid] = np.rint(pixels[valid].mean(axis=0)).astype(np.uint8)
    missing = tile - pixels.shape[0], tile - pixels.shape[1]
    return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric") if any(missing) else pixels


def _resized(
    scores: NDArray[np.float32], tile: int, rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.float32]:
    """Part of (C, h, w) resized to (C, tile, tile), bilinear with half-pixel centres as in ``models.mixer.resize``."""
    low, high, share = _between(scores.shape[1], tile, rows)
    part = scores[:, low] + (scores[:, high] - scores[:, low]) * share[:, None]
    low, high, share = _between(scores.shape[2], tile, columns)
    start = part[:, :, low]
    wide = part[:, :, high]
    wide -= start
    wide *= share
    wide += start
    return wide


def _between(
    cells: int, tile: int, pixels: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For pixels of a tile the two cells they lie between, and how far."""
    at = np.clip((np.arange(*pixels) + 0.5) * cells / tile - 0.5, 0, cells - 1)
    low = np.floor(at).astype(np.intp)
    return low, np.minimum(low + 1, cells - 1), (at - low).astype(np.float32)


def _highest(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(C, h, w) to the index of the highest, the first of equals; several times faster than argmax over axis 0."""
    best = scores[0].copy()
    index = np.zeros(best.shape, np.uint8)
    for channel in range(1, scores.shape[0]):
        higher = scores[channel] > best
        index[higher] = channel
        np.maximum(best, scores[channel], out=best)
    return index


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(scores - scores.max(axis=0))
    return powers / powers.sum(axis=0)
