"""CVAT for images: turned boxes, ellipses, and masks as run lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from one_image import circle, only_mask
from scene import HEIGHT, WIDTH, covered, write_images


def test_cvat_boxes_and_ellipses(tmp_path: Path) -> None:
    write_images(tmp_path, ["a"])
    shapes = (
        '<box label="leaf" xtl="10" ytl="10" xbr="40" ybr="30" rotation="30" z_order="1"/>'
        '<ellipse label="leaf" cx="60" cy="40" rx="15" ry="6" rotation="20" z_order="1"/>'
        '<polyline label="leaf" points="1,1;2,2" z_order="3"/>'
    )
    labels = (
        "<meta><task><labels><label><name>stem</name></label><label><name>leaf</name></label></labels></task></meta>"
    )
    image = f'<image id="0" name="sub/a.png" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{labels}{image}</annotations>")
    turned = shapely.affinity.rotate(shapely.box(10, 10, 40, 30), 30, origin="center")
    ellipse = shapely.affinity.rotate(shapely.affinity.scale(circle(60, 40, 1), 15, 6), 20, origin=(60, 40))
    want = (covered(turned) | covered(ellipse)).astype(np.uint8) * 2
    np.testing.assert_array_equal(only_mask(tmp_path), want)


def test_the_example_of_cvats_own_documentation_is_one_piece(tmp_path: Path) -> None:
    """Run lengths go row by row, background first: only then is every row and column of this shape unbroken."""
    write_images(tmp_path, ["a"])
    rle = "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3"
    mask = f'<mask label="car" rle="{rle}" left="20" top="30" width="13" height="15"/>'
    image = f'<image name="a.png" width="{WIDTH}" height="{HEIGHT}">{mask}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations><meta/>{image}</annotations>")
    drawn = only_mask(tmp_path)
    assert drawn.sum() == 5 + 7 + 9 + 11 + 11 + 12 + 12 + 26 + 12 + 12 + 11 + 9 + 7 + 5
    disc = drawn[30:45, 20:33]
    assert disc.sum() == drawn.sum()
    for line in [*disc, *disc.T]:
        assert (np.diff(np.concatenate([[0], line, [0]]).astype(int)) == 1).sum() == 1
