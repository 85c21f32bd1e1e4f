"""The demo with a fit too short to be any good: everything is there, nothing foreign is touched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distillfss.cli import main
from distillfss.config import FitConfig
from distillfss.demo import run_demo
from distillfss.errors import FitInterrupted, OutputError
from distillfss.io.masks import read_mask
from distillfss.sample import support_tiles, unseen_tiles
from distillfss.support import LabelledFolder

QUICK = FitConfig(size=64, effort=0.02, device="cpu")


@pytest.fixture
def quick_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verb ``demo`` with a very short fit."""
    monkeypatch.setattr("distillfss.cli.demo.FitConfig", lambda seed, device: QUICK)


def test_demo_twice(tmp_path: Path, quick_demo: None, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["support_images"], document["unseen_images"]) == (5, 11)
    truth = np.concatenate([tile.mask.ravel() for tile in unseen_tiles()])
    assert document["baseline_foreground_iou"] == pytest.approx(truth.mean())
    assert document["evaluation"]["baseline"]["prediction"] == "every pixel nucleus"
    assert 0 <= document["foreground_iou"] <= 1
    assert 0 < document["seconds_per_image"] < 10
    assert document["model_bytes"] == (out / "nuclei.safetensors").stat().st_size

    names = sorted(tile.name for tile in unseen_tiles())
    assert sorted(path.stem for path in (out / "masks").glob("*.png")) == names
    assert sorted(path.stem for path in (out / "masks" / "overlays").glob("*.jpg")) == names
    assert list(LabelledFolder.open(out / "support").names) == sorted(tile.name for tile in support_tiles())
    for sample, tile in zip(LabelledFolder.open(out / "test"), unseen_tiles(), strict=True):
        np.testing.assert_array_equal(sample.image, tile.image)
        np.testing.assert_array_equal(sample.mask, tile.mask)
    assert read_mask(out / "masks" / f"{names[0]}.png").shape == (128, 128)
    assert (out / "report.html").read_text().count("data:image/jpeg;base64,") == 5 + 4 * 11
    assert not list(out.glob("*.part"))

    assert main(["demo", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"foreground IoU {100 * document['foreground_iou']:.1f} %" in lines  # the same seed, the same model
    assert f"trivial        {100 * truth.mean():.1f} % (every pixel nucleus)" in lines
    assert f"page           {out / 'report.html'}" in lines
    assert "  distillfss fit my-support --out my-model.safetensors" in lines


def test_folder_with_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    assert main(["demo", "--out", str(tmp_path)]) == 5
    expected = f"error: {tmp_path}: this folder holds something else. Choose another one with --out, or empty it"
    assert capsys.readouterr().err.splitlines()[-1] == expected
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="this folder cannot be used"):
        run_demo(tmp_path / "file", QUICK)


def test_interrupted_demo_goes_on_in_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[Path] = []

    def stop(support: object, config: object, *, state: Path, progress: object) -> None:
        states.append(state)
        raise FitInterrupted("stopped", cure="Run it again")

    monkeypatch.setattr("distillfss.fit", stop)
    for _ in range(2):
        with pytest.raises(FitInterrupted):
            run_demo(tmp_path, QUICK)
    assert states == [tmp_path / "nuclei.safetensors.part"] * 2
