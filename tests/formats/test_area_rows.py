"""Files of all kinds in the table of areas, with pages, frames and square metres."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pydicom
import pytest
import tifffile
from helpers import BrightnessSegmenter, disc_pair
from pydicom.data import get_testdata_file
from special_files import rows

from distillfss.cli import main


def test_the_table_of_areas_holds_maps_and_slices_too(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["predict", "model", str(folder), "--out", str(out), "--outputs", "mask,csv", "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["files"] == {"mask": 4, "csv": 1}
    assert not [notice for notice in report["notices"] if "rows" in notice]
    found = rows(out / "areas.csv")
    assert sorted({image for image, _ in found}) == ["map.tif", "picture.png", "slice.dcm", "stack.tif"]
    bright = int(disc_pair(1)[1].sum())
    row = found["map.tif", "bright"]
    assert (row["width"], row["height"], row["pixels"], row["scale_from"]) == ("80", "60", str(bright), "GeoTIFF")
    assert float(row["square_metres"]) == pytest.approx(bright / 4, rel=1e-3)
    assert float(row["square_metres_per_pixel"]) == pytest.approx(1 / 4, rel=1e-3)
    scan = report["special"][str(folder / "slice.dcm")]
    row = found["slice.dcm", "bright"]
    assert (int(row["pixels"]), row["scale_from"]) == (scan["pixels"]["bright"], "DICOM")
    assert float(row["square_metres"]) == pytest.approx(scan["pixels"]["bright"] * 0.661468e-3**2)
    assert scan["square_metres"]["bright"] == pytest.approx(float(row["square_metres"]))
    assert found["picture.png", "bright"]["square_metres"] == ""
    before = (out / "areas.csv").read_bytes()
    assert main([*words, "--metres-per-pixel", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped_existing"] == 4
    assert rows(out / "areas.csv")["map.tif", "bright"]["square_metres"] == str(9 * bright)
    assert main(words) == 0
    assert (out / "areas.csv").read_bytes() == before


def test_the_table_of_areas_has_a_row_for_every_page_and_frame(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    pages = [disc_pair(2)[0], disc_pair(3)[0], disc_pair(4)[0][:30]]  # the last without a resolution, and smaller
    with tifffile.TiffWriter(folder / "stack.tif") as stack:
        for page in pages[:2]:
            stack.write(page, photometric="rgb", resolution=(200, 100), resolutionunit="CENTIMETER", metadata=None)
        stack.write(pages[2], photometric="rgb", metadata=None)
    scan = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    scan.NumberOfFrames, scan.PixelData = 2, scan.PixelData + bytes(len(scan.PixelData))
    scan.save_as(folder / "slice.dcm")
    for name in ("picture.png", "map.tif"):
        (folder / name).unlink()
    words = ["predict", "model", str(folder), "--out", str(out), "--outputs", "mask,csv", "--masks", "png", "--json"]
    assert main(words) == 0
    special = json.loads(capsys.readouterr().out)["special"]
    with (out / "areas.csv").open() as file:
        found = {(row["image"], row["frame"], row["class"]): row for row in csv.DictReader(file)}
    assert [key for key in found if key[2] == "bright"] == [
        ("slice.dcm", "1", "bright"),
        ("slice.dcm", "2", "bright"),
        ("stack.tif", "1", "bright"),
        ("stack.tif", "2", "bright"),
        ("stack.tif", "3", "bright"),
    ]
    counts = [int((page[:, :, 0] >= 128).sum()) for page in pages]
    shown = [found["stack.tif", str(number), "bright"] for number in (1, 2, 3)]
    assert [int(row["pixels"]) for row in shown] == counts
    assert [float(row["square_metres"]) for row in shown[:2]] == pytest.approx([n * 5e-5 * 1e-4 for n in counts[:2]])
    assert [row["scale_from"] for row in shown] == ["TIFF resolution", "TIFF resolution", ""]
    assert (shown[2]["height"], shown[2]["square_metres"]) == ("30", "")
    assert "square_metres" not in special[str(folder / "stack.tif")]  # one page does not say
    slices = [found["slice.dcm", frame, "bright"] for frame in ("1", "2")]
    total = special[str(folder / "slice.dcm")]["square_metres"]["bright"]
    assert sum(float(row["square_metres"]) for row in slices) == pytest.approx(total)
    assert {row["scale_from"] for row in slices} == {"DICOM"}


def test_a_map_is_counted_from_the_mask_that_is_there(
    folder: Path, tmp_path: Path, segmenter: BrightnessSegmenter, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for name in ("picture.png", "stack.tif"):
        (folder / name).unlink()
    words = ["predict", "model", str(folder), "--out", str(out)]
    assert main(words) == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    segmenter.calls = 0
    assert main([*words, "--outputs", "csv"]) == 0
    assert segmenter.calls == 1  # of a slice, rows alone were asked for
    assert "csv: no rows" not in capsys.readouterr().err
    assert ("slice.dcm", "bright") in rows(out / "areas.csv")
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name in before} == before
    assert rows(out / "areas.csv")["map.tif", "bright"]["pixels"] == str(disc_pair(1)[1].sum())


def test_a_table_of_areas_that_is_none_of_ours_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "picture.png").unlink()
    out = tmp_path / "out"
    out.mkdir()
    (out / "areas.csv").write_text("precious")
    words = ["predict", "model", str(folder), "--out", str(out), "--outputs", "csv"]
    assert main(words) == 2
    assert [path.name for path in out.iterdir()] == ["areas.csv"]
    assert (out / "areas.csv").read_text() == "precious"
    assert main([*words, "--overwrite"]) == 0
    assert ("map.tif", "bright") in rows(out / "areas.csv")
