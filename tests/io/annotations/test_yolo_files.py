"""YOLO: layouts of folders, text files without an image, and what is no fraction."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from one_image import TRIANGLE, only_mask
from scene import HEIGHT, WIDTH, WRITERS, covered, expected, scene, write_images

from distillfss.errors import DataError
from distillfss.io.annotations import read_annotations
from distillfss.support import LabelledFolder


def test_yolo_layouts(tmp_path: Path) -> None:
    made = scene(**WRITERS["yolo"][1])
    WRITERS["yolo"][0](tmp_path / "ultra", made)
    (tmp_path / "robo").mkdir()
    shutil.copy(tmp_path / "ultra" / "data.yaml", tmp_path / "robo" / "data.yaml")
    for kind in ("images", "labels"):
        shutil.copytree(tmp_path / "ultra" / kind / "train", tmp_path / "robo" / "train" / kind)
    for folder in (tmp_path / "ultra", tmp_path / "ultra" / "images" / "train", tmp_path / "robo" / "train"):
        data = LabelledFolder.open(folder)
        assert data.class_names == ("leaf", "stem")
        for index, name in enumerate(data.names):
            np.testing.assert_array_equal(data[index].mask, expected(made.drawings[name]))
    for kind in ("images", "labels"):
        shutil.copytree(tmp_path / "robo" / "train" / kind, tmp_path / "robo" / "valid" / kind)
        shutil.copytree(tmp_path / "ultra" / kind / "train", tmp_path / "ultra" / kind / "val")
    for folder in ("robo", "ultra"):
        with pytest.raises(DataError, match=r"holds several parts.*Give one of them"):
            LabelledFolder.open(tmp_path / folder)


def test_an_empty_file_of_yolo_says_that_nothing_is_there(tmp_path: Path) -> None:
    WRITERS["yolo"][0](tmp_path, scene(**WRITERS["yolo"][1]))
    (tmp_path / "labels" / "train" / "b.txt").write_text("")
    data = LabelledFolder.open(tmp_path)
    assert not data[1].mask.any()
    (tmp_path / "labels" / "train" / "b.txt").write_text("7 0 0 1 0 1 1\n")
    with pytest.raises(DataError, match="line 1 has the class 7, 2 are named"):
        data[1]


def write_yolo(folder: Path, images: list[str], texts: dict[str, str]) -> None:
    for image in images:
        write_images(folder / "images" / Path(image).parent, [Path(image).name])
    (folder / "data.yaml").write_text("names: [leaf]\n")
    for name, text in texts.items():
        (folder / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "labels" / name).write_text(text)


OBJECT = "0 " + " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in TRIANGLE) + "\n"


def test_text_files_of_yolo_without_an_image(tmp_path: Path) -> None:
    texts = {
        "a.txt": OBJECT,
        "c.txt": OBJECT,
        "p/d.txt": OBJECT,
        "classes.txt": "leaf\n",
        "e.txt": "",
        "f.txt": "1 2\n",
    }
    write_yolo(tmp_path, ["a", "b"], texts)
    found = read_annotations(tmp_path)
    assert [pair.name for pair in found.pairs] == ["a"]
    assert [(fault.path, fault.problem) for fault in found.faults] == [
        (tmp_path / "labels" / "c.txt", "its image c is not in the folder"),
        (tmp_path / "labels" / "p" / "d.txt", "its image p/d is not in the folder"),
    ]
    assert [path.name for path in found.unlabelled] == ["b.png"]


@pytest.mark.parametrize(("image", "text"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_of_yolo_that_are_spelt_differently(image: Any, text: Any, tmp_path: Path) -> None:
    name = unicodedata.normalize(text, "é")
    write_yolo(tmp_path, ["b", unicodedata.normalize(image, "ü/é")], {f"ü/{name}.txt": OBJECT})
    np.testing.assert_array_equal(only_mask(tmp_path), covered(shapely.Polygon(TRIANGLE)))


def test_yolo_in_pixels_instead_of_fractions(tmp_path: Path) -> None:
    pixels = "0 " + " ".join(f"{x} {y}" for x, y in TRIANGLE) + "\n"
    write_yolo(tmp_path, ["a"], {"a.txt": pixels})
    with pytest.raises(DataError, match=r"all its objects lie outside the image.*are fractions of the image") as caught:
        only_mask(tmp_path)
    assert caught.value.path == tmp_path / "labels" / "a.txt"
    write_yolo(tmp_path, ["a"], {"a.txt": "0 1.1 0.1 1.5 0.1 1.5 0.5\n" + OBJECT})  # one of two is: nothing special
    np.testing.assert_array_equal(only_mask(tmp_path), covered(shapely.Polygon(TRIANGLE)))
