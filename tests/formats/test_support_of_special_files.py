"""Support sets of maps and slices, and how a model remembers the way they were read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import BrightnessSegmenter, disc_pair
from PIL import Image
from special_files import write_map

from distillfss.errors import DataError
from distillfss.formats.options import FormatOptions
from distillfss.formats.running import as_learnt, predict_files
from distillfss.support import LabelledFolder, SupportSet


def test_support_sets_of_maps_and_slices(folder: Path, tmp_path: Path) -> None:
    support = tmp_path / "support"
    for kind in ("images", "masks"):
        (support / kind).mkdir(parents=True)
    for name in ("map.tif", "slice.dcm"):
        (support / "images" / name).write_bytes((folder / name).read_bytes())
    Image.fromarray(disc_pair(1)[1]).save(support / "masks" / "map.png")
    Image.fromarray(np.eye(128, dtype=np.uint8)).save(support / "masks" / "slice.png")
    read = SupportSet.from_folder(support, classes=["disc"])
    assert [sample.name for sample in read.samples] == ["map", "slice"]
    np.testing.assert_array_equal(read.samples[0].image, disc_pair(1)[0])
    assert read.samples[1].image.shape == (128, 128, 3)
    # sides of squares as large as 60x80 and 128x128
    assert read.typical_side() == round((4800**0.5 + 128) / 2)


def test_bands_and_range_of_a_support_set_are_those_of_the_model(
    folder: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    support = tmp_path / "support"
    for kind in ("images", "masks"):
        (support / kind).mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    write_map(support / "images" / "map.tif", pixels)
    Image.fromarray(disc_pair(1)[1]).save(support / "masks" / "map.png")
    meta = {"classes": ["background", "disc"], "bands": [3, 2, 1], "range": [50, 150]}
    (support / "meta.json").write_text(json.dumps(meta))
    wanted = np.clip((pixels[:, :, ::-1].astype(float) - 50) / 100 * 255, 0, 255)
    for read in (SupportSet.from_folder(support), SupportSet.from_folder(support, classes=["other"])):
        np.testing.assert_allclose(read.samples[0].image, wanted, atol=0.51)
        assert read.subset([0]).reading == {"bands": [3, 2, 1], "range": [50.0, 150.0]}
    np.testing.assert_allclose(LabelledFolder.open(support)[0].image, wanted, atol=0.51)
    segmenter.summary = {"reading": read.reading}  # type: ignore[attr-defined]
    path = support / "images" / "map.tif"
    found = predict_files(segmenter, [path], tmp_path / "out", FormatOptions(), lambda *_: None)
    assert (found[path].details["bands"], found[path].details["range"]) == ([3, 2, 1], [50.0, 150.0])
    asked = FormatOptions(bands=(2,), value_range=(0, 200), overwrite=True)
    found = predict_files(segmenter, [path], tmp_path / "out", asked, lambda *_: None)
    assert (found[path].details["bands"], found[path].details["range"]) == ([2], [0, 200])
    segmenter.summary = {"reading": {"bands": "abc"}}  # type: ignore[attr-defined]
    assert as_learnt(FormatOptions(), segmenter) == FormatOptions()


@pytest.mark.parametrize(
    "meta",
    [{"bands": [1, 2]}, {"bands": "321"}, {"bands": [0]}, {"range": [5, 5]}, {"range": 7}, {"range": ["0", "1"]}],
)
def test_bands_and_ranges_that_make_no_sense(meta: dict[str, object], make_labelled: Callable[..., Path]) -> None:
    folder = make_labelled()
    (folder / "meta.json").write_text(json.dumps({"classes": ["background", "disc"], **meta}))
    with pytest.raises(DataError, match=f"has the {next(iter(meta))} ") as caught:
        SupportSet.from_folder(folder)
    assert caught.value.path == folder / "meta.json"


def test_the_typical_side_is_that_of_the_files_not_of_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, array in zip(("images", "masks"), disc_pair(0, 300, 300), strict=True):
        (tmp_path / kind).mkdir()
        Image.fromarray(array).save(tmp_path / kind / "a.png")
    monkeypatch.setattr("distillfss.support.MAX_KEPT_PIXELS", 100 * 100)
    support = SupportSet.from_folder(tmp_path)
    assert support.samples[0].image.shape == (100, 100, 3)
    assert support.typical_side() == 300
