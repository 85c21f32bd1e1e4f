"""Models without a network for the tests of tiling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distillfss.tiles.engine import Window


def local_scores(tiles: NDArray[np.uint8], radius: int = 2) -> NDArray[np.float32]:
    """Three classes from a (2 radius + 1)-wide box mean of each channel, zeros beyond the border as a network pads."""
    out = []
    for tile in tiles.astype(np.float64):
        padded = np.pad(tile, ((radius, radius), (radius, radius), (0, 0)))
        height, width = tile.shape[:2]
        total = sum(
            padded[down : down + height, right : right + width]
            for down in range(2 * radius + 1)
            for right in range(2 * radius + 1)
        )
        out.append(total.transpose(2, 0, 1) / (2 * radius + 1) ** 2)
    return np.stack(out).astype(np.float32)


def contextual_scores(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scores at a quarter of the resolution that also depend on the whole tile, as group normalisation makes them."""
    cells = tiles[:, : tiles.shape[1] // 4 * 4, : tiles.shape[2] // 4 * 4].astype(np.float64)
    batch, height, width, _ = cells.shape
    cells = cells.reshape(batch, height // 4, 4, width // 4, 4, 3).mean(axis=(2, 4))
    centred = cells - cells.mean(axis=(1, 2), keepdims=True)
    return (centred / (1 + cells.std(axis=(1, 2), keepdims=True))).transpose(0, 3, 1, 2).astype(np.float32)


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth blobs with some noise, (H, W, 3)."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices((height, width))
    waves = [
        np.sin(rows / period + phase) + np.cos(columns / other - phase)
        for period, other, phase in random.uniform((9, 9, 0), (40, 40, 6), (3, 3))
    ]
    noise = random.normal(0, 0.15, (height, width, 3))
    return np.clip(127 + 55 * (np.stack(waves, axis=-1) + noise), 0, 255).astype(np.uint8)


class Recording:
    """A source of any size that holds nothing and writes down what was asked for."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = (height, width)
        self.rows_read = 0
        self.largest = 0

    def read(self, row: int, column: int, height: int, width: int) -> Window:
        assert row >= 0
        assert row + height <= self.shape[0]
        assert column + width <= self.shape[1]
        self.rows_read += height
        self.largest = max(self.largest, height * width)
        at = (np.arange(row, row + height)[:, None] + np.arange(column, column + width)) // 8 % 256
        return Window(np.repeat(at[:, :, None], 3, axis=2).astype(np.uint8))
