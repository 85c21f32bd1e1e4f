"""Crops of encoded views: a step of fine-tuning or distillation looks at a part of every view, for less work.

What is cropped are features: the backbone has seen the whole view, and every token knows its place in it. A student
that is not adapted afterwards is distilled from whole views; there, crops lost a point (``docs/experiments.md``).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from distillfss.geometry import GRID
from distillfss.models.attention import positional_encoding


class Crops:
    """One rectangle in each of B views on a canvas (H, W).

    Rectangles are made of whole cells of ``GRID`` pixels, so that they are the same at every stride, and all of a size.

    Parameters
    ----------
    canvas
        Height and width, multiples of ``GRID``.
    share
        Of the canvas' height and width; 1 takes all of it.
    count
        Number of views B.
    random
        Decides where the rectangles lie.
    """

    def __init__(self, canvas: Sequence[int], share: float, count: int, random: np.random.Generator) -> None:
        self._cells = [side // GRID for side in canvas]
        self._sides = [max(1, round(share * side)) for side in self._cells]
        spare = [side - own + 1 for side, own in zip(self._cells, self._sides, strict=True)]
        self._corners = random.integers(spare, size=(count, 2)).tolist()

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        """The rectangles of B maps (1, ..., h, w), of whatever stride, side by side: (B, ..., h', w')."""
        down, across = (side // cells for side, cells in zip(parts[0].shape[-2:], self._cells, strict=True))
        height, width = self._sides[0] * down, self._sides[1] * across
        return torch.cat(
            [
                part[..., top * down : top * down + height, left * across : left * across + width]
                for part, (top, left) in zip(parts, self._corners, strict=True)
            ]
        )

    def of(self, part: slice) -> Crops:
        """Those of some of the views."""
        some = copy.copy(self)
        some._corners = self._corners[part]
        return some

    def encoding(self, channels: int, height: int, width: int) -> Tensor:
        """The positional encoding of a map's rectangles, h' by w': (B, h' * w', channels)."""
        down, across = height // self._sides[0], width // self._sides[1]
        rows, columns = self._cells[0] * down, self._cells[1] * across
        whole = positional_encoding(channels, rows, columns).T.unflatten(1, (rows, columns))
        return self([whole[None]] * len(self._corners)).flatten(2).transpose(1, 2)
