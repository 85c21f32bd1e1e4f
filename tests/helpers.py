"""What several tests use: a segmenter that needs no network, small labelled images, the CLI as a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distillfss.metrics import resize_mask

REPOSITORY = Path(__file__).resolve().parent.parent


class BrightnessSegmenter:
    """Class i where the red channel is at least ``limits[i]``; the interface of ``Segmenter`` without a network."""

    def __init__(self, class_names: Sequence[str] = ("bright",), limits: Sequence[int] = (128,)) -> None:
        self.class_names = tuple(class_names)
        self.limits = limits
        self.calls = 0

    def mask(self, pixels: np.ndarray) -> np.ndarray:
        found = np.zeros(pixels.shape[:2], np.uint8)
        for value, limit in enumerate(self.limits, start=1):
            found[pixels[:, :, 0] >= limit] = value
        return found

    def predict(self, pixels: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        self.calls += 1
        return [resize_mask(self.mask(pixels), size) for size in sizes]

    def __call__(self, image: np.ndarray, probabilities: bool = False) -> Any:
        mask = self.predict(image, [image.shape[:2]])[0]
        if not probabilities:
            return mask
        return mask, np.stack([mask == value for value in range(len(self.class_names) + 1)], axis=-1).astype(np.float32)


def disc_pair(seed: int, height: int = 60, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc on a dark ground: image uint8 (H, W, 3), mask uint8 (H, W) with 1 on the disc."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices((height, width))
    centre = random.uniform(0.3, 0.7, 2) * (height, width)
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (0.22 * min(height, width)) ** 2
    noise = random.integers(0, 30, (height, width, 1))
    image = np.where(disc[:, :, None], (220, 120, 60), (40, 60, 90)) + noise
    return np.clip(image, 0, 255).astype(np.uint8), disc.astype(np.uint8)


def write_pair(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    for kind, array in (("images", image), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / kind / f"{name}.png")


def cli_command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "distillfss", *(str(word) for word in words)]


def cli_environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY / "src"),
        "COLUMNS": "80",
        "NO_COLOR": "1",
        "OMP_NUM_THREADS": "1",
    }
