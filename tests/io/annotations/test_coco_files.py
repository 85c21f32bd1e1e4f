"""COCO JSON: categories, images of one name, ids however they are written, and whom a fault names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scene import HEIGHT, WIDTH, WRITERS, expected, scene

from distillfss.errors import DataError
from distillfss.support import LabelledFolder, SupportSet


def test_roboflows_category_above_all_others_is_no_class(tmp_path: Path) -> None:
    WRITERS["coco"][0](tmp_path, scene(**WRITERS["coco"][1]))
    path = tmp_path / "instances.json"
    content = json.loads(path.read_text())
    for each in content["categories"]:
        each["supercategory"] = "plants-x1"
    content["categories"].append({"id": 0, "name": "plants-x1", "supercategory": "none"})
    content["images"].append({"id": 9, "file_name": "c.png", "height": HEIGHT, "width": WIDTH})
    path.write_text(json.dumps(content))
    shutil.copy(tmp_path / "images" / "a.png", tmp_path / "images" / "c.png")
    data = LabelledFolder.open(tmp_path)
    assert data.class_names == ("leaf", "stem")
    assert not data[2].mask.any()  # listed without annotations: nothing is there


def test_images_of_one_name_in_two_folders(tmp_path: Path) -> None:
    made = scene(**WRITERS["coco"][1])
    WRITERS["coco"][0](tmp_path, made)
    for part in ("one", "two"):
        (tmp_path / "images" / part).mkdir()
    (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "one" / "x.png")
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "two" / "x.png")
    path = tmp_path / "instances.json"
    text = path.read_text()
    path.write_text(text.replace('"a.png"', '"one/x.png"').replace('"b.png"', '"/mnt/data/two/x.png"'))
    data = LabelledFolder.open(tmp_path)
    assert data.names == ("images_one_x.png", "images_two_x.png")
    for index, name in enumerate(("a", "b")):
        np.testing.assert_array_equal(data[index].mask, expected(made.drawings[name]))
    path.write_text(text.replace('"a.png"', '"x.png"').replace('"b.png"', '"two/x.png"'))
    with pytest.raises(DataError, match=r"its image x.png could be .*one.x.png or"):
        LabelledFolder.open(tmp_path)


def coco(folder: Path, spoil: Any) -> None:
    """The scene in COCO JSON with its content changed by ``spoil``."""
    WRITERS["coco"][0](folder, scene(**WRITERS["coco"][1]))
    path = folder / "instances.json"
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("written", [str, float], ids=["text", "float"])
def test_ids_are_compared_as_numbers_however_they_are_written(written: Any, tmp_path: Path) -> None:
    def spoil(content: Any) -> None:
        for each in content["annotations"]:
            each["image_id"], each["category_id"] = written(each["image_id"]), written(each["category_id"])

    coco(tmp_path, spoil)
    data = LabelledFolder.open(tmp_path)
    made = scene(**WRITERS["coco"][1])
    for index, name in enumerate(data.names):
        np.testing.assert_array_equal(data[index].mask, expected(made.drawings[name]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content["images"][1].update(id=0), "the images a.png and b.png have the same id 0"),
        (lambda content: content["images"][1].update(id="0"), "the images a.png and b.png have the same id 0"),
        (lambda content: content["categories"][0].update(id=3), "the categories stem and leaf have the same id 3"),
        (
            lambda content: content["annotations"][5].update(image_id=99),
            "the object 11 is of the image 99, which is not listed. List every image",
        ),
    ],
    ids=["images", "images-as-text", "categories", "unlisted"],
)
def test_ids_that_do_not_say_what_belongs_together(spoil: Any, message: str, tmp_path: Path) -> None:
    coco(tmp_path, spoil)
    with pytest.raises(DataError, match=message) as caught:
        LabelledFolder.open(tmp_path)
    assert caught.value.path == tmp_path / "instances.json"


def test_a_category_that_is_its_own_supercategory_is_a_class_even_unused(tmp_path: Path) -> None:
    def spoil(content: Any) -> None:
        content["categories"].append({"id": 9, "name": "person", "supercategory": "person"})

    coco(tmp_path, spoil)
    assert LabelledFolder.open(tmp_path).class_names == ("leaf", "stem", "person")


def test_faults_and_notices_of_one_file_for_many_images_name_the_image(tmp_path: Path) -> None:
    def spoil(content: Any) -> None:
        content["annotations"] = [each for each in content["annotations"] if each["image_id"] == 1]

    coco(tmp_path, spoil)
    path = tmp_path / "instances.json"
    notices = SupportSet.from_folder(tmp_path).notices
    assert f"{path} (a.png): holds no foreground; annotate the image if something is in it" in notices
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"segmentation": [], "bbox": [1, 2, 3, 4]}
    path.write_text(json.dumps(content))
    problem = "the object 10 (leaf) has a bounding box but no outline (b.png)"
    with pytest.raises(DataError) as caught:
        SupportSet.from_folder(tmp_path)
    assert (caught.value.path, caught.value.problem) == (path, problem)
    with pytest.raises(DataError) as caught:
        LabelledFolder.open(tmp_path).raw_mask(1)
    assert caught.value.problem == problem
    path.rename(tmp_path / "b.json")  # as files of single images are called
    with pytest.raises(DataError) as caught:
        SupportSet.from_folder(tmp_path)
    assert caught.value.problem == problem.removesuffix(" (b.png)")
