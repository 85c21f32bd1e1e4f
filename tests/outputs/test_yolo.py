"""YOLO labels, read back as their readers do: times width and height, filled by scikit-image."""

from __future__ import annotations

import numpy as np
import yaml
from hard_masks import segmented
from skimage.draw import polygon2mask
from skimage.measure import label

from distillfss.outputs import OutputSettings
from distillfss.outputs.yolo import Yolo


def test_filled_again_it_is_the_mask(mask: np.ndarray, settings: OutputSettings) -> None:
    height, width = mask.shape
    drawn = np.zeros_like(mask)
    lines = Yolo(settings).encode(segmented(mask)).decode().splitlines()
    for line in lines:
        index, *numbers = line.split()
        corners = np.array(numbers, float).reshape(-1, 2)
        assert ((corners >= 0) & (corners <= 1)).all()
        exact = corners * (width, height)
        np.testing.assert_allclose(exact, exact.round(), atol=1e-5)
        # scikit-image has pixel centres at whole numbers, so the outline lies half a pixel beside them
        region = polygon2mask(mask.shape, exact.round()[:, ::-1] - 0.5)
        assert not drawn[region].any()
        drawn[region] = int(index) + 1
    np.testing.assert_array_equal(drawn, mask)
    assert len(lines) == sum(int(label(mask == value, connectivity=1).max()) for value in (1, 2))


def test_corners_come_back_as_whole_numbers_in_large_images(settings: OutputSettings) -> None:
    mask = np.zeros((3, 19997), np.uint8)
    mask[1, 6661] = 1
    (line,) = Yolo(settings).encode(segmented(mask)).decode().splitlines()
    corners = np.array(line.split()[1:], float).reshape(-1, 2) * (19997, 3)
    np.testing.assert_allclose(corners, [[6661, 1], [6661, 2], [6662, 2], [6662, 1]], atol=2e-4)


def test_names_are_yaml_whatever_they_are(settings: OutputSettings) -> None:
    (name, data), *_ = Yolo(OutputSettings(["a: b", "#no", "é\"'", "yes"])).collect({}).items()
    assert name == "yolo/data.yaml"
    document = yaml.safe_load(data)
    assert document["names"] == {0: "a: b", 1: "#no", 2: "é\"'", 3: "yes"}
    assert document == {"train": "images", "val": "images", "names": document["names"]}  # no path: beside the file
