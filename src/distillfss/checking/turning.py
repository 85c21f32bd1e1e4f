"""Masks of pictures that EXIF turns: were they drawn on the upright picture or on the stored one?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.io.decode import TURN

CLEARLY = 1.25
"""A mask fits the stored picture if edges of the image under its outline are that much stronger there."""


def as_stored(mask: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A mask that was drawn on the picture as stored → for the upright picture, as the EXIF standard turns it."""
    how = TURN.get(orientation)
    return mask if how is None else np.asarray(Image.fromarray(mask).transpose(how))


def edge_strength(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
    """Mean step of brightness along the outline of a mask; 0 if there is no outline."""
    grey = pixels.mean(2)
    total, count = 0.0, 0
    for axis in (0, 1):
        outline = np.diff(mask.astype(np.int16), axis=axis) != 0
        total += float(np.abs(np.diff(grey, axis=axis))[outline].sum())
        count += int(outline.sum())
    return total / count if count else 0.0


def drawn_as_stored(pixels: NDArray[np.uint8], mask: NDArray[np.uint8], orientation: int) -> bool:
    """Whether the mask (H, W), of the size of the upright picture (H, W, 3), fits better if it is turned as well."""
    turned = as_stored(mask, orientation)
    if turned.shape != mask.shape:
        return False
    return edge_strength(pixels, turned) > CLEARLY * max(edge_strength(pixels, mask), 1e-6)
