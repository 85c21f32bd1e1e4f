"""COCO files, read back by pycocotools."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hard_masks import MASKS, NAMES, segmented
from pycocotools.coco import COCO
from skimage.measure import label

from distillfss.outputs import OutputSettings
from distillfss.outputs.coco import Coco

COMBINATIONS = list(itertools.product(("polygon", "rle"), ("component", "class")))


def loaded(tmp_path: Path, segmentation: str, instances: str) -> tuple[COCO, dict[str, Any]]:
    output = Coco(OutputSettings(NAMES, segmentation, instances))
    records = {f"{name}.jpg": output.record(segmented(mask)) for name, mask in MASKS.items()}
    (data,) = output.collect(json.loads(json.dumps(records))).values()
    (tmp_path / "coco.json").write_bytes(data)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(tmp_path / "coco.json"), json.loads(data)


@pytest.mark.parametrize(("segmentation", "instances"), COMBINATIONS)
def test_pycocotools_gives_exactly_the_masks(tmp_path: Path, segmentation: str, instances: str) -> None:
    coco, document = loaded(tmp_path, segmentation, instances)
    assert [image["file_name"] for image in document["images"]] == sorted(f"{name}.jpg" for name in MASKS)
    assert document["categories"] == [{"id": 1, "name": NAMES[0]}, {"id": 2, "name": NAMES[1]}]
    assert [annotation["id"] for annotation in document["annotations"]] == list(
        range(1, len(document["annotations"]) + 1)
    )
    for image in document["images"]:
        mask = MASKS[image["file_name"].removesuffix(".jpg")]
        assert (image["height"], image["width"]) == mask.shape
        drawn = np.zeros_like(mask)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        for annotation in annotations:
            assert isinstance(annotation["segmentation"], list if segmentation == "polygon" else dict)
            region = coco.annToMask(annotation).astype(bool)
            assert not drawn[region].any()
            drawn[region] = annotation["category_id"]
            rows, columns = np.nonzero(region)
            x, y = columns.min(), rows.min()
            assert annotation["bbox"] == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
            assert (annotation["area"], annotation["iscrowd"]) == (region.sum(), 0)
        np.testing.assert_array_equal(drawn, mask)
        values = [value for value in (1, 2) if (mask == value).any()]
        components = sum(int(label(mask == value, connectivity=1).max()) for value in values)
        assert len(annotations) == (components if instances == "component" else len(values))


def test_settings_do_not_share_records() -> None:
    assert len({Coco(OutputSettings(NAMES, *both)).record_key for both in COMBINATIONS}) == 4
