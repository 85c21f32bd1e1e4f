"""An ONNX file behind the interface of ``Segmenter``, and the command line, without PyTorch."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
import torch
from export_helpers import picture, run_without_torch
from helpers import REPOSITORY
from onnx import parser
from PIL import Image
from rasterio.transform import from_origin

from distillfss import Segmenter, evaluate
from distillfss.cli import main
from distillfss.errors import ModelFileError, OutputError, UsageError
from distillfss.export.served import OnnxSegmenter, resized
from distillfss.models.mixer import resize


@pytest.mark.parametrize("kind", ["one_class", "three_classes", "nine_classes", "two_with_details"])
def test_the_same_interface(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model: Segmenter = request.getfixturevalue(kind)
    served = Segmenter.load(request.getfixturevalue(f"{kind}_file"))
    assert isinstance(served, Segmenter)
    assert (served.class_names, served.size, served.device) == (model.class_names, model.size, "cpu")
    assert json.dumps(served.summary, sort_keys=True) == json.dumps(model.summary, sort_keys=True)
    assert served.embeds_backbone
    assert repr(served) == repr(model)
    image = picture(90, 133)
    mask, probabilities = served(image, probabilities=True)
    wanted, likely = model(image, probabilities=True)
    assert (mask != wanted).mean() < 1e-3
    assert (mask.dtype, probabilities.dtype, probabilities.shape) == (np.uint8, np.float32, likely.shape)
    np.testing.assert_array_equal(served(Image.fromarray(image)), mask)
    sizes = [(384, 384), (90, 133), (7, 300)]
    for found, expected in zip(served.predict(image, sizes), model.predict(image, sizes), strict=True):
        assert found.shape == expected.shape
        assert (found != expected).mean() < 2e-3
    twice = served.predict(image, [(90, 133)] * 2)
    np.testing.assert_array_equal(twice[0], mask)
    assert not np.shares_memory(*twice)
    logits = served.logits(image)
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == model.logits(image).shape
    served.save(tmp_path / "copy.onnx")
    np.testing.assert_array_equal(Segmenter.load(tmp_path / "copy.onnx")(image), mask)
    with pytest.raises(OutputError, match=r"Name the file \*.onnx"):
        served.save(tmp_path / "copy.safetensors")


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (64, 64), (200, 30)])
def test_resized_is_the_mixers_resize(size: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 24, 31)).astype(np.float32)
    wanted = resize(torch.from_numpy(maps)[None], size)[0].numpy()
    np.testing.assert_allclose(resized(maps, size), wanted, atol=1e-5)


def test_evaluation_gives_the_same_figures(one_class: Segmenter, one_class_file: Path, squares: Path) -> None:
    wanted, found = (evaluate(model, squares) for model in (one_class, Segmenter.load(one_class_file)))
    assert found.foreground_iou == pytest.approx(wanted.foreground_iou, abs=1e-3)
    assert found.foreground_iou_384 == pytest.approx(wanted.foreground_iou_384, abs=1e-3)


def test_the_command_line_needs_no_torch(one_class_file: Path, squares: Path, tmp_path: Path) -> None:
    code = (
        "from distillfss.cli import main; code = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    masks = tmp_path / "masks"
    done = run_without_torch(
        code, "predict", one_class_file, squares / "images", "--out", masks, "--probabilities", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    image = np.asarray(Image.open(squares / "images" / "square1.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(masks / "square1.png")), Segmenter.load(one_class_file)(image))
    maps = tmp_path / "maps"
    maps.mkdir()
    profile = {"driver": "GTiff", "width": 90, "height": 70, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(maps / "map.tif", "w", **profile, transform=from_origin(5e5, 5e6, 1, 1)) as file:
        file.write(picture(70, 90).transpose(2, 0, 1))
    done = run_without_torch(code, "predict", one_class_file, maps, "--out", masks, "--tile", "64", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with rasterio.open(masks / "map.tif") as file:
        assert (file.read(1) == Segmenter.load(one_class_file)(picture(70, 90))).mean() > 0.9
    done = run_without_torch(code, "evaluate", one_class_file, squares, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 6


def test_the_script_in_the_docs(one_class_file: Path, squares: Path, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "export.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(script.splitlines()) <= 16
    assert "distillfss" not in script
    path = squares / "images" / "square2.png"
    done = run_without_torch(script, one_class_file, path, tmp_path / "mask.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    wanted = Segmenter.load(one_class_file)(path)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), wanted)
    assert done.stdout == f"class_1: {(wanted == 1).mean():.1%} of the picture\n"


def test_the_export_verb(
    one_class: Segmenter, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_class.save(tmp_path / "model.safetensors")
    words = ["export", str(tmp_path / "model.safetensors"), "--calibrate", str(squares)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"model      {tmp_path / 'model.onnx'} (" in said
    assert "on 10 images of odd sizes" in said
    assert f"distillfss predict {tmp_path / 'model.onnx'} IMAGES --out MASKS" in said
    image = picture(50, 60)
    np.testing.assert_array_equal(Segmenter.load(tmp_path / "model.onnx")(image), one_class(image))
    assert main(words) == 5  # exists already
    assert main(["export", str(tmp_path / "model.onnx")]) == 2
    assert "this is an ONNX file already" in capsys.readouterr().err


def foreign(path: Path, **metadata: str) -> Path:
    """A valid ONNX file that is no model of ours."""
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[n] x) => (float[n] y) { y = Relu (x) }'
    )
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_files_that_are_no_models(one_class_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for make, problem in (
        (lambda: None, "there is no such file"),
        (path.mkdir, "this is not a file"),
    ):
        make()
        with pytest.raises(ModelFileError, match=problem):
            Segmenter.load(path)
    path.rmdir()
    whole = one_class_file.read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="no ONNX model, or it is damaged"):
            Segmenter.load(path)
    with pytest.raises(ModelFileError, match="no distillfss model"):
        Segmenter.load(foreign(path))
    with pytest.raises(ModelFileError, match="format version 9 is newer"):
        Segmenter.load(foreign(path, format="distillfss-onnx", format_version="9"))
    with pytest.raises(ModelFileError, match="its description is damaged"):
        Segmenter.load(foreign(path, format="distillfss-onnx", format_version="1", info="{}"))


def test_no_flipped_bit_makes_another_mask(one_class_file: Path, tmp_path: Path) -> None:
    """ONNX itself has no digest: an exponent's bit in a weight made every mask empty, in silence."""
    whole, path = one_class_file.read_bytes(), tmp_path / "model.onnx"
    for place in np.random.default_rng(0).integers(0, len(whole), 40).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            Segmenter.load(path)
    weight = max(onnx.load(one_class_file).graph.initializer, key=lambda each: len(each.raw_data)).raw_data
    damaged = bytearray(whole)
    damaged[whole.index(weight) + 3] ^= 0x40
    path.write_bytes(damaged)
    with pytest.raises(ModelFileError, match="its content is not what was written"):
        Segmenter.load(path)


def test_files_of_older_versions_have_no_digest(one_class_file: Path, tmp_path: Path) -> None:
    model = onnx.load(one_class_file)
    kept = [each for each in model.metadata_props if each.key != "sha256"]
    assert len(kept) == len(model.metadata_props) - 1
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "old.onnx")
    image = picture(40, 50)
    np.testing.assert_array_equal(Segmenter.load(tmp_path / "old.onnx")(image), Segmenter.load(one_class_file)(image))


def test_devices(one_class_file: Path) -> None:
    with pytest.raises(UsageError, match="ONNX Runtime has no device 'mps' here"):
        Segmenter.load(one_class_file, device="mps")


def test_as_many_threads_as_asked_for(one_class_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, threads in (("3", 3), ("many", 0)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        model = Segmenter.load(one_class_file)
        assert isinstance(model, OnnxSegmenter)
        assert model._session.get_session_options().intra_op_num_threads == threads
