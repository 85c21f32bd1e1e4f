"""What a model says of its own answer to one image: how sure it is, and whether it has seen anything like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LEAST_SHARE = 0.005
"""Share of the image that counts as found for certain, so that an empty mask has a confidence, too: without it, the
slightest doubt about nothing would be all there is."""


@dataclass(frozen=True)
class Judged:
    """What is said of one answer.

    Attributes
    ----------
    confidence
        IoU of all foreground to be expected if the probabilities are right, 0 to 1. It is too good on new images, like
        the probabilities themselves; what it is good for is to put images in order.
    strangeness
        How far the image is from the support, 1 at the limit above which it is unlike it; None if the model cannot
        tell (one support image, an older file, an ONNX file).
    """

    confidence: float
    strangeness: float | None = None

    @property
    def unlike_support(self) -> bool:
        """Whether nothing in the support was like this image."""
        return self.strangeness is not None and self.strangeness > 1


@dataclass(frozen=True, eq=False)
class Answer:
    """A mask (H, W) uint8, probabilities (H, W, n + 1) float32 if they were asked for, and what is said of them."""

    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None = None
    judged: Judged | None = None


def confidence(logits: Tensor) -> float:
    """Expected IoU of the foreground: found and likely over found or likely, see ``Judged``.

    Parameters
    ----------
    logits
        (n + 1, h, w), background first.
    """
    foreground = 1 - logits.softmax(0)[0]
    found = logits.argmax(0) > 0
    least = LEAST_SHARE * found.numel()
    return float((foreground[found].sum() + least) / (found.sum() + foreground[~found].sum() + least))
