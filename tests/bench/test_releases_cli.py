"""``distillfss bench datasets`` and ``distillfss bench prepare``."""

from __future__ import annotations

import json
from pathlib import Path

import mini_releases
import pytest
from mini_releases import box, photo, save

from distillfss.bench.releases import RELEASES
from distillfss.cli import main
from distillfss.support import LabelledFolder

DATASETS = Path(__file__).parents[3] / "shared" / "datasets"


def test_prepare_and_list_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    mini_releases.weedmap(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "prepare", "weedmap", "--from", str(tmp_path / "raw")]) == 0
    output = capsys.readouterr().out
    assert "data set   weedmap: 3 pairs (2 train, 1 test)" in output
    assert "left out   003_frame0001: a tile outside the map, all black" in output
    assert LabelledFolder.open(tmp_path / "weedmap").class_names == ("crop", "weed")

    assert main(["bench", "datasets", "--in", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["datasets"]
    assert document["ok"] is row["ok"] is True
    assert (row["name"], row["pairs"], row["parts"]) == ("weedmap", 3, {"train": 2, "test": 1})
    assert row["images_per_class"] == {"crop": 3, "weed": 3}
    assert row["mean_area_per_class"] == {"crop": round(20 / 192, 4), "weed": round(9 / 192, 4)}

    assert main(["bench", "datasets", "--in", str(tmp_path / "weedmap")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "weedmap  3 pairs (2 train, 1 test)"
    assert lines[1].split() == ["crop", "3", "images", "10.4", "%", "of", "each"]
    assert lines[3].split(maxsplit=1) == ["ok", "files, classes, names, pairs"]


def test_prepare_as_json_warns_of_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mini_releases.kvasir_seg(tmp_path / "raw")
    words = ["bench", "prepare", "kvasir_seg", "--from", str(tmp_path / "raw"), "-o", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["classes"] == ["polyp"]
    assert {"name": "pairs", "ok": False, "detail": "2 of 1,000"} in document["checks"]
    assert main(words) == 5
    assert "is not empty. Choose another folder or add --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--max-side", "32"]) == 0
    assert "warn       pairs: 2 of 1,000" in capsys.readouterr().out
    assert {sample.image.shape for sample in LabelledFolder.open(tmp_path / "out")} == {(27, 32, 3)}


def test_errors_name_the_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "prepare", "imagenet", "--from", str(tmp_path)]) == 2
    assert "no release is called 'imagenet'. Choose one of weedmap, dsb2018," in capsys.readouterr().err
    assert main(["bench", "prepare", "dsb2018", "--from", str(tmp_path), "-o", str(tmp_path / "out")]) == 3
    assert "Expected for dsb2018: stage1_train/ID/images/ID.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["bench", "datasets", "--in", str(tmp_path)]) == 3
    assert "holds no data set. Give a folder of annotated images" in capsys.readouterr().err
    assert main(["bench", "datasets", "--in", str(tmp_path / "nowhere")]) == 3


def test_a_folder_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("good", "lacking"):
        save(tmp_path / name / "images" / "a.png", photo(0))
        save(tmp_path / name / "masks" / "a.png", box(1, 0, 0, 3, 3))
    save(tmp_path / "lacking" / "images" / "b.png", photo(1))
    assert main(["bench", "datasets", "--in", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["ok"]) for row in document["datasets"]] == [("good", True), ("lacking", False)]
    assert "has no mask masks/b.png" in document["datasets"][1]["checks"][0]["detail"]
    assert main(["bench", "datasets", "--in", str(tmp_path)]) == 0
    assert "warn  files: " in capsys.readouterr().out


def test_the_list_of_releases(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "datasets"]) == 0
    output = capsys.readouterr().out
    for release in RELEASES.values():
        assert f"{release.name}  {release.title}" in output
        assert release.licence in output
    assert "distillfss bench prepare NAME --from DOWNLOADED" in output
    assert main(["bench", "datasets", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["releases"]
    assert [row["name"] for row in rows] == list(RELEASES)
    assert next(row for row in rows if row["name"] == "isic2018")["pairs"] == [2594]


@pytest.mark.real_data
@pytest.mark.skipif(not DATASETS.is_dir(), reason="no shared/datasets beside the checkout")
@pytest.mark.parametrize(("name", "pairs", "area"), [("kvasir_seg", 1000, 0.1539), ("dsb2018", 664, 0.1394)])
def test_real_data_sets_agree_with_what_is_known(
    name: str, pairs: int, area: float, capsys: pytest.CaptureFixture[str]
):
    assert main(["bench", "datasets", "--in", str(DATASETS / name), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["datasets"]
    assert row["ok"] is True
    assert row["pairs"] == pairs
    assert list(row["mean_area_per_class"].values()) == [area]
