"""Run lengths and bitmaps, against pycocotools and bytes that Label Studio's own library wrote."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from scene import brush, runs

from distillfss.errors import DataError
from distillfss.io.annotations.runs import check_size, coco_counts, fill_runs, label_studio_alpha, png_bitmap

BY_LABEL_STUDIO = [
    *(0, 0, 0, 252, 57, 27, 254, 43, 0, 194, 255, 246, 192, 39, 255, 156, 2, 127, 251, 96, 19, 255, 206, 1, 63, 253),
    *(176, 12, 47, 255, 137, 192, 35, 255, 195, 224, 0),
]
"""A 9x7 mask as label_studio_sdk 2.1.2 packs it."""


def small() -> np.ndarray:
    mask = np.zeros((7, 9), bool)
    mask[1:5, 2:8] = True
    mask[2:4, 4:6] = False
    mask[6, 0] = True
    return mask


@pytest.mark.parametrize("seed", range(20))
def test_both_forms_of_coco(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(v) for v in random.integers(1, 90, 2))
    mask = random.random((height, width)) > random.random()
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = coco_counts(packed["counts"].decode())
    assert counts == runs(mask.T.ravel())
    np.testing.assert_array_equal(fill_runs(counts, height, width, by_column=True), coco_mask.decode(packed) == 1)
    np.testing.assert_array_equal(fill_runs(runs(mask.ravel()), height, width, by_column=False), mask)


def test_brush_of_label_studio() -> None:
    np.testing.assert_array_equal(label_studio_alpha(BY_LABEL_STUDIO, 7, 9), small())
    np.testing.assert_array_equal(label_studio_alpha(brush(small()), 7, 9), small())


@pytest.mark.parametrize("cut", range(1, len(BY_LABEL_STUDIO), 3))
def test_brush_that_breaks_off(cut: int) -> None:
    with pytest.raises(DataError, match=r"break off|brush strokes over"):
        label_studio_alpha(BY_LABEL_STUDIO[:cut], 7, 9)


@pytest.mark.parametrize("packed", [None, [], "abc", [1, "x"], [300] * 40, [-1] * 40, [[1, 2], [3, 4]], [1.5] * 40])
def test_brush_that_is_no_list_of_bytes(packed: object) -> None:
    with pytest.raises(DataError, match="no list of bytes"):
        label_studio_alpha(packed, 7, 9)


def test_brush_of_another_size() -> None:
    with pytest.raises(DataError, match="brush strokes over 63 pixels, not 9x8"):
        label_studio_alpha(BY_LABEL_STUDIO, 8, 9)


@pytest.mark.parametrize("counts", [[], [62], [64], [30, 34], [-1, 64], [70, -7]])
def test_runs_that_do_not_make_the_picture(counts: list[int]) -> None:
    with pytest.raises(DataError, match="run lengths that make"):
        fill_runs(counts, 7, 9, by_column=True)


@pytest.mark.parametrize("counts", [["a"], [1.5, 61.5], None, [None], "63"])
def test_runs_that_are_no_numbers(counts: object) -> None:
    with pytest.raises(DataError, match="no whole numbers"):
        fill_runs(counts, 7, 9, by_column=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["o", "ooooooooooooooooooooooo", "\x01", "é", "0 0"])
def test_compressed_runs_that_make_no_sense(text: str) -> None:
    with pytest.raises(DataError, match="compressed run lengths"):
        coco_counts(text)


@pytest.mark.parametrize("size", [(10**5, 10**5), (0, 5), (5, -1), ("5", 5), (None, 5), (2.5, 5)])
def test_sizes_are_refused_before_anything_is_allocated(size: tuple[object, object]) -> None:
    with pytest.raises(DataError, match=r"megapixels|is no size"):
        check_size(*size)


@pytest.mark.parametrize("mode", ["1", "L", "P with transparency", "RGBA"])
def test_bitmaps_in_base64(mode: str) -> None:
    mask = small()
    if mode == "RGBA":
        picture = Image.fromarray(np.dstack([np.full((7, 9, 3), 9, np.uint8), mask.astype(np.uint8) * 255]))
    else:
        picture = Image.fromarray(mask.astype(np.uint8) * (1 if mode[0] == "P" else 255))
        picture = picture.convert("1") if mode == "1" else picture
        if mode[0] == "P":
            picture.putpalette([9, 9, 9, 8, 8, 8])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **({"transparency": 0} if mode[0] == "P" else {}))
    text = base64.b64encode(buffer.getvalue()).decode()
    np.testing.assert_array_equal(png_bitmap(text), mask)
    packed = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    np.testing.assert_array_equal(png_bitmap(packed), mask)


@pytest.mark.parametrize("text", ["", "!!!", None, 5, base64.b64encode(b"GIF89a").decode()])
def test_bitmaps_that_are_none(text: object) -> None:
    with pytest.raises(DataError):
        png_bitmap(text)


def test_the_example_of_supervisely() -> None:
    """A ring of 3x3 pixels from the documentation of its library."""
    text = (
        "eJzrDPBz5+WS4mJgYOD19HAJAtLMIMwIInOeqf8BUmwBPiGuQPr///9Lb86/C2QxlgT5BTM4PLuRBuTwebo4hlTMSa44sKHhISMDuxpTYrr0"
        "3F6gDIOnq5/LOqeEJgDM5ht6"
    )
    np.testing.assert_array_equal(png_bitmap(text), [[1, 1, 1], [1, 0, 1], [1, 1, 1]])


def test_a_bitmap_that_unpacks_to_gigabytes_is_stopped() -> None:
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(65)) + packer.flush()
    with pytest.raises(DataError, match="64 MB"):
        png_bitmap(base64.b64encode(bomb).decode())
