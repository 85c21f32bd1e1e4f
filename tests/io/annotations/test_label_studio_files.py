"""Label Studio: rectangles, ellipses, bitmasks, and labels that are kept apart from their shapes."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from one_image import TRIANGLE, circle, only_mask
from PIL import Image
from scene import HEIGHT, WIDTH, brush, brushed, covered, write_images

from distillfss.errors import DataError
from distillfss.support import LabelledFolder, SupportSet


def test_label_studio_rectangles_and_ellipses(tmp_path: Path) -> None:
    write_images(tmp_path, ["a"])
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    box = {"x": 20, "y": 30, "width": 40, "height": 25, "rotation": 15, "rectanglelabels": ["leaf"]}
    ring = {"x": 70, "y": 60, "radiusX": 12, "radiusY": 20, "rotation": 0, "ellipselabels": ["stem"]}
    results = [
        {"type": "rectanglelabels", "value": box, **size},
        {"type": "ellipselabels", "value": ring, **size},
        {"type": "choices", "value": {"choices": ["good"]}},
    ]
    tasks = [{"data": {"image": "s3://bucket/a.png"}, "annotations": [{"result": results}]}]
    tasks.append({"data": {"image": "b.png"}, "annotations": [{"result": [], "was_cancelled": True}]})
    (tmp_path / "x.json").write_text(json.dumps(tasks))
    x, y = 0.2 * WIDTH, 0.3 * HEIGHT
    turned = shapely.affinity.rotate(shapely.box(x, y, x + 0.4 * WIDTH, y + 0.25 * HEIGHT), 15, origin=(x, y))
    centre = 0.7 * WIDTH, 0.6 * HEIGHT
    ellipse = shapely.affinity.scale(circle(*centre, 1), 0.12 * WIDTH, 0.2 * HEIGHT)
    want = covered(turned).astype(np.uint8)
    want[covered(ellipse)] = 2
    np.testing.assert_array_equal(only_mask(tmp_path), want)
    results[0]["image_rotation"] = 90
    (tmp_path / "x.json").write_text(json.dumps(tasks))
    with pytest.raises(DataError, match="turned in Label Studio"):
        only_mask(tmp_path)


def label_studio(folder: Path, *results: dict[str, Any]) -> Path:
    """A task about ``a.png`` with these results."""
    if not folder.exists():
        write_images(folder, ["a"])
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    result = [size | each for each in results]
    tasks = [{"data": {"image": "/data/upload/1/1a2b3c4d-a.png"}, "annotations": [{"result": result}]}]
    (folder / "x.json").write_text(json.dumps(tasks))
    return folder


POINTS = {"points": [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in TRIANGLE], "closed": True}


def test_label_studio_shapes_whose_labels_are_kept_apart(tmp_path: Path) -> None:
    """As ``<Labels>`` with ``<Polygon>`` and the like export them: the shape, and once more with its label."""
    stroke = np.zeros((HEIGHT, WIDTH), bool)
    stroke[3:9, 60:80] = True
    shapes: dict[str, dict[str, Any]] = {
        "polygon": POINTS,
        "brush": {"format": "rle", "rle": brush(stroke)},
        "rectangle": {"x": 50, "y": 50, "width": 20, "height": 30, "rotation": 0},
        "ellipse": {"x": 20, "y": 80, "radiusX": 12, "radiusY": 10, "rotation": 0},
        "keypoint": {"x": 5, "y": 5, "width": 1},
    }
    results: list[dict[str, Any]] = [
        {"type": "choices", "id": "polygon", "value": POINTS | {"choices": ["sharp"]}},
        {"type": "labels", "id": "text", "value": {"start": 0, "end": 3, "text": "abc", "labels": ["noun"]}},
        {"type": "relation", "from_id": "polygon", "to_id": "brush", "direction": "right"},
    ]
    for number, (kind, value) in enumerate(shapes.items()):
        results.append({"type": kind, "id": kind, "value": value})
        labels = ["stem" if number else "leaf"]
        results.append({"type": "labels", "id": kind, "value": value | {"labels": labels}})
    want = covered(shapely.Polygon(TRIANGLE)).astype(np.uint8)
    want[stroke] = 2
    want[covered(shapely.box(0.5 * WIDTH, 0.5 * HEIGHT, 0.7 * WIDTH, 0.8 * HEIGHT))] = 2
    oval = shapely.affinity.scale(circle(0.2 * WIDTH, 0.8 * HEIGHT, 1), 0.12 * WIDTH, 0.1 * HEIGHT)
    want[covered(oval)] = 2
    folder = label_studio(tmp_path / "d", *results)
    np.testing.assert_array_equal(only_mask(folder), want)
    assert LabelledFolder.open(folder).class_names == ("leaf", "stem")


@pytest.mark.parametrize("kind", ["bitmasklabels", "labels"])
def test_label_studio_bitmasks(kind: str, tmp_path: Path) -> None:
    def region(mask: np.ndarray) -> dict[str, Any]:
        black = np.zeros((*mask.shape, 4), np.uint8)
        black[..., 3] = mask * 255
        buffer = io.BytesIO()
        Image.fromarray(black).save(buffer, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        return {"type": kind, "id": "r", "value": {"imageDataURL": url, kind: ["leaf"]}}

    mask = brushed(3)
    np.testing.assert_array_equal(only_mask(label_studio(tmp_path / "d", region(mask))), mask)
    with pytest.raises(DataError, match="a bitmask of 82x60 pixels, not 83x60"):
        only_mask(label_studio(tmp_path / "d", region(mask[:, 1:])))


def test_label_studio_objects_that_cannot_be_had_are_faults(tmp_path: Path) -> None:
    sound = {"type": "polygonlabels", "id": "p", "value": POINTS | {"polygonlabels": ["leaf"]}}
    twice = {"type": "polygonlabels", "id": "q", "value": POINTS | {"polygonlabels": ["leaf", "stem"]}}
    for result, count in (
        ({"type": "polygon", "id": "q", "value": POINTS}, 0),
        ({"type": "magicwand", "id": "q", "value": {"rle": []}}, 0),
        ({"type": "polygon", "value": POINTS}, 0),
        (twice, 2),
    ):
        with pytest.raises(DataError, match=f"x.json: a.png has an object with {count} labels. Give every object one"):
            SupportSet.from_folder(label_studio(tmp_path / "d", sound, result), ["leaf"])
    vector: dict[str, Any] = {
        "type": "vectorlabels",
        "value": {"vertices": [], "closed": True, "vectorlabels": ["leaf"]},
    }
    with pytest.raises(DataError, match=r"an outline drawn as a vector, which is not read \(a.png\)\. Draw it as"):
        only_mask(label_studio(tmp_path / "d", sound, vector))
    vector["value"]["closed"] = False  # a line
    np.testing.assert_array_equal(
        only_mask(label_studio(tmp_path / "d", sound, vector)), covered(shapely.Polygon(TRIANGLE))
    )
