"""The embedded sample: whole, with its licence, cut without overlap."""

from __future__ import annotations

import numpy as np

from distillfss.sample import SUPPORT_TILES, UNSEEN_TILES, readme, sample_tiles, support_tiles, unseen_tiles


def test_tiles_make_up_the_whole_picture() -> None:
    tiles = sample_tiles()
    assert [tile.name for tile in tiles[:5]] == [f"nuclei_r0_c{c}" for c in range(4)] + ["nuclei_r1_c0"]
    picture = np.block([[tile.image[:, :, 0] for tile in tiles[4 * row : 4 * row + 4]] for row in range(4)])
    mask = np.block([[tile.mask for tile in tiles[4 * row : 4 * row + 4]] for row in range(4)])
    assert picture.shape == mask.shape == (512, 512)
    # As in the stardist package: sum of all grey values, brightest, and the number of annotated pixels.
    assert (int(picture.sum()), int(picture.max()), int(mask.sum())) == (8331268, 235, 52226)
    assert np.unique(mask).tolist() == [0, 1]


def test_split_is_fixed_and_complete() -> None:
    assert SUPPORT_TILES == (1, 4, 7, 10, 13)
    assert sorted(SUPPORT_TILES + UNSEEN_TILES) == list(range(16))
    names = {tile.name for tile in support_tiles()} | {tile.name for tile in unseen_tiles()}
    assert (len(support_tiles()), len(unseen_tiles()), len(names)) == (5, 11, 16)


def test_every_tile_shows_nuclei_and_background() -> None:
    for tile in sample_tiles():
        assert tile.image.shape == (128, 128, 3)
        assert 0.05 < tile.mask.mean() < 0.5


def test_licence_is_there() -> None:
    text = readme()
    assert "BSD 3-Clause License" in text
    assert "Caicedo et al." in text
