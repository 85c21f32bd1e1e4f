"""The model file: one file, no pickle, small, and every damaged or foreign one refused by name."""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from distillfss import FitConfig, Segmenter, __version__
from distillfss.artifact import FORMAT_VERSION, ModelInfo
from distillfss.backbones import load_backbone, weights_sha256
from distillfss.errors import DataError, ModelFileError, OutputError
from distillfss.geometry import working_size
from distillfss.models.standardize import Standardize
from distillfss.models.student import Student
from distillfss.segmenter import PREPROCESSING


def make_segmenter(ways: int = 1, size: int = 96) -> Segmenter:
    """Random weights: the file does not care what was learnt."""
    torch.manual_seed(0)
    backbone = load_backbone("efficientnet_lite0")
    info = ModelInfo(
        class_names=tuple(f"class_{i}" for i in range(1, ways + 1)),
        backbone="efficientnet_lite0",
        backbone_sha256=weights_sha256("efficientnet_lite0"),
        backbone_embedded=False,
        size=size,
        preprocessing=PREPROCESSING,
        summary={"images": 5, "config": vars(FitConfig())},
    )
    student = Student(backbone.layers, ways)
    return Segmenter(backbone, Standardize(backbone.layers), student, info, torch.device("cpu"))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return make_segmenter(ways=2)


@pytest.fixture
def model(tmp_path, segmenter):
    path = tmp_path / "model.safetensors"
    segmenter.save(path)
    return path


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)


