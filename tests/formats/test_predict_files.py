"""A folder with all kinds of files, from the command line and from Python."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from helpers import BrightnessSegmenter, disc_pair
from PIL import Image
from pydicom.data import get_testdata_file
from special_files import write_map

from distillfss.cli import main
from distillfss.errors import DataError, UsageError
from distillfss.formats.frames import wants_tiles
from distillfss.formats.options import FormatOptions
from distillfss.formats.running import Tiling, predict_files
from distillfss.io.extras import optional
from distillfss.io.limits import limits
from distillfss.io.masks import read_mask
from distillfss.predicting import PredictSummary


def test_all_kinds_at_once(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["predict", "model", str(folder), "--out", str(out), "--polygons", "geojson", "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["total"], report["written"], report["failed"]) == (4, 4, [])
    assert sorted(p.name for p in out.iterdir()) == [
        "map.geojson",
        "map.tif",
        "picture.png",
        "slice.dcm",
        "stack.tif",
    ]
    details = report["special"][str(folder / "map.tif")]
    assert details["pixels"]["bright"] == int(disc_pair(1)[1].sum())
    assert details["square_metres"]["bright"] == pytest.approx(disc_pair(1)[1].sum() / 4, rel=1e-3)
    assert details["written"] == [str(out / "map.tif"), str(out / "map.geojson")]
    np.testing.assert_array_equal(read_mask(out / "picture.png"), disc_pair(0)[1])
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["skipped_existing"] == 4


def test_outputs_that_special_files_have_no_part_in_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "model", str(folder), "--out", str(tmp_path / "out"), "--outputs", "mask,yolo", "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["files"] == {"mask": 4, "yolo": 2}
    assert sorted(Path(name).name for name in report["special"]) == ["map.tif", "slice.dcm", "stack.tif"]
    assert "yolo: of ordinary pictures only, not of the 3 GeoTIFF, DICOM, stack or video files" in report["notices"]
    words = ["predict", "model", str(folder / "map.tif"), "--out", str(tmp_path / "new"), "--outputs", "coco,yolo"]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert "nothing of what was asked for was written: coco, yolo are made of ordinary pictures only" in told


def test_pages_of_a_raster_that_are_passed_over_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A nodata value makes a raster of a stack, and a raster is one picture."""
    path = folder / "stack.tif"
    pages = np.stack([disc_pair(seed)[0] for seed in (2, 3, 4)])
    tifffile.imwrite(path, pages, photometric="rgb", extratags=[(42113, "s", 0, "0", True)])
    assert main(["predict", "model", str(path), "--out", str(tmp_path / "out"), "--json"]) == 0
    told = f"{path}: holds 3 pages, only the first was read; split it to use the others"
    assert json.loads(capsys.readouterr().out)["notices"] == [told]


