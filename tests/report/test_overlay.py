"""Overlays and error pictures, pixel by pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from distillfss.io.masks import PALETTE
from distillfss.report.overlay import (
    FALSE_ALARM,
    MISSED,
    WRONG_CLASS,
    contours,
    display_size,
    encode_jpeg,
    error_picture,
    for_display,
    mask_for_display,
    overlay,
)

SQUARE = np.zeros((7, 7), np.uint8)
SQUARE[1:6, 1:6] = 1


def test_contour_is_the_rim_inside_the_class() -> None:
    expected = SQUARE.astype(bool)
    expected[2:5, 2:5] = False
    np.testing.assert_array_equal(contours(SQUARE), expected)
    wide = SQUARE.astype(bool)
    wide[3, 3] = False
    np.testing.assert_array_equal(contours(SQUARE, width=2), wide)


def test_contour_separates_classes_and_leaves_out_ignored_pixels_and_the_image_border() -> None:
    row = np.array([[1, 1, 1, 2, 2, 2, 255, 0]], np.uint8)
    assert contours(row).tolist() == [[False, False, True, True, False, True, False, False]]


def test_overlay_blends_inside_draws_the_rim_and_leaves_the_background() -> None:
    image = np.full((7, 7, 3), 100, np.uint8)
    drawn = overlay(image, SQUARE, fill=0.5)
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert drawn[1, 3].tolist() == PALETTE[1].tolist()
    assert drawn[3, 3].tolist() == np.rint(50 + 0.5 * PALETTE[1].astype(float)).astype(int).tolist()
    assert image.min() == image.max() == 100


def test_overlay_hatches_ignored_pixels() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    drawn = overlay(image, np.full((8, 8), 255, np.uint8))
    assert sorted(np.unique(drawn).tolist()) == [0, 96]


def test_error_picture_has_one_colour_per_kind_of_mistake() -> None:
    image = np.zeros((1, 5, 3), np.uint8)
    truth = np.array([[0, 1, 1, 0, 1]], np.uint8)
    predicted = np.array([[0, 1, 0, 2, 2]], np.uint8)
    drawn = error_picture(image, truth, predicted)[0].astype(int)

    def shade(colour: tuple[int, int, int]) -> list[int]:
        return np.rint(0.8 * np.array(colour)).astype(int).tolist()

    assert drawn[0].tolist() == [0, 0, 0]
    assert len(set(drawn[1])) == 1  # found: grey
    assert drawn[1][0] > 100
    assert drawn[2].tolist() == shade(MISSED)
    assert drawn[3].tolist() == shade(FALSE_ALARM)
    assert drawn[4].tolist() == shade(WRONG_CLASS)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((128, 128), (448, 448)), ((50, 100), (200, 400)), ((2000, 1000), (448, 224)), ((1, 4000), (1, 448))],
)
def test_display_size(shape: tuple[int, int], size: tuple[int, int]) -> None:
    assert display_size(shape) == size
    assert for_display(np.zeros((*shape, 3), np.uint8)).shape == (*size, 3)
    assert mask_for_display(np.zeros(shape, np.uint8)).shape == size


def test_dark_images_are_shown_brighter_and_bright_ones_as_they_are() -> None:
    dark = np.full((448, 448, 3), 40, np.uint8)
    assert for_display(dark).max() == 160  # at most four times
    bright = np.full((448, 448, 3), 200, np.uint8)
    np.testing.assert_array_equal(for_display(bright), bright)


def test_jpeg_can_be_read_back() -> None:
    image = np.full((9, 13, 3), (200, 100, 50), np.uint8)
    with Image.open(io.BytesIO(encode_jpeg(image))) as back:
        assert (back.format, back.size) == ("JPEG", (13, 9))
        assert np.abs(np.asarray(back).astype(int) - image).max() < 8