def rewritten(path, **changes) -> None:
    """The same tensors under changed metadata."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    metadata = json.loads(raw[8 : 8 + length])["__metadata__"]
    tensors = load_file(path)
    for key, value in changes.items():
        if key in metadata:
            metadata[key] = value
        else:
            metadata["info"] = json.dumps({**json.loads(metadata["info"]), key: value})
    save_file(tensors, path, metadata)


@pytest.fixture
def detailed(segmenter: Segmenter) -> Segmenter:
    """A model that draws details, and has learnt some."""
    backbone, standardize, _ = segmenter.parts
    torch.manual_seed(1)
    student = Student(backbone.layers, 2, backbone.fine_channels)
    torch.nn.init.normal_(student.detail.correct.weight)
    return Segmenter(backbone, standardize, student, replace(segmenter.info, details=True), torch.device("cpu"))


def test_a_model_that_draws_details(tmp_path, detailed, photograph):
    """Twice the rows and columns of logits, in a file that readers from before there were any refuse."""
    path = tmp_path / "model.safetensors"
    detailed.save(path)
    again = Segmenter.load(path)
    height, width = working_size(*photograph.shape[:2], 96)
    assert again.logits(photograph).shape == (1, 3, height // 2, width // 2)
    assert torch.equal(again.logits(photograph), detailed.logits(photograph))
    assert np.array_equal(again.answer(photograph).mask, again(photograph))
    with safe_open(path, "pt") as file:
        assert file.metadata()["format_version"] == "3"
    rewritten(path, format_version="1")
    with pytest.raises(ModelFileError, match="does not fit its format version"):
        Segmenter.load(path)


def test_a_model_of_many_classes_and_one_from_before_they_were_made_lighter(tmp_path, photograph):
    """Which of both a file holds is told by its tensors."""
    path = tmp_path / "model.safetensors"
    light = make_segmenter(ways=5)
    backbone, standardize, student = light.parts
    before = Segmenter(
        backbone, standardize, Student(backbone.layers, 5, joining=(8, 4)), light.info, torch.device("cpu")
    )
    assert student.mixer.joining == (8,)
    sizes = {}
    for joining, segmenter in {(8,): light, (8, 4): before}.items():
        segmenter.save(path)
        again = Segmenter.load(path)
        assert again.parts[2].mixer.joining == joining
        assert torch.equal(again.logits(photograph), segmenter.logits(photograph))
        sizes[joining] = sum(tensor.numel() for tensor in again.parts[2].parameters())
    # a projection of 24 channels, two 3x3 convolutions, two 1x1 and what their norms have
    assert sizes[8, 4] - sizes[8,] == 25 * 32 + (9 * 32 + 3) * 32 + (9 * 16 + 3) * 16 + 33 * 16 + 2 * 16


def test_details_that_are_not_there_and_details_that_nobody_spoke_of(tmp_path, segmenter, detailed):
    path = tmp_path / "model.safetensors"
    segmenter.save(path)
    rewritten(path, details=True)
    rewritten(path, format_version="3")
    with pytest.raises(ModelFileError, match="does not fit its tensors"):
        Segmenter.load(path)
    detailed.save(path)
    rewritten(path, details=False)
    rewritten(path, format_version="1")
    with pytest.raises(ModelFileError, match="does not fit its tensors"):
        Segmenter.load(path)


@pytest.mark.parametrize("value", [float("nan"), -float("inf"), np.int64(3), Path("teacher.safetensors")])
def test_a_description_that_could_not_be_read_again_is_not_written(tmp_path, segmenter, value):
    path = tmp_path / "model.safetensors"
    segmenter.save(path)
    before = path.read_bytes()
    parts = *segmenter.parts, replace(segmenter.info, summary={"own": value}), torch.device("cpu")
    with pytest.raises(OutputError, match=r"model\.safetensors: the model's description is no JSON .*Keep what"):
        Segmenter(*parts).save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("embed", [False, True])
def test_a_round_trip_changes_no_logit(tmp_path, segmenter, photograph, embed):
    path = tmp_path / "model.safetensors"
    segmenter.save(path, embed_backbone=embed)
    again = Segmenter.load(path)
    assert torch.equal(again.logits(photograph), segmenter.logits(photograph))
    assert again.class_names == segmenter.class_names
    assert again.summary == segmenter.summary
    assert again.info.library_version == __version__
    assert again.info.backbone_embedded is embed


def test_the_fingerprint_is_that_of_the_weights_with_or_without_the_backbone(tmp_path, segmenter):
    for embed in (False, True):
        segmenter.save(tmp_path / f"{embed}.safetensors", embed_backbone=embed)
        assert Segmenter.load(tmp_path / f"{embed}.safetensors").fingerprint == segmenter.fingerprint
    assert make_segmenter(ways=2).fingerprint == segmenter.fingerprint
    other = make_segmenter(ways=2)
    next(other.parts[2].parameters()).data.flatten()[0] += 1
    assert other.fingerprint != segmenter.fingerprint
    assert make_segmenter(ways=2, size=128).fingerprint != segmenter.fingerprint


def test_an_embedded_backbone_needs_no_other_file(tmp_path, segmenter, photograph, monkeypatch):
    path = tmp_path / "model.safetensors"
    segmenter.save(path, embed_backbone=True)
    monkeypatch.setattr("distillfss.backbones.load_backbone", lambda name: pytest.fail("looked for the weights"))
    assert Segmenter.load(path)(photograph).shape == (50, 70)


def test_sizes_on_disk_even_with_twenty_classes(tmp_path):
    path = tmp_path / "model.safetensors"
    make_segmenter(ways=20).save(path)
    assert path.stat().st_size <= 3_000_000
    make_segmenter(ways=20).save(path, embed_backbone=True)
    assert path.stat().st_size <= 25_000_000


def test_only_student_and_standardisation_are_inside(model):
    assert {name.split(".")[0] for name in load_file(model)} == {"student", "standardize"}


def test_the_metadata_tells_how_to_serve_it(model):
    raw = model.read_bytes()
    metadata = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["__metadata__"]
    info = json.loads(metadata["info"])
    assert metadata["format"] == "distillfss-model"
    assert metadata["format_version"] == str(FORMAT_VERSION)
    assert info["class_names"] == ["class_1", "class_2"]
    assert info["backbone"] == "efficientnet_lite0"
    assert info["backbone_sha256"] == weights_sha256("efficientnet_lite0")
    assert info["preprocessing"]["normalise"] == "(x - 127) / 128"
    assert info["summary"]["images"] == 5


@pytest.mark.parametrize("kept", [0, 4, 100, 5000, -1])
def test_truncated_files(model, kept):
    model.write_bytes(model.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match=r"model\.safetensors: this is no model file, or it is damaged"):
        Segmenter.load(model)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        Segmenter.load(tmp_path / "nothing.safetensors")
    with pytest.raises(ModelFileError, match="not a file"):
        Segmenter.load(tmp_path)


def test_a_newer_format_says_update(model):
    rewritten(model, format_version="99")
    with pytest.raises(ModelFileError, match=r"version 99 is newer than 3.*Update distillfss"):
        Segmenter.load(model)


def test_foreign_safetensors(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match=r"foreign\.safetensors: this safetensors file is no distillfss model"):
        Segmenter.load(path)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_pickles_are_never_executed(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelFileError):
        Segmenter.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"info": "{"}, "description is damaged"),
        ({"info": "{}"}, "description is damaged"),
        ({"size": float("inf")}, "description is damaged"),
        ({"info": "[" * 100_000}, "description is damaged"),
        ({"format_version": "one"}, "format version is missing"),
        ({"class_names": []}, "impossible numbers"),
        ({"class_names": [f"x{i}" for i in range(21)]}, "impossible numbers"),
        ({"size": 10**9}, "impossible numbers"),
        ({"class_names": ["only one"]}, "missing, unknown or of the wrong shape"),
        ({"architecture": "unet"}, "unknown architecture 'unet'"),
        ({"architecture": "dcama"}, "does not fit efficientnet_lite0"),
        ({"backbone": "resnet9000"}, "unknown backbone 'resnet9000'"),
        ({"backbone_sha256": "0" * 64}, "other weights of efficientnet_lite0"),
        ({"backbone_embedded": True}, r"missing, unknown or of the wrong shape \(backbone\."),
    ],
)
def test_metadata_that_lies(model, changes, message):
    rewritten(model, **changes)
    with pytest.raises(ModelFileError, match=message):
        Segmenter.load(model)


def test_impossible_numbers_in_tensors(model):
    tensors = load_file(model)
    with_nan = {**tensors, "student.mixer.logits.bias": torch.tensor([float("nan"), 0.0])}
    raw = model.read_bytes()
    save_file(with_nan, model, json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["__metadata__"])
    with pytest.raises(ModelFileError, match=r"student\.mixer\.logits\.bias holds impossible numbers"):
        Segmenter.load(model)


def test_a_flipped_bit_is_noticed(model):
    raw = bytearray(model.read_bytes())
    raw[-1000] ^= 1
    model.write_bytes(raw)
    with pytest.raises(ModelFileError, match="not those that were written"):
        Segmenter.load(model)


@pytest.mark.parametrize("limits", [{"distillfss": 1000, "dcama": 1000}, {"distillfss": 1000, "dcama": 2**30}])
def test_files_that_are_too_large_are_not_read(model, monkeypatch, limits):
    monkeypatch.setattr("distillfss.artifact.MAX_BYTES", limits)
    with pytest.raises(ModelFileError, match="too large for a model"):
        Segmenter.load(model)


def test_a_failed_save_leaves_the_old_model(model, segmenter, monkeypatch):
    before = model.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"model\.safetensors: the disk is full"):
        segmenter.save(model)
    assert model.read_bytes() == before
    assert [p.name for p in model.parent.iterdir()] == ["model.safetensors"]


# What may be given to a segmenter


def test_a_path_a_pil_image_and_an_array_mean_the_same(tmp_path, segmenter, photograph):
    path = tmp_path / "photograph.png"
    Image.fromarray(photograph).save(path)
    wanted = segmenter(photograph)
    assert wanted.shape == (50, 70)
    assert wanted.dtype == np.uint8
    for given in (path, str(path), Image.fromarray(photograph)):
        assert np.array_equal(segmenter(given), wanted)


def test_grey_and_sixteen_bit_arrays(segmenter, photograph):
    grey = photograph[..., 0]
    assert np.array_equal(segmenter(grey), segmenter(np.repeat(grey[..., None], 3, axis=2)))
    wide = grey.astype(np.uint16) * 257
    assert segmenter(wide).shape == grey.shape
    assert segmenter(np.repeat(wide[..., None], 3, axis=2)).shape == grey.shape


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (33, 31), (400, 90)])
def test_masks_come_at_the_images_own_size(segmenter, size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    mask, probabilities = segmenter(image, probabilities=True)
    assert mask.shape == size
    assert probabilities.shape == (*size, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    assert np.array_equal(probabilities.argmax(-1), mask)


def test_one_pass_gives_masks_at_several_sizes(segmenter, photograph):
    own, square = segmenter.predict(photograph, [(50, 70), (384, 384)])
    assert np.array_equal(own, segmenter(photograph))
    assert square.shape == (384, 384)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.float32), np.zeros((2, 3, 4, 5), np.uint8), np.zeros((0, 3), np.uint8)]
)
def test_what_is_no_image_is_refused(segmenter, wrong):
    with pytest.raises(DataError):
        segmenter(wrong)
