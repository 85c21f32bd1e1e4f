"""LabelMe: its shapes, labels that cut holes, and where the image of a file is looked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from one_image import TRIANGLE, circle, only_mask
from scene import HEIGHT, WIDTH, covered, write_images

from distillfss.io.annotations import read_annotations
from distillfss.support import LabelledFolder, SupportSet


def labelme(folder: Path, shapes: list[dict[str, Any]], **more: Any) -> Path:
    write_images(folder, ["a"])
    (folder / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": shapes, **more}))
    return folder


def test_labelme_shapes(tmp_path: Path) -> None:
    shapes = [
        {"label": "leaf", "points": [[50.6, 40.25], [5.25, 3.6]], "shape_type": "rectangle"},
        {"label": "stem", "points": [[60, 30], [63, 34]], "shape_type": "circle"},
        {"label": "stem", "points": [[1, 1]], "shape_type": "point"},
    ]
    labelme(tmp_path, shapes)
    want = np.zeros((HEIGHT, WIDTH), np.uint8)
    want[covered(shapely.box(5.25, 3.6, 50.6, 40.25))] = 1
    want[covered(circle(60, 30, 5))] = 2
    np.testing.assert_array_equal(only_mask(tmp_path), want)
    notices = SupportSet.from_folder(tmp_path).notices
    assert notices == (
        f"{tmp_path}: 1 object (in 1 image) is a rectangle and was filled; if it is a bounding box, outline the object",
        f"{tmp_path}: 1 point, line or the like (in 1 image) has no area and was left out",
    )


def test_labels_that_cut_holes_and_leave_out(tmp_path: Path) -> None:
    inner = [[25.17, 18.23], [40.59, 18.91], [30.37, 30.61]]
    shapes = [
        {"label": "leaf", "points": TRIANGLE},
        {"label": "_background_", "points": inner},
        {"label": "__ignore__", "points": [[0, 50], [20, 50], [20, 60], [0, 60]]},
    ]
    labelme(tmp_path, shapes)
    want = (covered(shapely.Polygon(TRIANGLE)) & ~covered(shapely.Polygon(inner))).astype(np.uint8)
    want[50:60, 0:20] = 255
    np.testing.assert_array_equal(only_mask(tmp_path), want)
    assert SupportSet.from_folder(tmp_path).class_names == ("leaf",)


def test_labelme_without_sizes_and_with_an_image_renamed_together_with_its_file(tmp_path: Path) -> None:
    labelme(tmp_path, [{"label": "leaf", "points": TRIANGLE}], imageHeight=None, imageWidth=None)
    path = tmp_path / "a.json"
    path.write_text(path.read_text().replace("a.png", "IMG_0001.png"))
    np.testing.assert_array_equal(only_mask(tmp_path), covered(shapely.Polygon(TRIANGLE)))


def write_labelme(path: Path, image: str, label: str = "leaf", points: list[list[float]] = TRIANGLE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"imagePath": image, "shapes": [{"label": label, "points": points}]}))


def test_labelmes_image_path_leads_from_the_file(tmp_path: Path) -> None:
    other = [[65.3, 10.1], [80.2, 10.7], [70.9, 40.3]]
    for part, points in (("x", TRIANGLE), ("y", other)):
        write_images(tmp_path / part, ["1"])
        write_labelme(tmp_path / part / "1.json", "1.png", points=points)
    data = LabelledFolder.open(tmp_path)
    assert [data.image_path(index) for index in range(2)] == [tmp_path / "x" / "1.png", tmp_path / "y" / "1.png"]
    for index, points in enumerate((TRIANGLE, other)):
        np.testing.assert_array_equal(data[index].mask, covered(shapely.Polygon(points)))
    for part in "xy":
        (tmp_path / part / "1.json").unlink()
        write_labelme(tmp_path / "ann" / part / "1.json", f"..\\..\\{part}\\1.png")
    assert [pair.image for pair in read_annotations(tmp_path).pairs] == [
        tmp_path / "x" / "1.png",
        tmp_path / "y" / "1.png",
    ]


def test_an_image_of_the_same_name_in_another_folder_is_not_taken(tmp_path: Path) -> None:
    write_images(tmp_path / "x", ["2"])
    write_images(tmp_path / "y", ["1"])
    write_labelme(tmp_path / "x" / "1.json", "1.png")
    write_labelme(tmp_path / "x" / "2.json", "2.png")
    (fault,) = read_annotations(tmp_path).faults
    assert fault.path == tmp_path / "x" / "1.json"
    assert "its image 1.png is not in the folder beside it, where other images are" in fault.problem
    # but where annotation lies in a folder of its own, it is
    (tmp_path / "x" / "2.png").rename(tmp_path / "y" / "2.png")
    assert [pair.image.name for pair in read_annotations(tmp_path).pairs] == ["1.png", "2.png"]


def test_an_image_that_is_nowhere_is_called_as_its_file_calls_it(tmp_path: Path) -> None:
    write_labelme(tmp_path / "a.json", r"..\images\one.bmp")
    (fault,) = read_annotations(tmp_path).faults
    assert fault.problem == "its image ../images/one.bmp is not in the folder"


def test_labelmes_files_as_deep_as_images(tmp_path: Path) -> None:
    write_images(tmp_path / "images", ["a"])
    write_labelme(tmp_path / "json" / "p" / "a.json", "../../images/a.png")
    write_images(tmp_path / "c" / "d" / "e", ["b"])
    write_labelme(tmp_path / "c" / "d" / "e" / "b.json", "b.png")
    data = LabelledFolder.open(tmp_path)
    assert data.names == ("a", "b")
    np.testing.assert_array_equal(data[1].mask, covered(shapely.Polygon(TRIANGLE)))
