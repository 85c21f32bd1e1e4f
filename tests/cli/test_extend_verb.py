"""``distillfss extend`` as a process on tiny images, and what is refused before anything is learnt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import write_pair
from PIL import Image
from scenes import square_pair
from test_artifact import make_segmenter

from distillfss import Segmenter
from distillfss.cli import main
from distillfss.extension_effects import Effects


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Random weights, but sure that everything is one of its classes."""
    segmenter = make_segmenter(ways=2, size=64)
    segmenter.parts[2].get_parameter("mixer.logits.bias").copy_(torch.tensor([-3.0, 3.0]))
    segmenter.save(tmp_path / "two.safetensors")
    return tmp_path / "two.safetensors"


@pytest.fixture
def support(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    for seed in range(2):
        image, mask = square_pair(seed, (64, 64), ways=3)
        write_pair(folder, f"{seed}", image, (mask == 3).astype(np.uint8))
    (folder / "meta.json").write_text(json.dumps({"classes": ["background", "rust"]}))
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main(["extend", *(str(word) for word in words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_add_replace_and_remove(model: Path, support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    three = tmp_path / "three.safetensors"
    code, out, err = run(capsys, model, support, "--out", three, "--effort", "0.05", "--device", "cpu")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith(f"model      {three} (")
    assert lines[1] == "classes    class_1, class_2, rust"
    assert " from 2 images (rust in 2)" in lines[2]
    assert lines[3].startswith("on these   IoU of rust ")
    assert "of what the old classes had there is lost" in lines[4]
    assert lines[-1] == f"  distillfss evaluate {three} LABELLED --out REPORT"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "three.safetensors", "two.safetensors"]
    assert "training the teacher" in err

    # one class gone, another learnt anew: in one go, into the same file
    words = ["--remove", "rust", "--remove", "class_1", "--remove", "rust", "--instant", "--overwrite", "--json"]
    code, out, err = run(capsys, three, support, "--out", three, *words)
    assert code == 0, err
    report = json.loads(out)
    assert report["class_names"] == ["class_2", "rust"]
    assert report["removed"] == ["rust", "class_1"]
    assert [(entry["class"], entry["images"]) for entry in report["added"]] == [("rust", 2)]
    assert 0 <= report["added"][0]["iou"] <= 1
    assert report["training"]["config"]["instant"] is True
    again = Segmenter.load(three)
    assert again.info.parts == ((False, True), (True,))

    code, out, err = run(capsys, three, "--remove", "rust", "-o", tmp_path / "one.safetensors")
    assert code == 0, err
    assert out.splitlines()[1:3] == ["classes    class_2", "removed    rust"]
    image = square_pair(5, (64, 64), ways=3)[0]
    logits = [Segmenter.load(path).parts[2] for path in (model, tmp_path / "one.safetensors")]
    pyramid = Segmenter.load(model).parts[1](Segmenter.load(model).parts[0](torch.rand(1, 3, 64, 64) * 255))
    assert torch.equal(logits[0](pyramid)[0][:, 1:], logits[1](pyramid)[0])
    assert Segmenter.load(tmp_path / "one.safetensors")(image).shape == (64, 64)


def test_a_new_class_that_the_model_knew_is_doubted(
    model: Path, support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Effects({"rust": 0.0}, None, {"rust": ("class_2", 0.9)})
    monkeypatch.setattr("distillfss.extension_effects.effects", lambda *_: found)
    words = [model, support, "--out", tmp_path / "three.safetensors", "--instant", "--overwrite"]
    said = "90 % of what is annotated as rust was class_2 to the model already; if it is the same, name it like that"
    code, out, err = run(capsys, *words)
    assert code == 0, err
    assert f"note: {said}" in out.splitlines()
    assert json.loads(run(capsys, *words, "--json")[1])["notices"] == [said]


def test_known_images(model: Path, support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They count among the images, and what they say of classes nobody knows does not."""
    known = tmp_path / "old"
    image, mask = square_pair(9, (64, 64), ways=3)
    write_pair(known, "9", image, mask)
    (known / "meta.json").write_text(json.dumps({"classes": ["background", "class_1", "class_2", "moss"]}))
    listed = {"classes": ["background", "class_1", "rust"]}  # of which class_1 is not in the masks
    (support / "meta.json").write_text(json.dumps(listed))
    for path in (support / "masks").iterdir():
        Image.fromarray(2 * np.asarray(Image.open(path))).save(path)
    words = ["--known", known, "--instant", "--device", "cpu"]
    code, out, err = run(capsys, model, support, "--out", tmp_path / "three.safetensors", *words)
    assert code == 0, err
    assert " from 3 images (rust in 2)" in out
    assert "note: the model does not know moss: left out of the known images" in err
    assert "a single image" not in err
    assert "will never find" not in err

    (known / "meta.json").write_text(json.dumps({"classes": ["background", "fern", "moss", "rust"]}))
    code, out, err = run(capsys, model, support, "--out", tmp_path / "four.safetensors", *words)
    assert code == 2
    assert f"error: {known}: the model knows none of fern, moss, rust" in err
    assert "as the model does (class_1, class_2), in meta.json" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("two.safetensors", "--remove", "a", "--known", "new", "-o", "x"), 2, "--known has no meaning where nothing"),
        (("two.safetensors", "-o", "x"), 2, "nothing to add and nothing to remove"),
        (("model.onnx", "new", "-o", "x"), 2, "an ONNX model cannot be extended. Extend the .safetensors model"),
        (("two.safetensors", "--remove", "a", "--seed", "1", "-o", "x"), 2, "--seed has no meaning where nothing"),
        (("two.safetensors", "--remove", "a", "--format", "coco", "-o", "x"), 2, "--format has no meaning where"),
        (("two.safetensors", "--remove", "a", "-o", "x"), 2, "the model has no class a. Choose among class_1, class_2"),
        (("two.safetensors", "new", "-o", "two.safetensors"), 5, "exists already"),
        (("none.safetensors", "new", "-o", "x"), 4, "there is no such file"),
        (("two.safetensors", "new", "-o", "x", "--classes", "class_2"), 2, "the model knows class_2 already"),
        (("two.safetensors", "none", "-o", "x"), 3, "none"),
    ],
)
def test_refused(
    words: tuple[str, ...],
    code: int,
    said: str,
    model: Path,
    support: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before: Callable[[], list[str]] = lambda: sorted(path.name for path in tmp_path.iterdir())  # noqa: E731
    there = before()
    found, out, err = run(capsys, *words)
    assert (found, out) == (code, "")
    assert said in err.splitlines()[-1]
    assert before() == there