def test_notes_on_many_files_are_cut_short(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = pydicom.dcmread(folder / "slice.dcm")
    for name in ("WindowCenter", "WindowWidth"):
        scan.pop(name, None)
    (folder / "slice.dcm").unlink()
    for number in range(14):
        scan.save_as(folder / f"{number}.dcm")
    words = ["predict", "model", str(folder / "*.dcm"), "--out", str(tmp_path / "out"), "--masks", "png"]
    assert main([*words, "--outputs", "mask,yolo"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(told) == 12
    assert all("holds no window" in line for line in told[:10])
    assert told[10] == "note: 4 more of such notes on files; --json lists all of them"
    assert told[11].startswith("note: yolo: of ordinary pictures only")
    assert main([*words, "--overwrite", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["notices"]) == 14


def test_that_maps_are_cut_into_tiles_all_the_same_is_told_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(folder / "other.tif", disc_pair(4)[0])
    words = ["predict", "model", str(folder), "--out", str(tmp_path / "out"), "--overwrite"]
    told = "--tile off: not heeded for 2 GeoTIFF or very large files, always cut into tiles; --tile 2048 makes larger"
    assert main([*words, "--tile", "off", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["notices"]
    assert [notice for notice in said if "--tile" in notice] == [f"{told} ones"]
    for other in ([], ["--tile", "64"]):
        assert main([*words, *other]) == 0
        assert "not heeded" not in capsys.readouterr().err
    assert main(["predict", "model", str(folder / "*.png"), "--out", str(tmp_path / "new"), "--tile", "off"]) == 0
    assert "not heeded" not in capsys.readouterr().err


def test_polygons_are_counted_and_files_without_them_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "model", str(folder), "--out", str(tmp_path / "out"), "--polygons", "geojson,gpkg"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "  polygons: STEM.geojson, STEM.gpkg (2 files)" in told.out.splitlines()
    assert "note: polygons: of GeoTIFF only, not of the 3 other files" in told.err.splitlines()
    words[2:5] = [str(folder / "picture.png"), "--out", str(tmp_path / "picture")]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "note: polygons: of GeoTIFF only, not of the 1 other file" in told.err.splitlines()
    assert "  polygons:" not in told.out
    words[2:5] = [str(folder / "map.tif"), "--out", str(tmp_path / "map")]
    assert main(words) == 0
    assert "polygons: of" not in capsys.readouterr().err


@pytest.fixture
def cine(folder: Path) -> Path:
    """Several frames that lie nowhere in space, though the file has a frame of reference."""
    scan = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    scan.SOPClassUID = scan.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"  # secondary capture
    del scan.ImagePositionPatient, scan.ImageOrientationPatient
    scan.NumberOfFrames, scan.PixelData = 2, scan.PixelData + bytes(len(scan.PixelData))
    for path in folder.iterdir():
        path.unlink()
    scan.save_as(folder / "cine.dcm")
    return folder / "cine.dcm"


def test_without_a_mask_a_cine_gets_what_is_asked_for(
    cine: Path, tmp_path: Path, segmenter: BrightnessSegmenter, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["predict", "model", str(cine), "--out", str(out), "--outputs", "overlay,csv"]
    assert main(words) == 0
    assert [path.name for path in sorted((out / "overlays" / "cine").iterdir())] == ["0001.jpg", "0002.jpg"]
    with (out / "areas.csv").open() as file:
        assert [row["frame"] for row in csv.DictReader(file)] == ["1", "1", "2", "2"]
    assert not list(out.glob("cine*"))
    segmenter.calls = 0
    assert main(words) == 0
    assert segmenter.calls == 0
    assert main([*words[:-1], "csv", "--out", str(tmp_path / "new")]) == 0
    assert [path.name for path in (tmp_path / "new").glob("*")] == [".distillfss-records", "areas.csv"]


def test_where_a_cine_gets_no_mask_it_gets_the_rest(
    cine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["predict", "model", str(cine), "--out", str(out)]
    assert main([*words, "--outputs", "mask,csv"]) == 3
    told = capsys.readouterr()
    assert told.out.startswith(f"0 masks written to {out}")
    assert "several frames without plane positions, as in secondary capture, endoscopy and ultrasound" in told.err
    assert "Frame of Reference" not in told.err
    assert "Use --masks png. What else was asked for was written" in told.err
    with (out / "areas.csv").open() as file:
        assert [row["frame"] for row in csv.DictReader(file)] == ["1", "1", "2", "2"]
    assert main([*words, "--out", str(tmp_path / "new")]) == 3
    assert "was written" not in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--tile", "64"], ["--range", "0,9"], ["--bands", "1"]])
def test_options_nothing_would_heed_are_refused(
    option: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "model", str(folder), "--out", str(tmp_path / "out"), "--executor", "ray", *option]
    assert main(words) == 2
    assert f"{option[0]} is heeded only for local files" in capsys.readouterr().err


def test_one_bad_file_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "slice.dcm").write_bytes((folder / "slice.dcm").read_bytes()[:2000])
    (folder / "film.mp4").write_bytes(b"no film")
    assert main(["predict", "model", str(folder), "--out", str(tmp_path / "out")]) == 3
    captured = capsys.readouterr()
    assert "3 masks written" in captured.out
    assert f"  {folder / 'slice.dcm'}: " in captured.err
    assert f"  {folder / 'film.mp4'}: the video cannot be decoded" in captured.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--tile", "big"], "--tile big"),
        (["--tile", "8"], "tiles of 8 pixels are too small"),
        (["--overlap", "0.7"], "an overlap of 0.7"),
        (["--bands", "1,2"], "the bands make no picture"),
        (["--bands", "x"], "--bands x"),
        (["--range", "5"], "--range 5"),
        (["--range", "9,3"], "the range is empty"),
        (["--polygons", "shp"], "--polygons shp"),
        (["--every", "0"], "every 0th frame"),
    ],
)
def test_options_that_make_no_sense(
    words: list[str], expected: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "model", str(folder), "--out", str(tmp_path / "out"), *words]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_masks_never_land_among_the_images_or_on_each_other(
    folder: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    before = (folder / "map.tif").read_bytes()

    def nothing(*arguments: object) -> None:
        raise AssertionError

    with pytest.raises(UsageError, match="the images are in this folder"):
        predict_files(segmenter, [folder / "map.tif"], folder, FormatOptions(), nothing)
    assert (folder / "map.tif").read_bytes() == before
    (folder / "map.png").write_bytes((folder / "picture.png").read_bytes())
    with pytest.raises(UsageError, match=r"would both get the mask map\.png"):
        predict_files(segmenter, folder, tmp_path / "out", FormatOptions(masks="png"), nothing)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("twin", "options", "shared"),
    [
        ("map.png", FormatOptions(overlay=True), r"overlays/map\.jpg"),
        ("map.png", FormatOptions(probabilities=True), r"probabilities/map\.tif"),
        ("MAP.png", FormatOptions(overlay=True), r"overlays/map\.jpg"),
        ("map.dcm", FormatOptions(overlay=True), r"overlays/map\.jpg"),
        ("map.png", FormatOptions(), None),
        ("map.dcm", FormatOptions(), None),
    ],
)
def test_files_of_two_kinds_do_not_share_what_is_written_beside_the_mask(
    twin: str, options: FormatOptions, shared: str | None, folder: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    (folder / twin).write_bytes((folder / ("slice.dcm" if twin.endswith("dcm") else "picture.png")).read_bytes())
    paths, pictures = [folder / twin, folder / "map.tif"], lambda *_: None
    if shared is None:  # their masks have different suffixes
        predict_files(segmenter, paths, tmp_path / "out", options, pictures)
        return
    with pytest.raises(UsageError, match=f"would both get {shared}"):
        predict_files(segmenter, paths, tmp_path / "out", options, pictures)
    assert not (tmp_path / "out").exists()


def test_a_wish_that_one_file_cannot_fulfil_does_not_stop_the_others(
    folder: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    summary = PredictSummary(tmp_path, 0)
    paths = [folder / "map.tif", folder / "slice.dcm", folder / "stack.tif"]
    options = FormatOptions(bands=(4, 2, 1))
    found = predict_files(segmenter, paths, tmp_path / "out", options, lambda *_: None, summary=summary)
    assert list(found) == paths[1:]
    ((path, reason),) = summary.failed
    assert (path, "band" in reason) == (folder / "map.tif", True)


def test_files_that_cannot_have_probabilities_get_the_rest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["predict", "model", str(folder), "--out", str(out), "--outputs", "mask,coco", "--probabilities", "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["failed"]) == (4, [])
    assert sorted(path.name for path in (out / "probabilities").iterdir()) == ["map.tif", "picture.tif"]
    assert {"map.tif", "picture.png", "slice.dcm", "stack.tif"} < {path.name for path in out.iterdir()}
    assert report["notices"][-2:] == [
        "coco: of ordinary pictures only, not of the 3 GeoTIFF, DICOM, stack or video files",
        "probabilities: of ordinary pictures and GeoTIFF only, not of the 2 DICOM, stack or video files",
    ]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["skipped_existing"] == 4


@pytest.mark.parametrize(
    ("name", "outputs", "told"),
    [
        ("stack.tif", "probabilities", "probabilities are made of ordinary pictures and GeoTIFF only"),
        (
            "stack.tif",
            "yolo,probabilities",
            "yolo are made of ordinary pictures only, probabilities are made of ordinary pictures and GeoTIFF only",
        ),
        ("map.tif", "probabilities", None),
    ],
)
def test_where_nothing_that_was_asked_for_is_written(
    name: str, outputs: str, told: str | None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "model", str(folder / name), "--out", str(tmp_path / "out"), "--outputs", outputs, "--json"]
    assert main(words) == 0
    start, end = "nothing of what was asked for was written: ", "; the 1 GeoTIFF, DICOM, stack or video files got masks"
    assert json.loads(capsys.readouterr().out)["notices"] == ([] if told is None else [start + told + end])
    assert (tmp_path / "out" / name).is_file()


def test_a_missing_library_is_named_with_its_extra(
    folder: Path, tmp_path: Path, segmenter: BrightnessSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    summary = PredictSummary(tmp_path, 0)
    predict_files(
        segmenter, [folder / "slice.dcm"], tmp_path / "out", FormatOptions(), lambda *_: None, summary=summary
    )
    assert summary.failed == [
        (
            folder / "slice.dcm",
            "DICOM files need the library pydicom, which is not installed. pip install 'distillfss[medical]'",
        )
    ]
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(DataError, match=r"distillfss\[geo\]"):
        optional("rasterio")


def test_when_pictures_are_cut(segmenter: BrightnessSegmenter) -> None:
    segmenter.summary, segmenter.size = {"support_side": 500}, 384  # type: ignore[attr-defined]
    assert not wants_tiles(segmenter, (4000, 4000), None)  # 16 megapixels: a camera's
    assert wants_tiles(segmenter, (4001, 4000), None)
    segmenter.summary = {"support_side": 4000}  # type: ignore[attr-defined]
    assert not wants_tiles(segmenter, (8000, 8000), None)  # at half the size of what was learnt
    assert wants_tiles(segmenter, (8001, 8000), None)
    assert wants_tiles(segmenter, (10, 10), 64)
    assert not wants_tiles(segmenter, (30_000, 30_000), 0)


def test_tiling_is_a_segmenter(segmenter: BrightnessSegmenter) -> None:
    pixels, mask = disc_pair(0, 150, 200)
    tiling = Tiling(segmenter, FormatOptions(tile=64))
    np.testing.assert_array_equal(tiling(pixels), mask)
    assert segmenter.calls == 3 * 4
    found, likely = tiling(pixels, probabilities=True)
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_allclose(likely, np.stack([mask == 0, mask == 1], axis=-1), atol=2e-5)
    segmenter.calls = 0
    Tiling(segmenter, FormatOptions(tile=0))(pixels)
    assert segmenter.calls == 1
    assert tiling.limits == (128,)


def test_pictures_too_large_to_decode_are_read_in_strips(
    folder: Path, tmp_path: Path, segmenter: BrightnessSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(limits(), pixels=4000)
    monkeypatch.setattr("distillfss.formats.dispatch.limits", lambda: small)
    found = predict_files(
        segmenter, [folder / "picture.png"], tmp_path / "out", FormatOptions(tile=32), lambda *_: None
    )
    assert found[folder / "picture.png"].details["tile"] == 32
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "picture.png"), disc_pair(0)[1])
    turned = Image.fromarray(disc_pair(0)[0])
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.png", exif=exif)
    summary = PredictSummary(tmp_path, 0)
    predict_files(
        segmenter, [folder / "turned.png"], tmp_path / "out", FormatOptions(), lambda *_: None, summary=summary
    )
    assert "turned by its EXIF orientation" in summary.failed[0][1]
