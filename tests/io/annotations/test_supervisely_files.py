"""Supervisely: data sets within others, classes that stand above, and what is no bitmap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from one_image import TRIANGLE, only_mask
from scene import HEIGHT, WIDTH, covered, write_images

from distillfss.errors import DataError
from distillfss.io.annotations import read_annotations


def supervisely_object(label: str, kind: str, **shape: Any) -> dict[str, Any]:
    return {"classTitle": label, "geometryType": kind, **shape}


def write_supervisely(folder: Path, image: str, *objects: dict[str, Any]) -> None:
    write_images(folder / "img", [image])
    (folder / "ann").mkdir(exist_ok=True)
    content = {"size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}
    (folder / "ann" / f"{image}.png.json").write_text(json.dumps(content))


def test_data_sets_of_supervisely_within_others(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"classes": [{"title": "leaf"}]}))
    drawn = supervisely_object("leaf", "polygon", points={"exterior": TRIANGLE, "interior": []})
    write_supervisely(tmp_path / "one", "a", drawn)
    write_supervisely(tmp_path / "one" / "datasets" / "two", "b", drawn)
    write_supervisely(tmp_path / "one" / "datasets" / "two" / "datasets" / "three", "a")
    write_images(tmp_path / "one" / "datasets" / "two" / "img", ["c"])
    found = read_annotations(tmp_path)
    assert [pair.name for pair in found.pairs] == ["b", "one_datasets_two_datasets_three_img_a.png", "one_img_a.png"]
    want = covered(shapely.Polygon(TRIANGLE))
    for pair, mask in zip(found.pairs, (want, want & False, want), strict=True):
        np.testing.assert_array_equal(pair.drawn().mask, mask)
    assert [path.name for path in found.unlabelled] == ["c.png"]


@pytest.mark.parametrize("inside", [".", "one", "one/img/..", "one/datasets", "one/datasets/two/datasets/three"])
def test_a_part_of_a_supervisely_project_finds_its_classes_above(inside: str, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"classes": [{"title": "stem"}, {"title": "leaf"}]}))
    drawn = supervisely_object("leaf", "polygon", points={"exterior": TRIANGLE, "interior": []})
    write_supervisely(tmp_path / "one", "a", drawn)
    write_supervisely(tmp_path / "one" / "datasets" / "two", "b", drawn)
    write_supervisely(tmp_path / "one" / "datasets" / "two" / "datasets" / "three", "c", drawn)
    found = read_annotations(tmp_path / inside)
    assert found.format == "supervisely"
    assert found.legend.names == ("stem", "leaf")
    names = {"one/datasets": ["b", "c"], "one/datasets/two/datasets/three": ["c"]}
    assert [pair.name for pair in found.pairs] == names.get(inside, ["a", "b", "c"])
    want = 2 * covered(shapely.Polygon(TRIANGLE)).astype(np.uint8)
    for pair in found.pairs:
        np.testing.assert_array_equal(pair.drawn().mask, want)


def test_a_supervisely_data_set_without_its_project(tmp_path: Path) -> None:
    write_supervisely(tmp_path / "x" / "one", "a")
    with pytest.raises(
        DataError, match=r"without the meta\.json of its project.*into this folder or the one above"
    ) as caught:
        read_annotations(tmp_path / "x" / "one")
    assert caught.value.path == tmp_path / "x" / "one"


def test_alpha_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"classes": [{"title": "leaf"}]}))
    write_supervisely(tmp_path / "one", "a", supervisely_object("leaf", "alpha_mask", bitmap={"origin": [0, 0]}))
    with pytest.raises(DataError, match=r"an object of leaf is an alpha mask.*Convert it to a bitmap") as caught:
        only_mask(tmp_path)
    assert caught.value.path == tmp_path / "one" / "ann" / "a.png.json"
