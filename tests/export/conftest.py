"""Models small enough to be made here, and what they become as ONNX files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from export_helpers import SmallBackbone
from helpers import write_pair
from scenes import square_pair, square_support

from distillfss import FitConfig, Segmenter, fit
from distillfss.model_info import ModelInfo
from distillfss.models.standardize import Standardize, statistics
from distillfss.models.student import Student

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

SIZES = ((96, 96), (70, 130), (150, 101))


@pytest.fixture(scope="session", autouse=True)
def traced_once() -> Iterator[None]:
    """Tracing takes most of an export; the same weights are traced once."""
    from distillfss.export import network

    trace = network.network_model
    known: dict[str, Any] = {}

    def remembered(segmenter: Segmenter) -> Any:
        digest = hashlib.sha256(repr((segmenter.info.backbone, segmenter.never)).encode())
        for part in segmenter.parts:
            for tensor in part.state_dict().values():
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        key = digest.hexdigest()
        if key not in known:
            known[key] = trace(segmenter)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "network_model", remembered)
        yield


@pytest.fixture(scope="session")
def one_class() -> Segmenter:
    """What a short fit gives."""
    return fit(square_support(3, 1, SIZES), FitConfig(size=96, effort=0.3, pool_views=12, distill_batch=4))


@pytest.fixture(scope="session")
def three_classes() -> Segmenter:
    """Three classes; small, with random weights."""
    torch.manual_seed(0)
    backbone = SmallBackbone()
    info = ModelInfo(("class_1", "class_2", "class_3"), backbone.name, "0" * 64, False, 96, summary={"shots": 3})
    standardize = Standardize(backbone.layers)
    standardize.calibrate([backbone(torch.rand(2, 3, 96, 96) * 255)])
    return Segmenter(backbone, standardize, Student(backbone.layers, 3), info, torch.device("cpu"))


@pytest.fixture(scope="session")
def nine_classes() -> Segmenter:
    """So many that only those that are likely somewhere are compared; small, with random weights."""
    torch.manual_seed(2)
    backbone = SmallBackbone()
    names = tuple(f"class_{number}" for number in range(1, 10))
    info = ModelInfo(names, backbone.name, "0" * 64, False, 96)
    standardize = Standardize(backbone.layers)
    standardize.calibrate([backbone(torch.rand(2, 3, 96, 96) * 255)])
    student = Student(backbone.layers, 9)
    student.get_buffer("probe").normal_(std=0.3)
    student.get_buffer("probe")[5:, -1] -= 2  # these win nowhere
    return Segmenter(backbone, standardize, student, info, torch.device("cpu"))


@pytest.fixture(scope="session")
def two_with_details() -> Segmenter:
    """Two classes with details; small, with random weights."""
    torch.manual_seed(1)
    backbone = SmallBackbone()
    info = ModelInfo(("class_1", "class_2"), backbone.name, "0" * 64, False, 96, details=True)
    images = torch.rand(2, 3, 96, 96) * 255
    standardize = Standardize(backbone.layers)
    standardize.calibrate([backbone(images)])
    student = Student(backbone.layers, 2, backbone.fine_channels)
    assert student.detail is not None
    student.detail.calibrate(*(each[0] for each in statistics([[backbone.fine(images)]])))
    torch.nn.init.normal_(student.detail.correct.weight)
    return Segmenter(backbone, standardize, student, info, torch.device("cpu"))


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder of images the model has not seen, of several sizes."""
    folder = tmp_path_factory.mktemp("squares")
    for seed in range(6):
        write_pair(folder, f"square{seed}", *square_pair(50 + seed, SIZES[seed % 3]))
    return folder


@pytest.fixture(scope="session")
def one_class_file(one_class: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distillfss.export.exporting import export_onnx

    path = tmp_path_factory.mktemp("one") / "one.onnx"
    export_onnx(one_class, path)
    return path


@pytest.fixture(scope="session")
def three_classes_file(three_classes: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distillfss.export.exporting import export_onnx

    path = tmp_path_factory.mktemp("three") / "three.onnx"
    export_onnx(three_classes, path)
    return path


@pytest.fixture(scope="session")
def two_with_details_file(two_with_details: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distillfss.export.exporting import export_onnx

    path = tmp_path_factory.mktemp("details") / "details.onnx"
    export_onnx(two_with_details, path)
    return path


@pytest.fixture(scope="session")
def nine_classes_file(nine_classes: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distillfss.export.exporting import export_onnx

    path = tmp_path_factory.mktemp("nine") / "nine.onnx"
    export_onnx(nine_classes, path)
    return path
