"""Working sizes: how large an image is when the network sees it."""

from __future__ import annotations

GRID = 32
"""Sides are multiples of the coarsest stride, so feature grids of all strides align."""


def working_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width of about ``size * size`` pixels with the image's own aspect ratio, in multiples of 32.

    Equal area rather than an equal longer side: a road seen as 1000x200 costs what a square costs and keeps its detail.

    >>> working_size(500, 500, 384), working_size(288, 512, 384)
    ((384, 384), (288, 512))
    """
    aspect = min(max(width / height, 1 / 16), 16.0)

    def on_grid(side: float) -> int:
        return max(GRID, round(side / GRID) * GRID)

    return on_grid(size / aspect**0.5), on_grid(size * aspect**0.5)
