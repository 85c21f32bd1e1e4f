"""What the tiles need of a model: class scores for a batch of equal tiles, from whatever can segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray

Scores = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(B, T, T, 3) uint8 RGB to (B, n + 1, h, w) float32 logits or log-probabilities, background first.

(h, w) may be anything; it is resized bilinearly. A constant added to all classes of a pixel changes nothing, which is
why logits and log-probabilities are equally good.
"""

SMALLEST_PROBABILITY = 1e-7


class CanSegment(Protocol):
    """The part of ``Segmenter`` that is needed here; where it has ``scores`` or ``logits`` too, these are taken."""

    @property
    def class_names(self) -> Sequence[str]: ...

    @overload
    def __call__(self, image: NDArray[np.uint8], probabilities: Literal[False] = False) -> NDArray[np.uint8]: ...

    @overload
    def __call__(
        self, image: NDArray[np.uint8], probabilities: Literal[True]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]: ...


def scores_of(segmenter: CanSegment) -> Scores:
    """Class scores by a segmenter, one tile after the other: neighbours in a batch must not change a result."""
    logits = getattr(segmenter, "scores", None) or getattr(segmenter, "logits", None)

    def by_probabilities(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        likely = np.stack([segmenter(tile, probabilities=True)[1] for tile in tiles])
        return np.log(np.maximum(likely, SMALLEST_PROBABILITY)).transpose(0, 3, 1, 2).astype(np.float32)

    if logits is None:
        return by_probabilities
    return lambda tiles: np.concatenate([as_array(logits(tile)) for tile in tiles])


def tile_side(segmenter: Any, asked: int | None = None) -> int:
    """Side of a tile in pixels of the image: what was asked for, else the side of the images the model learnt from.

    A tile is resized to the model's working resolution as those were, so it shows things at the size they were learnt
    at. Models that do not say how large their images were get tiles of the working resolution, unresized.
    """
    if asked is not None:
        return asked
    side = getattr(segmenter, "summary", {}).get("support_side")
    if isinstance(side, int | float) and 1 <= side <= 1 << 15:
        return max(64, round(side))
    return int(getattr(segmenter, "size", 512))


def as_array(tensor: Any) -> NDArray[np.float32]:
    """A tensor of any device, or an array, as an array."""
    return np.asarray(tensor.cpu() if hasattr(tensor, "cpu") else tensor, np.float32)
