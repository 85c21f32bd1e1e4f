"""The embedded sample: one real microscope picture of nuclei with the annotation people made for it, cut into tiles.

Origin and licence stand in ``README.txt`` beside this file. The picture is 512×512 pixels; cut into 4×4 tiles of
128×128 it makes sixteen images that touch but share no pixel. Which tiles are the support set is a fixed rule, written
down before any model had seen them: counted row by row from 0, every third tile starting with tile 1. That gives five
support images and leaves eleven unseen ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from PIL import Image

CLASS_NAMES = ("nucleus",)
GRID = 4
SUPPORT_TILES = tuple(range(1, GRID * GRID, 3))
UNSEEN_TILES = tuple(number for number in range(GRID * GRID) if number not in SUPPORT_TILES)

CREDIT = (
    "Fluorescence microscopy image and mask from the 2018 Data Science Bowl (Caicedo et al., Nature Methods 16(12), "
    "2019), taken from the stardist package (BSD-3-Clause)."
)


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile of the sample.

    Attributes
    ----------
    name
        ``nuclei_rR_cC``, row and column counted from 0.
    image
        uint8 (128, 128, 3), the grey value three times.
    mask
        uint8 (128, 128), 0 = background, 1 = nucleus.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray


def readme() -> str:
    """Origin and licence of the sample."""
    return (files(__name__) / "README.txt").read_text(encoding="utf-8")


def _stored(name: str) -> np.ndarray:
    with (files(__name__) / name).open("rb") as stream, Image.open(stream) as picture:
        return np.array(picture)


def sample_tiles() -> list[Tile]:
    """All sixteen tiles, row by row."""
    grey, mask = _stored("nuclei.png"), _stored("nuclei_mask.png").astype(np.uint8)
    side = grey.shape[0] // GRID
    tiles = []
    for number in range(GRID * GRID):
        row, column = divmod(number, GRID)
        window = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
        image = np.repeat(grey[window][:, :, None], 3, axis=2)
        tiles.append(Tile(f"nuclei_r{row}_c{column}", image, mask[window].copy()))
    return tiles


def support_tiles() -> list[Tile]:
    """The five tiles a model may learn from."""
    tiles = sample_tiles()
    return [tiles[number] for number in SUPPORT_TILES]


def unseen_tiles() -> list[Tile]:
    """The eleven tiles a model is judged on."""
    tiles = sample_tiles()
    return [tiles[number] for number in UNSEEN_TILES]
