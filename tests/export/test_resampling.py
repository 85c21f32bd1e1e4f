"""The resize inside the graph is PyTorch's, to the last bit; the working size is ``geometry.working_size``."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import inliner, parser
from pictures import random_rgb

from distillfss.export.resampling import DOMAIN, FUNCTIONS
from distillfss.geometry import working_size
from distillfss.preprocess import at_working_size

HEADER = f'<ir_version: 10, opset_import: ["" : 18, "{DOMAIN}" : 1]>'
RESIZE = f"""{HEADER}
resize (uint8[batch, height, width, 3] images, int64[2] target) => (float[batch, 3, rows, columns] pixels)
{{
    own = Shape <start = 1, end = 3> (images)
    pixels = {DOMAIN}.to_working_size (images, own, target)
}}
"""
SIZE = f"""{HEADER}
size (int64[2] own, double size) => (int64[2] target)
{{
    target = {DOMAIN}.working_size (own, size)
}}
"""


def model(text: str) -> onnx.ModelProto:
    whole = parser.parse_model(text)
    whole.functions.extend(parser.parse_function(function) for function in FUNCTIONS)
    return inliner.inline_local_functions(whole)


@pytest.fixture(scope="module")
def resize() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model(RESIZE).SerializeToString())


@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (2, 700), (37, 51), (64, 1000), (96, 96), (200, 300), (353, 352), (500, 500), (701, 293), (1234, 987)],
)
@pytest.mark.parametrize("size", [64, 384])
def test_bytes_become_the_same_levels(resize: onnxruntime.InferenceSession, height: int, width: int, size: int) -> None:
    images = np.stack([random_rgb(height, width, seed) for seed in (1, 2)])
    wanted = torch.stack([at_working_size(image, size) for image in images]).numpy()
    (found,) = resize.run(None, {"images": images, "target": np.array(wanted.shape[2:])})
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


def test_smooth_pictures_too(resize: onnxruntime.InferenceSession) -> None:
    """Noise hides what happens at edges and in gradients."""
    rows, columns = np.indices((405, 610))
    image = np.stack([rows * 255 // 404, columns * 255 // 609, ((rows // 40 + columns // 40) % 2) * 255], -1)
    image = image.astype(np.uint8)
    wanted = at_working_size(image, 256).numpy()
    (found,) = resize.run(None, {"images": image[None], "target": np.array(wanted.shape[1:])})
    np.testing.assert_array_equal(found[0], wanted)


def test_the_working_size_of_every_shape() -> None:
    session = onnxruntime.InferenceSession(model(SIZE).SerializeToString())
    random = np.random.default_rng(0)
    shapes = random.integers(1, 5000, (300, 2)).tolist()
    # exactly between two multiples of 32, at both ends of the clipped aspects, and beyond
    shapes += [[1, 1], [1, 16], [16, 1], [1, 17], [5000, 1], [400, 400], [529, 625], [625, 529], [20000, 20000]]
    for height, width in shapes:
        for size in (64, 384, 400, 1000, 2048):
            (found,) = session.run(None, {"own": np.array([height, width]), "size": np.array(size, np.float64)})
            assert tuple(found) == working_size(height, width, size), (height, width, size)


def test_openvino_computes_the_same() -> None:
    """It ignores the antialiasing of ONNX's own Resize, which is why that is not used."""
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model(RESIZE).SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for height, width in ((353, 352), (701, 293), (60, 90)):
        image = random_rgb(height, width)
        wanted = at_working_size(image, 128).numpy()
        found = compiled({"images": image[None], "target": np.array(wanted.shape[1:])})[0][0]
        # its float64 is float32, so a weight may be rounded to the next of its 2^14 steps or so
        assert np.abs(found - wanted).max() <= 1
        assert (found != wanted).mean() < 1e-3
