"""Masks that are hard on outlines."""

from __future__ import annotations

import numpy as np
from skimage.filters import gaussian

from distillfss.outputs import Segmented

NAMES = ("crack", "hole: é")


def noise(seed: int, height: int, width: int, classes: int = 2) -> np.ndarray:
    """Every pixel its own class: holes of one pixel, holes in holes, corners that touch."""
    return np.random.default_rng(seed).integers(0, classes + 1, (height, width)).astype(np.uint8)


def blobs(seed: int, height: int, width: int, classes: int = 2) -> np.ndarray:
    """Smooth regions with holes, like those a model draws."""
    fields = np.random.default_rng(seed).random((classes + 1, height, width))
    return np.stack([gaussian(field, 2.5) for field in fields]).argmax(0).astype(np.uint8)


def rings_in_rings() -> np.ndarray:
    mask = np.zeros((40, 50), np.uint8)
    for depth, value in enumerate((1, 0, 2, 0, 1, 2)):
        mask[3 * depth : 40 - 3 * depth, 3 * depth : 50 - 3 * depth] = value
    return mask


MASKS = {
    "noise": noise(0, 31, 43),
    "dense": (noise(1, 37, 29, 5) > 0).astype(np.uint8),
    "blobs": blobs(2, 90, 120),
    "rings": rings_in_rings(),
    "full": np.ones((7, 5), np.uint8),
    "row": np.array([[0, 1, 1, 0, 2, 1]], np.uint8),
    "empty": np.zeros((6, 9), np.uint8),
}


def segmented(mask: np.ndarray, name: str = "a.jpg", probabilities: np.ndarray | None = None) -> Segmented:
    return Segmented(name, np.zeros((*mask.shape, 3), np.uint8), mask, probabilities)
