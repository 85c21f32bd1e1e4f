"""A folder remembers which model made its results, and another model is refused."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import BrightnessSegmenter, disc_pair
from PIL import Image

from distillfss.cli import main
from distillfss.errors import UsageError
from distillfss.io.masks import read_mask
from distillfss.outputs.makers import FILE, Makers
from distillfss.places import Folder
from distillfss.predict_plan import PlanSettings
from distillfss.predicting import predict_images
from distillfss.ray_predicting import predict_on_ray

Use = Callable[..., int]


class Known(BrightnessSegmenter):
    """Can be told from other models."""

    def __init__(self, fingerprint: str, limit: int = 128) -> None:
        super().__init__(limits=(limit,))
        self.fingerprint = fingerprint


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(disc_pair(number)[0]).save(folder / f"im{number}.png")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, images: Path, out: Path) -> Use:
    """``use(model, *words)`` runs ``predict`` with this model, and returns the exit code."""

    def run(model: BrightnessSegmenter, *words: str) -> int:
        monkeypatch.setattr("distillfss.cli.predict.load_model", lambda path, device, show: model)
        return main(["predict", "model", str(images), "--out", str(out), *words])

    return run


def models(out: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((out / FILE).read_text())["models"]
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_model_is_refused_before_any_work(images: Path, out: Path) -> None:
    predict_images(Known("a"), images, out)
    before, other = contents(out), Known("b", 255)
    with pytest.raises(UsageError, match=r"holds results of another model \(mask\)") as caught:
        predict_images(other, images, out, outputs=["mask", "csv"])
    assert str(out) in caught.value.problem
    assert caught.value.cure == "Add --overwrite, or choose another --out"
    assert (other.calls, contents(out)) == (0, before)
    assert predict_images(Known("a"), images, out, outputs=["mask", "csv"]).written == 2


def test_overwriting_makes_it_the_other_models(images: Path, out: Path) -> None:
    predict_images(Known("a"), images, out)
    predict_images(Known("b", 255), images, out, overwrite=True)
    assert models(out) == {"mask": "b"}
    assert read_mask(out / "im0.png").max() == 0
    assert predict_images(Known("b", 255), images, out).skipped_existing == 2
    with pytest.raises(UsageError, match="another model"):
        predict_images(Known("a"), images, out)


def test_what_is_not_overwritten_stays_the_firsts(use: Use, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert use(Known("a"), "--overlay") == 0
    assert use(Known("b"), "--overwrite") == 0
    assert "overlay there are still another model's; name them in --outputs as well" in capsys.readouterr().err
    assert models(out) == {"mask": "b", "overlay": "a"}
    assert use(Known("b"), "--overlay") == 2
    assert "holds results of another model (overlay)" in capsys.readouterr().err
    assert use(Known("b"), "--overlay", "--overwrite") == 0
    assert "another model" not in capsys.readouterr().err


def test_folders_without_a_record_are_anybodys(images: Path, out: Path) -> None:
    predict_images(BrightnessSegmenter(), images, out)
    assert not (out / FILE).exists()
    assert predict_images(Known("b"), images, out).skipped_existing == 2
    assert not (out / FILE).exists()  # it made nothing there
    assert predict_images(Known("a"), images, out, outputs=["mask", "csv"]).written == 2


def test_files_left_alone_are_not_counted_as_written(use: Use, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert use(Known("a")) == 0
    (out / "im1.png").unlink()
    capsys.readouterr()
    assert use(Known("a"), "--outputs", "mask,csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"1 mask written to {out} in ")
    assert "1 mask files were there already and left alone (--overwrite writes them again)" in lines


def test_other_settings_are_told_where_something_was_left_alone(
    use: Use, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "what was left alone was made with another --tile; --overwrite makes it anew"
    assert use(Known("a"), "--tile", "64") == 0
    assert use(Known("a"), "--tile", "64") == 0
    assert told not in capsys.readouterr().err
    assert use(Known("a")) == 0
    assert told in capsys.readouterr().err
    assert use(Known("a"), "--overwrite") == 0
    assert use(Known("a")) == 0
    assert told not in capsys.readouterr().err


def test_special_files_are_refused_alike(use: Use, images: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in images.iterdir():
        path.unlink()
    pages = [Image.fromarray(disc_pair(seed)[0]) for seed in (2, 3)]
    pages[0].save(images / "stack.tif", save_all=True, append_images=pages[1:])
    assert use(Known("a")) == 0
    assert models(out) == {"mask": "a"}
    before = contents(out)
    assert use(Known("b"), "--overlay") == 2
    assert f"{out}: holds results of another model (mask)" in capsys.readouterr().err
    assert contents(out) == before
    assert use(Known("b"), "--overlay", "--overwrite") == 0
    assert models(out) == {"mask": "b", "overlay": "b"}


def test_a_damaged_record_is_named(out: Path) -> None:
    (out / FILE).parent.mkdir(parents=True)
    (out / FILE).write_text("[]")
    with pytest.raises(UsageError, match=r"model\.json: is damaged"):
        Makers(Folder(out), str(out), "a")


def test_addresses_remember_too(images: Path) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("fsspec")
    address = f"memory://{uuid.uuid4()}"
    predict_images(Known("a"), images, address)
    with pytest.raises(UsageError, match=rf"{address}: holds results of another model \(mask\)"):
        predict_images(Known("b"), images, address)
    assert predict_images(Known("a"), images, address).skipped_existing == 2


def test_on_ray_it_is_refused_before_a_cluster_is_looked_for(images: Path, out: Path) -> None:
    predict_images(Known("a"), images, out)
    with pytest.raises(UsageError, match="another model"):
        predict_on_ray(Path("model"), PlanSettings(str(out), ("mask",), ("bright",), model="b"), images)
