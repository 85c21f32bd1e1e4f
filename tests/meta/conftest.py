"""Two tiny source folders that share a class name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import write_pair

COLOURS = {"a": (200, 40, 40), "b": (40, 200, 40), "c": (60, 60, 220), "d": (220, 210, 40)}
FOLDERS = {"one": ("a", "b", "c"), "two": ("b", "d")}


def squares(names: tuple[str, ...], number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One square of class ``number % len(names)`` on noise, some of it ignored."""
    random = np.random.default_rng([seed, number])
    mask = np.zeros((80, 100), np.uint8)
    value = number % len(names) + 1
    top, left = random.integers(5, 40, 2)
    mask[top : top + 30, left : left + 35] = value
    image = np.full((80, 100, 3), (90, 120, 90)) + random.normal(0, 8, (80, 100, 3))
    image[mask > 0] = COLOURS[names[value - 1]]
    mask[top, left : left + 35] = 255
    return image.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("sources")
    for place, (folder, names) in enumerate(FOLDERS.items()):
        for number in range(9):
            write_pair(root / folder, f"{number}", *squares(names, number, place))
        about = {"classes": ["background", *names], "ignore_index": 255}
        (root / folder / "meta.json").write_text(json.dumps(about))
    return [root / folder for folder in FOLDERS]
