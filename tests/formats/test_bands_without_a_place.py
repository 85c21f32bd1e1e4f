"""TIFFs of several bands that lie nowhere on Earth are read as maps are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import disc_pair
from PIL import Image
from rasterio.transform import from_origin
from special_files import rows

from distillfss.cli import main
from distillfss.support import SupportSet


@pytest.fixture
def bands(tmp_path: Path, folder: Path) -> list[np.ndarray]:
    """``measured/`` of two images of four bands of 16 bits that lie nowhere on Earth; what is in them, (4, H, W)."""
    written = []
    for number in range(2):
        pixels = disc_pair(number)[0].astype(np.uint16) * 20
        values = np.stack([pixels[..., 1], pixels[..., 2], np.full_like(pixels[..., 0], 900), pixels[..., 0]])
        write_bands(tmp_path / "measured" / f"{number}.tif", values)
        written.append(values)
    return written


def write_bands(path: Path, values: np.ndarray, **place: object) -> None:
    path.parent.mkdir(exist_ok=True)
    profile = {"driver": "GTiff", "count": len(values), "height": 60, "width": 80, "dtype": values.dtype, **place}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)


def test_bands_that_lie_nowhere_on_earth_are_those_of_a_map(
    bands: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, there = tmp_path / "out", {"crs": "EPSG:32633", "transform": from_origin(500000, 5000000, 0.5, 0.5)}
    for number, values in enumerate(bands):
        write_bands(tmp_path / "maps" / f"{number}.tif", values, **there)
    words = ["--bands", "4,1,2", "--range", "0,5100", "--outputs", "mask,csv,overlay", "--polygons", "gpkg", "--json"]
    assert main(["predict", "model", str(tmp_path / "measured"), "--out", str(out), *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["failed"]) == (2, [])
    assert main(["predict", "model", str(tmp_path / "maps"), "--out", str(tmp_path / "placed"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["special"][str(tmp_path / "maps" / "0.tif")]["square_metres"]
    for number in range(2):
        path = tmp_path / "measured" / f"{number}.tif"
        with rasterio.open(out / path.name) as mask, rasterio.open(tmp_path / "placed" / path.name) as placed:
            np.testing.assert_array_equal(mask.read(1), disc_pair(number)[1])
            np.testing.assert_array_equal(mask.read(1), placed.read(1))
            assert (mask.crs, placed.crs) == (None, "EPSG:32633")
        assert "square_metres" not in report["special"][str(path)]
        assert report["special"][str(path)]["bands"] == [4, 1, 2]
        row = rows(out / "areas.csv")[path.name, "bright"]
        assert (row["pixels"], row["square_metres"]) == (str(disc_pair(number)[1].sum()), "")
        assert (out / f"{number}.gpkg").exists()
    words = ["predict", "model", str(tmp_path / "measured" / "0.tif"), "--out", str(tmp_path / "json"), "--json"]
    assert main([*words, "--polygons", "geojson"]) == 3
    assert "says nowhere where on Earth it lies" in json.loads(capsys.readouterr().out)["failed"][0]["reason"]
    assert main(words) == 0
    (report,) = json.loads(capsys.readouterr().out)["special"].values()
    assert report["notices"][0].endswith(
        '4 bands, of which 1, 2, 3 were taken as red, green and blue; --bands of predict, or "bands" in meta.json '
        "beside annotated images, chooses others"
    )


def test_a_support_set_of_bands_that_lie_nowhere_on_earth(bands: list[np.ndarray], tmp_path: Path) -> None:
    support = tmp_path / "support"
    (support / "masks").mkdir(parents=True)
    (tmp_path / "measured").rename(support / "images")
    for number in range(2):
        Image.fromarray(disc_pair(number)[1]).save(support / "masks" / f"{number}.png")
    (support / "meta.json").write_text(json.dumps({"bands": [4, 1, 2], "range": [0, 5100]}))
    read = SupportSet.from_folder(support)
    for sample, number in zip(read.samples, range(2), strict=True):
        np.testing.assert_array_equal(sample.image, disc_pair(number)[0])
