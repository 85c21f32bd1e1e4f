"""Outlines that run along pixel edges: filled again, by whatever rule, they are the mask."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from distillfss.outputs.rings import Polygon, polygons


def crossings(ring: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """How often a ray to the left from every pixel's centre meets the line: in all, and up minus down."""
    rows, columns = np.indices(shape) + 0.5
    count, winding = np.zeros(shape, int), np.zeros(shape, int)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if x0 == x1:
            met = (columns > x0) & (rows > min(y0, y1)) & (rows < max(y0, y1))
            count += met
            winding += np.where(met, np.sign(y1 - y0), 0)
    return count, winding


def test_filled_again_by_either_rule_it_is_the_mask(mask: np.ndarray) -> None:
    even_odd, nonzero = np.zeros_like(mask), np.zeros_like(mask)
    for polygon in polygons(mask):
        count, winding = crossings(polygon.ring, mask.shape)
        assert not even_odd[count % 2 == 1].any(), "two components overlap"
        even_odd[count % 2 == 1] = polygon.value
        nonzero[winding != 0] = polygon.value
    np.testing.assert_array_equal(even_odd, mask)
    np.testing.assert_array_equal(nonzero, mask)


def test_one_polygon_per_component_in_a_fixed_order(mask: np.ndarray) -> None:
    found = polygons(mask)
    components = sum(int(label(mask == value, connectivity=1).max()) for value in (1, 2))
    assert len(found) == components
    keys = [(polygon.value, *min((y, x) for x, y in polygon.ring.tolist())) for polygon in found]
    assert keys == sorted(keys)


def test_every_side_is_parallel_to_an_axis_and_stays_inside(mask: np.ndarray) -> None:
    for polygon in polygons(mask):
        step = np.roll(polygon.ring, -1, axis=0) - polygon.ring
        assert ((step == 0).any(axis=1)).all()
        assert (polygon.ring >= 0).all()
        assert (polygon.ring <= mask.shape[::-1]).all()


def test_a_cut_never_leaves_the_component() -> None:
    """A cut lies between two pixels of the component, so programs that draw lines draw none outside of it."""
    mask = np.ones((9, 12), np.uint8)
    mask[2, 3] = mask[6, 3] = mask[4, 8] = mask[2, 7] = 0
    (polygon,) = polygons(mask)
    sides = [(tuple(a), tuple(b)) for a, b in zip(polygon.ring, np.roll(polygon.ring, -1, axis=0), strict=True)]
    cuts = [(a, b) for a, b in sides if (b, a) in sides]
    assert len(cuts) == 2 * 4
    for (x0, y0), (x1, y1) in cuts:
        assert y0 == y1
        assert mask[y0 - 1 : y0 + 1, min(x0, x1) : max(x0, x1)].all()


def test_corners_that_touch_do_not_join() -> None:
    found = polygons(np.array([[1, 0], [0, 1]], np.uint8))
    assert [polygon.flat() for polygon in found] == [[0, 0, 0, 1, 1, 1, 1, 0], [1, 1, 1, 2, 2, 2, 2, 1]]
    assert all(isinstance(polygon, Polygon) and polygon.value == 1 for polygon in found)


@pytest.mark.parametrize("seed", range(20))
def test_noise_of_any_density(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = (random.random(random.integers(1, 24, 2)) < random.random()).astype(np.uint8)
    filled = np.zeros_like(mask)
    for polygon in polygons(mask):
        filled += crossings(polygon.ring, mask.shape)[0] % 2 == 1
    np.testing.assert_array_equal(filled, mask)
