"""``distillfss predict`` around a segmenter that needs no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import BrightnessSegmenter, disc_pair
from pictures import exif
from PIL import Image

from distillfss.cli import main
from distillfss.io.masks import read_mask
from distillfss.outputs import OUTPUTS
from distillfss.quality.judging import Answer, Judged


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmenter: BrightnessSegmenter) -> Path:
    """Three images, and ``segmenter`` as the model of every file."""
    monkeypatch.setattr("distillfss.cli.predict.load_model", lambda path, device, show: segmenter)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(disc_pair(number)[0]).save(folder / f"im{number}.png")
    return folder


def test_writes_masks_and_says_so(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "masks"
    assert main(["predict", "model", str(images), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"3 masks written to {out} in ")
    assert "predicting" in captured.err
    np.testing.assert_array_equal(read_mask(out / "im2.png"), disc_pair(2)[1])


def test_started_again_with_json(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "model", str(images), "--out", str(tmp_path / "masks"), "--json"]
    assert main(words) == 0
    assert main(["predict", "model", str(images), "--out", str(tmp_path / "masks")]) == 0
    output = capsys.readouterr().out
    first, end = json.JSONDecoder().raw_decode(output)
    assert (first["total"], first["written"], first["skipped_existing"], first["failed"]) == (3, 3, 0, [])
    assert first["class_names"] == ["bright"]
    assert "3 were there already and left alone (--overwrite writes them again)" in output[end:]


def test_unreadable_images_are_listed_at_the_end(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "im1.png").write_bytes(b"nothing")
    words = ["predict", "model", str(images), "--out", str(tmp_path / "masks")]
    assert main(words) == 3
    captured = capsys.readouterr()
    assert "2 masks written" in captured.out
    assert "1 of 3 images could not be used:" in captured.err
    assert f"  {images / 'im1.png'}: " in captured.err
    assert main([*words, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["skipped_existing"], document["failed"][0]["image"]) == (2, str(images / "im1.png"))


def test_a_pattern_and_extras(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "masks"
    words = ["predict", "model", str(images / "im[01].png"), "--out", str(out), "--overlay", "--probabilities"]
    assert main(words) == 0
    assert {str(path.relative_to(out)) for path in out.rglob("im*")} == {
        f"{kind}im{number}.{suffix}"
        for number in (0, 1)
        for kind, suffix in (("", "png"), ("overlays/", "jpg"), ("probabilities/", "tif"))
    }


def test_ctrl_c_says_how_far_it_got(
    images: Path,
    tmp_path: Path,
    segmenter: BrightnessSegmenter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = segmenter.predict

    def predict(pixels: np.ndarray, sizes: Any) -> Any:
        if segmenter.calls == 1:
            raise KeyboardInterrupt
        return real(pixels, sizes)

    monkeypatch.setattr(segmenter, "predict", predict)
    assert main(["predict", "model", str(images), "--out", str(tmp_path / "masks")]) == 130
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "stopped after 1 mask, 2 images are left. Run the same command again to go on"
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("arrange", "code", "expected"),
    [
        ("empty", 3, "no pictures in this folder"),
        ("missing", 3, "there is no such file or folder"),
        ("twins", 2, "would both get the mask im0.png"),
        ("same", 2, "the images are in this folder"),
    ],
)
def test_errors_name_the_cure_and_write_nothing(
    arrange: str, code: int, expected: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = images, tmp_path / "masks"
    if arrange == "empty":
        source = tmp_path / "empty"
        source.mkdir()
    elif arrange == "missing":
        source = tmp_path / "missing"
    elif arrange == "twins":
        (images / "im0.jpg").write_bytes(b"")
    else:
        out = images
    assert main(["predict", "model", str(source), "--out", str(out)]) == code
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert expected in error[0]
    assert not (tmp_path / "masks").exists()


def test_every_output_is_named_in_help_and_summary(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "masks"
    words = ["predict", "model", str(images), "--out", str(out), "--outputs", "mask, coco,csv,yolo"]
    assert main([*words, "--coco-segmentation", "rle", "--instances", "class", "--metres-per-pixel", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"3 masks written to {out} in ")
    assert lines[1:] == [
        "  coco: coco.json (1 file)",
        "  yolo: yolo/labels/STEM.txt, yolo/data.yaml (4 files)",
        "  csv: areas.csv (1 file)",
    ]
    annotations = json.loads((out / "coco.json").read_text())["annotations"]
    assert [sorted(annotation["segmentation"]) for annotation in annotations] == [["counts", "size"]] * 3
    assert (out / "areas.csv").read_text().splitlines()[2].endswith(",0.25,--metres-per-pixel")
    assert main(["predict", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n    {name} " in shown for name in OUTPUTS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--outputs", "mask,jpeg"], "there is no output 'jpeg'. Choose from mask, overlay, probabilities"),
        (["--outputs", ""], "there is no output ''"),
        (["--metres-per-pixel", "0"], "a pixel of 0.0 metres"),
        (["--workers", "2"], "--workers is only for Ray. Add --executor ray"),
        (["--ray-address", "x:1"], "--ray-address is only for Ray. Add --executor ray"),
    ],
)
def test_options_that_make_no_sense(
    words: list[str], expected: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "model", str(images), "--out", str(tmp_path / "masks"), *words]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert "loading" not in error
    assert not (tmp_path / "masks").exists()


def test_a_package_that_is_missing_is_named(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["predict", "model", str(images), "--out", str(tmp_path / "masks"), "--outputs", "yolo"]) == 2
    error = capsys.readouterr().err
    assert "--outputs yolo needs rasterio, which is not installed. pip install 'distillfss[outputs]'" in error


@pytest.mark.parametrize(("verb", "name"), [("predict", "IMAGES"), ("evaluate", "LABELLED"), ("extend", "SUPPORT")])
@pytest.mark.parametrize("suffix", ["safetensors", "onnx"])
def test_swapped_arguments_are_told(
    verb: str, name: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model = tmp_path / "scans", tmp_path / f"model.{suffix}"
    folder.mkdir()
    model.touch()
    assert main([verb, str(folder), str(model), "--out", str(tmp_path / "out")]) == 2
    told = f"error: {folder}: is a folder, and {model} looks like a model. The order is MODEL {name}"
    assert capsys.readouterr().err.splitlines() == [told]
    assert not (tmp_path / "out").exists()


def test_what_was_changed_to_read_pictures_is_told_once(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        Image.fromarray(disc_pair(number)[0]).save(images / f"phone{number:02d}.jpg", exif=exif(6))
    words = ["predict", "model", str(images), "--out", str(tmp_path / "masks")]
    assert main(words) == 0
    told = (
        f"{images / 'phone00.jpg'}: turned upright as its EXIF orientation says; the mask is that of the upright "
        "picture (and 11 more images likewise)"
    )
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")] == [f"note: {told}"]
    assert main([*words, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notices"] == [told]


def test_pictures_in_sub_folders_are_not_passed_over_without_a_word(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "more").mkdir()
    Image.fromarray(disc_pair(9)[0]).save(images / "more" / "im9.png")
    words = ["predict", "model", str(images), "--out", str(images / "masks")]
    told = f"{images}: pictures in 1 sub-folder (more) are left out; this pattern takes them, too: '{images}/**/*'"
    for _ in range(2):  # the second time, there are masks in a sub-folder as well
        assert main(words) == 0
        assert f"note: {told}" in capsys.readouterr().err.splitlines()
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notices"] == [told]
    assert main(["predict", "model", str(images / "im*.png"), "--out", str(images / "masks")]) == 0
    assert "sub-folder" not in capsys.readouterr().err


class Judging(BrightnessSegmenter):
    """Says what it is told to of every answer."""

    def __init__(self, judged: Judged | None) -> None:
        super().__init__()
        self.judged = judged

    def answer(self, pixels: np.ndarray, probabilities: bool = False) -> Answer:
        return Answer(self.mask(pixels), judged=self.judged)


@pytest.mark.parametrize(
    ("model", "judged", "words", "told"),
    [
        (
            "a.onnx",
            None,
            [],
            "nothing is known of 3 images segmented by an ONNX file; use the .safetensors file that it was made from, "
            "with --overwrite",
        ),
        (
            "a.safetensors",
            Judged(0.5, 0.5),
            ["--tile", "64"],
            "nothing is known of 3 images cut into tiles; --tile off --overwrite sees them whole",
        ),
        (
            "a.safetensors",
            Judged(0.5),
            [],
            "whether 3 images are unlike the support is not known, as the model learnt from a single image, or is an "
            "older file; fit it to two images or more",
        ),
        ("a.safetensors", Judged(0.5, 0.5), [], None),
    ],
)
def test_cells_of_the_table_of_confidence_are_not_empty_without_a_word(
    model: str,
    judged: Judged | None,
    words: list[str],
    told: str | None,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("distillfss.cli.predict.load_model", lambda path, device, show: Judging(judged))
    run = ["predict", model, str(images), "--out", str(tmp_path / "out"), *words, "--outputs"]
    assert main([*run, "mask"]) == 0  # where nobody asks, nothing is said
    assert "confidence" not in capsys.readouterr().err
    assert main([*run, "mask,confidence", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report.get("notices", []) == ([] if told is None else [f"confidence: {told}"])
    rows = (tmp_path / "out" / "confidence.csv").read_text().splitlines()[1:]
    empty = 0 if told is None else 2 if told.startswith("whether") else 3
    assert [row.split(",")[1:].count("") for row in rows] == [empty] * 3
    for records in (tmp_path / "out" / ".distillfss-records").glob("*.jsonl"):
        assert "unjudged" not in records.read_text()


@pytest.mark.parametrize(("outputs", "these"), [("mask,csv", "their masks"), ("csv", "these images")])
def test_of_images_unlike_the_support_what_is_there_is_to_be_looked_at(
    outputs: str,
    these: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("distillfss.cli.predict.load_model", lambda path, device, show: Judging(Judged(0.5, 2.0)))
    run = ["predict", "model", str(images), "--out", str(tmp_path / "out"), "--outputs", outputs]
    assert main(run) == 0
    told = "3 of 3 images are unlike anything the model learnt from; look at"
    assert f"{told} {these}: im0.png, im1.png, im2.png" in capsys.readouterr().out.splitlines()
    one = "this image" if "mask" not in outputs else "its mask"
    run[2] = str(images / "im1.png")
    assert main([*run, "--overwrite"]) == 0
    told = "1 of 1 image is unlike anything the model learnt from; look at"
    assert f"{told} {one}: im1.png" in capsys.readouterr().out.splitlines()
