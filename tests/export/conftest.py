"""Models small enough to be fitted here, and what they become as ONNX files."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import write_pair
from scenes import square_pair, square_support

from distillfss import FitConfig, Segmenter, fit

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

CONFIG = FitConfig(size=96, effort=0.3, pool_views=12, distill_batch=4)
SIZES = ((96, 96), (70, 130), (150, 101))


@pytest.fixture(scope="session")
def one_class() -> Segmenter:
    return fit(square_support(3, 1, SIZES), CONFIG)


@pytest.fixture(scope="session")
def three_classes() -> Segmenter:
    return fit(square_support(3, 3, SIZES), FitConfig(size=96, effort=0.1, pool_views=6, distill_batch=3))


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
