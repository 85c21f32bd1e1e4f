"""The one rule by which outlines become pixels, against shapely and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from scene import covered, star
from shapely.geometry import Polygon

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Area, Bitmap, Ellipse, Outline, box


def whole(area: Area, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    top, left, pixels = area.window(height, width)
    mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return mask


def even_odd(rings: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Count crossings of a ray to the right from every centre, in float64."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.zeros((height, width), bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
            if y0 != y1:
                crosses = (y0 <= rows) != (y1 <= rows)
                inside ^= crosses & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
    return inside


@pytest.mark.parametrize("seed", range(25))
def test_polygons_with_holes_match_shapely(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(v) for v in random.integers(1, 50, 2))
    outer = star(*random.uniform(-5, 45, 2), random.uniform(2, 40), int(random.integers(3, 30)), seed)
    holes = [star(*random.uniform(0, 40, 2), random.uniform(1, 12), 5, 100 + seed + n) for n in range(3)]
    drawn = Outline.of([np.array(each.exterior.coords) for each in (outer, *holes)])
    want = covered(outer, height, width)
    for hole in holes:  # they overlap each other and the rim
        want &= ~covered(hole, height, width)
    np.testing.assert_array_equal(whole(drawn, height, width), want)


@pytest.mark.parametrize("seed", range(25))
def test_outlines_that_cross_themselves_count_by_even_and_odd(seed: int) -> None:
    random = np.random.default_rng(seed)
    rings = [random.uniform(-5, 45, (int(random.integers(3, 9)), 2)) for _ in range(2)]
    np.testing.assert_array_equal(whole(Outline.of(rings[:1]), 37, 41), even_odd(rings[:1], 37, 41))
    np.testing.assert_array_equal(whole(Outline.of(rings, even_odd=True), 37, 41), even_odd(rings, 37, 41))


def test_neighbours_that_share_an_edge_leave_no_gap_and_no_overlap() -> None:
    """Corners and edges on half pixels, so that centres lie exactly on them."""
    random = np.random.default_rng(3)
    points = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]
    inner = [tuple(point) for point in (random.integers(2, 38, (12, 2)) / 2).tolist()]
    triangles = shapely.delaunay_triangles(shapely.multipoints([*points, *inner]))
    times = sum(whole(Outline.of([np.array(t.exterior.coords)]), 20, 20).astype(int) for t in triangles.geoms)
    np.testing.assert_array_equal(times, np.ones((20, 20)))


def test_a_box_on_pixel_borders_is_these_pixels() -> None:
    mask = whole(box(3, 2, 7, 5), 10, 10)
    want = np.zeros((10, 10), bool)
    want[2:5, 3:7] = True
    np.testing.assert_array_equal(mask, want)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, -45.0, 200.0])
def test_turned_boxes_and_ellipses_match_shapely(angle: float) -> None:
    rectangle = shapely.affinity.rotate(shapely.box(12.3, 8.1, 41.7, 22.9), angle, origin="center")
    np.testing.assert_array_equal(whole(box(12.3, 8.1, 41.7, 22.9, angle), 50, 60), covered(rectangle, 50, 60))
    circle = shapely.Point(0, 0).buffer(1, quad_segs=4000)
    turned = shapely.affinity.rotate(shapely.affinity.scale(circle, 17.2, 6.4), angle, origin=(0, 0))
    ellipse = shapely.affinity.translate(turned, 30.7, 24.2)
    np.testing.assert_array_equal(whole(Ellipse(30.7, 24.2, 17.2, 6.4, angle), 50, 60), covered(ellipse, 50, 60))


@pytest.mark.parametrize(("top", "left"), [(-3, -2), (0, 0), (7, 8), (20, 3), (-9, 0), (3, 40)])
def test_bitmaps_are_cut_to_the_image(top: int, left: int) -> None:
    pixels = np.random.default_rng(0).random((8, 6)) > 0.4
    want = np.zeros((12, 11), bool)
    for row in range(8):
        for column in range(6):
            if 0 <= row + top < 12 and 0 <= column + left < 11:
                want[row + top, column + left] = pixels[row, column]
    np.testing.assert_array_equal(whole(Bitmap(top, left, pixels), 12, 11), want)


def test_what_is_no_area_covers_nothing() -> None:
    assert not whole(Outline.of([]), 5, 5).any()
    assert not whole(Outline.of([[[1, 1], [4, 4]]]), 5, 5).any()
    assert not whole(Outline.of([[[1, 1]], [[0, 0], [5, 0], [5, 5]]]), 5, 5).any()  # a hole in nothing
    assert not whole(Ellipse(2, 2, 0, 3), 5, 5).any()
    assert not whole(box(10, 10, 20, 20), 5, 5).any()
    assert not whole(box(1.6, 1.6, 1.9, 1.9), 5, 5).any()  # between centres


@pytest.mark.parametrize(
    "ring",
    [[[0, 0], [1e9, 0], [1, 1]], [[0, 0], [float("nan"), 0], [1, 1]], [[0, 0], [float("inf"), 0], [1, 1]]],
)
def test_coordinates_beyond_reason_are_refused(ring: list[list[float]]) -> None:
    with pytest.raises(DataError, match="lie in no picture"):
        Outline.of([ring])


@pytest.mark.parametrize("ring", ["abc", [[0], [1], [2]], [[0, 0], [1]], [1, 2, 3], None, [[0, {}], [1, 2], [3, 4]]])
def test_what_is_no_list_of_points_is_refused(ring: object) -> None:
    with pytest.raises(DataError, match="no list of points"):
        Outline.of([ring])


def test_a_huge_outline_over_a_small_image_costs_the_image_only() -> None:
    shape = Polygon([(-9e6, -9e6), (9e6, -9e6), (9e6, 9e6), (-9e6, 9e6)])
    assert whole(Outline.of([np.array(shape.exterior.coords)]), 30, 20).all()


@pytest.mark.parametrize("seed", range(8))
def test_outlines_along_pixel_borders_give_back_the_mask(seed: int) -> None:
    """Any mask, outlined with all its parts and holes, is drawn again as it was."""
    from rasterio.features import shapes

    random = np.random.default_rng(seed)
    mask = random.random((41, 37)) < random.uniform(0.2, 0.8)
    mask[5:30, 8:25] = seed % 2
    drawn = np.zeros(mask.shape, bool)
    for geometry, value in shapes(mask.astype(np.uint8), connectivity=4):
        if value:
            drawn |= whole(Outline.of(geometry["coordinates"]), *mask.shape)
    np.testing.assert_array_equal(drawn, mask)
