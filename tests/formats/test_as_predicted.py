"""``evaluate`` judges the masks that ``predict`` writes; where a map holds no data, annotation does not count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers import BrightnessSegmenter, write_pair
from PIL import Image
from rasterio.transform import from_origin

from distillfss import SupportSet, evaluate
from distillfss.evaluation import masks_of
from distillfss.formats import frames
from distillfss.formats.raster import predict_raster
from distillfss.support import LabelledFolder

UTM = {"crs": "EPSG:32633", "transform": from_origin(500_037, 5_000_011, 1, 1)}
NO_DATA = 7


class AboveItsMean(BrightnessSegmenter):
    """What is brighter than the mean of what it sees: another answer for every tile."""

    summary = {"support_side": 64}  # noqa: RUF012
    size = 64

    def mask(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels[:, :, 0] > pixels[:, :, 0].mean()).astype(np.uint8)


def slope(height: int, width: int) -> np.ndarray:
    """Ever brighter to the right, with noise: (H, W, 3) from 20 on."""
    random = np.random.default_rng(0)
    grey = np.linspace(20, 230, width)[None] + random.uniform(0, 20, (height, width))
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def write_map(folder: Path, name: str, pixels: np.ndarray, mask: np.ndarray) -> Path:
    write_pair(folder, name, pixels, mask)
    (folder / "images" / f"{name}.png").unlink()
    path = folder / "images" / f"{name}.tif"
    height, width = mask.shape
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": height, "width": width, "nodata": NO_DATA}
    with rasterio.open(path, "w", **profile, **UTM) as dataset:
        dataset.write(np.moveaxis(pixels, -1, 0))
    return path


def iou(one: np.ndarray, other: np.ndarray, counted: np.ndarray) -> float:
    return float((one & other & counted).sum() / ((one | other) & counted).sum())


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A map of 150x200 pixels whose left 30 columns hold no data, though something is drawn there."""
    pixels, truth = slope(150, 200), np.zeros((150, 200), np.uint8)
    pixels[:, :30] = NO_DATA
    truth[20:110, 10:140] = 1
    write_map(tmp_path / "maps", "a", pixels, truth)
    return tmp_path / "maps"


def test_a_map_is_judged_by_the_mask_that_is_written(maps: Path, tmp_path: Path) -> None:
    model = AboveItsMean(["bright"])
    predict_raster(model, maps / "images" / "a.tif", tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "a.tif") as dataset:
        written = dataset.read(1)
    truth = np.asarray(Image.open(maps / "masks" / "a.png"))
    valid = np.arange(200)[None] >= 30
    assert (written == 255).sum() == 150 * 30
    wanted = iou(written == 1, truth == 1, valid)
    found = evaluate(model, maps)
    assert found.own.mean("iou") == pytest.approx(wanted)
    whole = model.mask(LabelledFolder.open(maps)[0].image)
    assert abs(iou(whole == 1, truth == 1, valid) - wanted) > 0.02  # as one picture it would be another
    data = LabelledFolder.open(maps)
    np.testing.assert_array_equal(masks_of(model, data, 0, data[0])[1], written)


def test_a_large_picture_is_judged_by_tiles_and_a_small_one_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, truth = slope(150, 200), np.zeros((150, 200), np.uint8)
    truth[20:110, 10:140] = 1
    write_pair(tmp_path, "a", pixels, truth)
    model = AboveItsMean(["bright"])
    everywhere = np.ones_like(truth, bool)
    assert evaluate(model, tmp_path).own.mean("iou") == pytest.approx(
        iou(model.mask(pixels) == 1, truth == 1, everywhere)
    )
    monkeypatch.setattr(frames, "WHOLE_PIXELS", 20_000)
    by_tiles = frames.segment_picture(model, pixels, frames.FormatOptions())
    assert (by_tiles != model.mask(pixels)).mean() > 0.1
    assert evaluate(model, tmp_path).own.mean("iou") == pytest.approx(iou(by_tiles == 1, truth == 1, everywhere))


def test_who_can_only_predict_sees_all_as_a_whole(maps: Path) -> None:
    class OnlyPredicts:
        class_names = ("bright",)

        def predict(self, pixels: np.ndarray, sizes: Sequence[tuple[int, int]]) -> Any:
            return AboveItsMean().predict(pixels, sizes)

    data = LabelledFolder.open(maps)
    wanted = AboveItsMean().mask(data[0].image)
    np.testing.assert_array_equal(masks_of(OnlyPredicts(), data, 0, data[0])[1], wanted)


@pytest.mark.parametrize("white", [1, 255])
def test_what_is_drawn_where_there_is_no_data_does_not_count(white: int, maps: Path) -> None:
    """Black-and-white masks too, where 255 is the class."""
    truth = np.asarray(Image.open(maps / "masks" / "a.png"))
    Image.fromarray(truth * np.uint8(white)).save(maps / "masks" / "a.png")
    wanted = truth.copy()
    wanted[:, :30] = 255
    np.testing.assert_array_equal(LabelledFolder.open(maps)[0].mask, wanted)
    np.testing.assert_array_equal(SupportSet.from_folder(maps).samples[0].mask, wanted)


def test_a_class_that_is_only_drawn_where_there_is_no_data_is_nowhere(maps: Path) -> None:
    truth = np.zeros((150, 200), np.uint8)
    truth[:, :20], truth[:, 100:] = 2, 1
    Image.fromarray(truth).save(maps / "masks" / "a.png")
    (maps / "meta.json").write_text(json.dumps({"classes": ["background", "field", "wood"]}))
    support = SupportSet.from_folder(maps)
    assert support.shots() == {"field": 1, "wood": 0}
    assert any("no pixel of wood in any mask" in notice for notice in support.notices)
