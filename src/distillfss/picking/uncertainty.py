"""How unsure a model is of an image."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class CanDoubt(Protocol):
    """The part of ``Segmenter`` that this needs."""

    def logits(self, pixels: NDArray[np.uint8]) -> Tensor: ...


def uncertainty(model: CanDoubt, pixels: NDArray[np.uint8]) -> float:
    """Mean over pixels of one minus the margin between the two likeliest classes: 0 sure, 1 at a loss everywhere."""
    best = model.logits(pixels)[0].softmax(0).topk(2, dim=0).values
    return float(1 - (best[0] - best[1]).mean())
