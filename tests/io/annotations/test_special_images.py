"""Annotated images that Pillow does not read: maps of many bands, and DICOM."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from pydicom.data import get_testdata_file
from rasterio.transform import from_origin
from scene import HEIGHT, WIDTH, covered
from shapely.geometry import Polygon

from distillfss.errors import DataError
from distillfss.io.limits import MAX_MEGAPIXELS_VARIABLE
from distillfss.support import LabelledFolder, SupportSet

TRIANGLE = [[10.13, 10.29], [60.41, 12.07], [30.71, 50.83]]


def write_map(path: Path, bands: int, kind: str) -> Path:
    values = np.random.default_rng(0).integers(0, 3000, (bands, HEIGHT, WIDTH)).astype(kind)
    place = {"crs": "EPSG:32632", "transform": from_origin(691000, 5334000, 1, 1)}
    shape = {"driver": "GTiff", "count": bands, "height": HEIGHT, "width": WIDTH, "dtype": kind}
    with rasterio.open(path, "w", **shape, **place) as dataset:
        dataset.write(values)
    return path


def write_labelme(folder: Path, image: str, height: int, width: int) -> None:
    shapes = [{"label": "field", "points": TRIANGLE}]
    content = {"imagePath": image, "imageHeight": height, "imageWidth": width, "shapes": shapes}
    (folder / "a.json").write_text(json.dumps(content))


@pytest.mark.parametrize(("bands", "kind"), [(4, "uint16"), (4, "float32"), (1, "float64"), (8, "uint16")])
def test_outlines_on_maps(bands: int, kind: str, tmp_path: Path) -> None:
    write_map(tmp_path / "a.tif", bands, kind)
    write_labelme(tmp_path, "a.tif", HEIGHT, WIDTH)
    (sample,) = SupportSet.from_folder(tmp_path).samples
    assert sample.image.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(sample.mask, covered(Polygon(TRIANGLE)))
    write_labelme(tmp_path, "a.tif", HEIGHT + 1, WIDTH)
    with pytest.raises(DataError, match=f"is for {WIDTH}x{HEIGHT + 1} pixels but a.tif has {WIDTH}x{HEIGHT}"):
        SupportSet.from_folder(tmp_path)


def test_outlines_on_dicom(tmp_path: Path) -> None:
    shutil.copy(str(get_testdata_file("CT_small.dcm")), tmp_path / "a.dcm")
    write_labelme(tmp_path, "a.dcm", 128, 128)
    np.testing.assert_array_equal(LabelledFolder.open(tmp_path)[0].mask, covered(Polygon(TRIANGLE), 128, 128))


def test_black_and_white_masks_of_maps(tmp_path: Path) -> None:
    (tmp_path / "masks" / "field").mkdir(parents=True)
    (tmp_path / "images").mkdir()
    write_map(tmp_path / "images" / "a.tif", 8, "float32")
    mask = covered(Polygon(TRIANGLE))
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "masks" / "field" / "a.png")
    np.testing.assert_array_equal(LabelledFolder.open(tmp_path)[0].mask, mask)


def test_no_mask_is_made_for_a_map_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_map(tmp_path / "a.tif", 8, "uint16")
    write_labelme(tmp_path, "a.tif", HEIGHT, WIDTH)
    data = LabelledFolder.open(tmp_path)
    monkeypatch.setenv(MAX_MEGAPIXELS_VARIABLE, "0.004")
    with pytest.raises(DataError, match=r"83x60 pixels are more than the limit") as caught:
        data._pairs[0].drawn()
    assert caught.value.path == tmp_path / "a.tif"
