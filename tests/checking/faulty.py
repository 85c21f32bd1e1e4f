"""A sound folder of annotated images, and folders with one fault each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 120, 160


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    """Soft blobs unlike those of other seeds, with two bright discs: image (H, W, 3), mask with 1 on the discs."""
    random = np.random.default_rng(seed)
    ground = Image.fromarray(random.integers(20, 150, (6, 8, 3), np.uint8)).resize((width, height), Image.BICUBIC)
    rows, columns = np.indices((height, width))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(2):
        row, column = random.uniform(0.25, 0.75, 2) * (height, width)
        mask[(rows - row) ** 2 + (columns - column) ** 2 < (height * random.uniform(0.15, 0.22)) ** 2] = 1
    image = np.where(mask[..., None] > 0, (235, 215, 120), np.asarray(ground)).astype(np.uint8)
    return image, mask


def save(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    for kind, array in (("images", image), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / kind / f"{name}.png")


def sound(folder: Path, count: int = 6, first: int = 0) -> Path:
    """``count`` pairs of the class disc, nothing wrong with any."""
    for seed in range(first, first + count):
        save(folder, f"p{seed:02d}", *picture(seed))
    (folder / "meta.json").write_text(json.dumps({"classes": ["background", "disc"]}))
    return folder
