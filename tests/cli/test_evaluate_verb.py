"""``distillfss evaluate`` around a segmenter that needs no network."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import BrightnessSegmenter, disc_pair, write_pair

from distillfss.cli import main
from distillfss.errors import OutputError


@pytest.fixture
def labelled(make_labelled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A labelled folder, and a model that marks a part of what it should."""
    model = BrightnessSegmenter(("disc",), (235,))
    monkeypatch.setattr("distillfss.cli.evaluate.load_model", lambda path, device, show: model)
    return make_labelled(count=4)


def test_table(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "model", str(labelled)]) == 0
    output = capsys.readouterr().out
    assert max(len(line) for line in output.splitlines()) <= 80
    assert main(["evaluate", "model", str(labelled), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert 0 < document["foreground_iou"] < 1
    assert (document["model"], document["labelled"], document["images"]) == ("model", str(labelled), 4)
    lines = output.splitlines()
    scores = document["at_own_size"]["per_class"]["disc"]
    row = next(line for line in lines if line.startswith("disc "))
    assert row.split()[1:] == [f"{100 * scores[name]:.1f}" for name in ("iou", "dice", "precision", "recall")]
    place = lines.index(f"{'foreground IoU':<28}{'model':>10}{'trivial':>10}")
    for line, title, key in zip(
        lines[place + 1 : place + 3],
        ("at the images' own size", "at 384x384"),
        ("foreground_iou", "foreground_iou_384"),
        strict=True,
    ):
        assert line.startswith(title)
        assert line.split()[-2:] == [f"{100 * value:.1f}" for value in (document[key], document["baseline"][key])]
    assert lines[place + 3] == "(trivial: every pixel disc)"


def test_report_folder(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "report"
    words = ["evaluate", "model", str(labelled), "--out", str(out), "--worst", "2"]
    assert main(words) == 0
    assert str(out / "report.html") in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "images.csv", "report.html"]
    with (out / "images.csv").open(newline="") as stream:
        assert [row["image"] for row in csv.DictReader(stream)] == [f"disc00{n}" for n in range(4)]
    assert json.loads((out / "evaluation.json").read_text())["images"] == 4
    assert (out / "report.html").read_text().count("<img ") == 8
    before = (out / "images.csv").read_bytes()
    assert main(words) == 5
    assert "images.csv: exists already. Choose another name or add --overwrite" in capsys.readouterr().err
    (out / "images.csv").write_text("old")
    assert main([*words, "--overwrite"]) == 0
    assert (out / "images.csv").read_bytes() == before


def test_full_disk_does_not_cost_the_figures(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OutputError("the disk is full", cure="Free some space", path=path)

    monkeypatch.setattr("distillfss.io.files.atomic_write", full)
    assert main(["evaluate", "model", str(labelled), "--out", str(tmp_path)]) == 5
    captured = capsys.readouterr()
    assert "\nat 384x384 " in captured.out
    assert captured.err.splitlines()[-1] == f"error: {tmp_path / 'images.csv'}: the disk is full. Free some space"


def test_unreadable_pairs_are_named(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (labelled / "images" / "disc001.png").write_bytes(b"nothing")
    # the figures are of fewer images than were asked for: whoever counts on the exit code must hear of it
    assert main(["evaluate", "model", str(labelled)]) == 3
    output = capsys.readouterr().out
    assert "3 images" in output
    assert "note: 1 of 4 images could not be read and are left out" in output
    assert "  disc001: " in output
    assert main(["evaluate", "model", str(labelled), "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == 3
    assert [found["image"] for found in document["skipped"]] == ["disc001"]


def test_classes_of_the_folder_can_be_named(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (labelled / "meta.json").write_text('{"classes": ["background", "weed"]}')
    assert main(["evaluate", "model", str(labelled)]) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {labelled}: the model's disc is not among the masks' classes (weed). ")
    assert "--classes" in error
    assert main(["evaluate", "model", str(labelled), "--classes", "disc"]) == 0
    assert main(["evaluate", "model", str(labelled), "--classes", "disc,,b"]) == 2


def test_table_of_several_classes_fits_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a class with a name that is far too long to be shown in full", "disc")
    model = BrightnessSegmenter(names, (300, 150))
    monkeypatch.setattr("distillfss.cli.evaluate.load_model", lambda path, device, show: model)
    image, mask = disc_pair(0)
    write_pair(tmp_path / "two", "one", image, mask * 2)
    (tmp_path / "two" / "meta.json").write_text(json.dumps({"classes": ["background", *names]}))
    assert main(["evaluate", "model", str(tmp_path / "two")]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.count(".") >= 4 or line.count("–") >= 4]
    assert [len(row) for row in rows] == [76, 76, 76]
    assert rows[0].endswith("         –         –         –         –")
    assert rows[2].split() == ["mean", "100.0", "100.0", "100.0", "100.0"]


def test_missing_folder(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "model", str(labelled / "nowhere"), "--json"]) == 3
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert error["path"].startswith(str(labelled / "nowhere"))
    assert captured.err.splitlines()[-1].startswith("error: ")


def test_file_names_that_are_no_text_are_reported_all_the_same(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"no \xff text\n\x1b[31m")
    write_pair(labelled, name, *disc_pair(9))
    (labelled / "images" / os.fsdecode(b"bad \xfe.png")).write_bytes(b"no picture")
    shutil.copy(labelled / "masks" / f"{name}.png", labelled / "masks" / os.fsdecode(b"bad \xfe.png"))
    assert main(["evaluate", "model", str(labelled), "--out", str(tmp_path / "report")]) in (0, 3)
    assert "\x1b" not in capsys.readouterr().out
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "bad \\udcfe" in page
    assert "no \\udcff text" in (tmp_path / "report" / "images.csv").read_text(encoding="utf-8")
    assert main(["evaluate", "model", str(labelled), "--json"]) in (0, 3)
    assert len(json.loads(capsys.readouterr().out)["per_image"]) == 5
