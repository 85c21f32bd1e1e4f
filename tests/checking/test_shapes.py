"""Specks and thin parts, against scikit-image's labels and squares laid one by one."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label, regionprops

from distillfss.checking.shapes import (
    SPECK_AT,
    box_sums,
    boxes_of,
    cleaned,
    isolated,
    solid_counts,
    specks,
    thin,
    without_specks,
)


@pytest.mark.parametrize("seed", range(12))
def test_isolated_pixels(seed: int) -> None:
    random = np.random.default_rng(seed)
    where = random.random((40, 31)) < (0.02, 0.06, 0.15)[seed % 3]
    where[10:20, 5:25] |= seed % 2 == 0
    side = 1 + seed % 4
    found = isolated(where, side)
    assert not (found & ~where).any()
    labels = label(where, connectivity=2)
    for region in regionprops(labels):
        top, left, bottom, right = region.bbox
        inside = labels == region.label
        cut = top == 0 or left == 0 or bottom == where.shape[0] or right == where.shape[1]
        if cut or bottom - top > side or right - left > side:
            assert not found[inside].any()
            continue
        near = where[max(0, top - side - 1) : bottom + side + 1, max(0, left - side - 1) : right + side + 1]
        if near.sum() == inside.sum():  # nothing else anywhere near
            assert found[inside].all()


def test_box_sums() -> None:
    where = np.random.default_rng(0).random((9, 13)) < 0.5
    for side in (1, 2, 5, 9, 10):
        want = [[where[r : r + side, c : c + side].sum() for c in range(14 - side)] for r in range(10 - side)]
        np.testing.assert_array_equal(box_sums(where, side), np.array(want, int).reshape(max(0, 10 - side), 14 - side))


@pytest.mark.parametrize("scale", [1, 2])
def test_specks_and_pinholes_are_found_and_taken_away(scale: int) -> None:
    clean = np.zeros((400, 520), np.uint8)
    clean[40:360, 50:300] = 1
    clean[60:220, 310:515] = 2
    dirty = clean.copy()
    dirty[10:12, 20] = 1  # a speck
    clean[0, 0] = dirty[0, 0] = 2  # cut off by the edge: perhaps the rest of an object
    dirty[100, 100:103] = 0  # a pinhole
    dirty[130, 150] = 2  # another class inside
    clean, dirty = (np.kron(mask, np.ones((scale, scale), np.uint8)) for mask in (clean, dirty))
    assert scale == 1 or max(dirty.shape) > SPECK_AT
    found = specks(dirty)
    np.testing.assert_array_equal(found, clean != dirty)
    np.testing.assert_array_equal(without_specks(dirty, found), clean)
    assert not specks(clean).any()


def test_pixels_that_do_not_count_leave_open_what_is_stray() -> None:
    mask = np.zeros((400, 520), np.uint8)
    mask[40:360, 50:300] = 1
    mask[100:110, 100:110] = 255
    mask[104, 104] = 0  # perhaps a pinhole, perhaps not
    mask[20, 20] = 255
    mask[30, 400] = 1
    want = np.zeros(mask.shape, bool)
    want[30, 400] = True
    np.testing.assert_array_equal(specks(mask), want)
    white = np.where(mask == 1, 255, 0).astype(np.uint8)  # in a black-and-white mask 255 is the class
    np.testing.assert_array_equal(specks(white), want)


def test_where_all_is_tiny_nothing_is_stray() -> None:
    mask = np.zeros((200, 200), np.uint8)
    mask[10:190:12, 10:190:12] = 1
    assert not specks(mask).any()


def test_a_speck_beside_another_is_taken_away_as_well() -> None:
    clean = np.zeros((400, 520), np.uint8)
    clean[40:360, 50:300] = 1
    dirty = clean.copy()
    dirty[35:37, 100] = dirty[38, 100] = 1  # the lower one lies between the upper ones and the object
    once = without_specks(dirty, specks(dirty))
    assert np.argwhere(once != clean).tolist() == [[38, 100]]
    np.testing.assert_array_equal(cleaned(dirty), clean)


@pytest.mark.parametrize("seed", range(4))
def test_cleaning_ends_where_pixels_are_strewn_all_over(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = np.zeros((300, 300), np.uint8)
    mask[50:250, 50:250], mask[120:180, 120:280] = 1, 2
    strewn = random.random(mask.shape) < 0.003
    mask[strewn] = random.choice(np.array([0, 1, 2, 255], np.uint8), int(strewn.sum()))
    assert specks(mask).any()
    assert not specks(cleaned(mask)).any()


@pytest.mark.parametrize("seed", range(6))
def test_thin_parts(seed: int) -> None:
    """At working size 128 a mask of 128 x 128 is looked at as it is; squares of 8 x 8 are laid one by one."""
    random = np.random.default_rng(seed)
    mask = np.zeros((128, 128), np.uint8)
    for value in (1, 2, 255):
        for _ in range(4):
            row, column = random.integers(0, 120, 2)
            height, width = random.integers(2, 40, 2)
            mask[row : row + height, column : column + width] = value
    want = {}
    padded = np.pad(mask, 8, mode="edge")
    for value in (1, 2):
        where = padded == value
        kept = np.zeros_like(where)
        for row in range(where.shape[0] - 7):
            for column in range(where.shape[1] - 7):
                if where[row : row + 8, column : column + 8].all():
                    kept[row : row + 8, column : column + 8] = True
        inside = (slice(8, -8), slice(8, -8))
        want[value] = (int((where & ~kept)[inside].sum()), int(where[inside].sum()))
    assert thin(mask, 128) == {value: pair for value, pair in want.items() if pair[1]}


def test_solid_counts() -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 3, 200], np.uint8), (30, 20), p=[0.9, 0.05, 0.05])
    mask[5:15, 5:12] = 200
    padded = np.pad(mask, 1, mode="edge")
    want = np.zeros(256, int)
    for row in range(30):
        for column in range(20):
            want[mask[row, column]] += (padded[row : row + 3, column : column + 3] == mask[row, column]).all()
    np.testing.assert_array_equal(solid_counts(mask), want)


def test_boxes_hold_every_pixel() -> None:
    where = np.zeros((300, 300), bool)
    where[10, 10:13] = where[12, 14] = where[200:203, 250] = True
    assert boxes_of(where) == ((10, 10, 13, 15), (200, 250, 203, 251))
    assert boxes_of(np.zeros((5, 5), bool)) == ()
    assert len(boxes_of(np.random.default_rng(0).random((500, 500)) < 0.01)) == 12
