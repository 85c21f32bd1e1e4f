"""8 bits: what is quantised, what it costs, and that it is refused where it costs too much."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from export_helpers import picture
from helpers import BrightnessSegmenter
from onnx import numpy_helper, parser

from distillfss import Segmenter, evaluate
from distillfss.errors import ExportError
from distillfss.export import quantisation
from distillfss.export.checking import Quality, quality
from distillfss.export.exporting import export_onnx
from distillfss.export.pictures import Example
from distillfss.export.quantisation import PLANS, Plan, chosen, quantised, quantised_network

# two blocks of a backbone, the second with a sum, and a student that reads both
TEXT = """<ir_version: 10, opset_import: ["" : 18]>
net (float[b, 3, h, w] pixels) => (float[b, 2, h, w] logits)
{
    one = Conv (pixels, backbone_one)
    six = Clip (one, low, high)
    two = Conv (six, backbone_two)
    three = Conv (two, backbone_three)
    sum = Add (two, three)
    four = Conv (sum, backbone_four)
    shifted = Add (four, offset)
    logits = Conv (shifted, student)
}
"""


def network() -> onnx.ModelProto:
    model = parser.parse_model(TEXT)
    weights = {f"backbone_{name}": (3, 3, 1, 1) for name in ("one", "two", "three", "four")} | {"student": (2, 3, 1, 1)}
    random = np.random.default_rng(0)
    for name, shape in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name))
    for name, value in (("low", 0), ("high", 6), ("offset", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    for node in model.graph.node:
        node.name = f"to_{node.output[0]}"
        for place, name in enumerate(node.input):  # as the tracer names them
            if name.startswith("backbone_"):
                node.input[place] = name.replace("_", ".")
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("backbone_", "backbone.")
    return model


def test_a_plan_takes_convolutions_with_what_goes_with_them() -> None:
    nodes, count = chosen(network(), Plan("all", lambda weight, place: True))
    assert count == 5
    # the sum between two convolutions, but not the one of a map and a number
    assert sorted(nodes) == sorted(["to_one", "to_six", "to_two", "to_three", "to_sum", "to_four", "to_logits"])
    nodes, count = chosen(network(), Plan("backbone", lambda weight, place: weight.startswith("backbone.")))
    assert count == 4
    assert "to_logits" not in nodes
    nodes, count = chosen(network(), Plan("late", lambda weight, place: place > 0.5))
    # halves are the backbone's, whatever comes after it
    assert sorted(nodes) == ["to_four", "to_logits", "to_sum", "to_three"]


def test_gains_of_single_channels_are_left_alone() -> None:
    model = network()
    gain = numpy_helper.from_array(np.ones((3, 1, 1, 1), np.float32), "backbone.gain")
    model.graph.initializer.append(gain)
    (last,) = [node for node in model.graph.node if node.name == "to_logits"]
    node = onnx.helper.make_node("Conv", [last.input[0], gain.name], ["gained"], "to_gained", group=3)
    last.input[0] = "gained"
    model.graph.node.insert(len(model.graph.node) - 1, node)
    nodes, count = chosen(model, Plan("all", lambda weight, place: True))
    assert count == 5
    assert "to_gained" not in nodes


def test_plans_take_less_and_less() -> None:
    weights = [("backbone.stem", 0.0), ("backbone.a", 0.3), ("backbone.b", 0.7), ("student.logits", 1.0)]
    taken = [[weight for weight, place in weights if plan.takes(weight, place)] for plan in PLANS]
    assert taken == [
        ["backbone.stem", "backbone.a", "backbone.b", "student.logits"],
        ["backbone.stem", "backbone.a", "backbone.b"],
        ["backbone.a", "backbone.b"],
        ["backbone.b"],
    ]


def test_quality_counts_pixels_against_labels_or_against_the_model() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    image[:, :5, 0] = 200
    image[:2, :, 0] = 150
    truth = np.zeros((10, 10), np.uint8)
    truth[:, :5] = 1
    exact, rough = BrightnessSegmenter(limits=(140,)), BrightnessSegmenter(limits=(190,))
    # the model marks rows 0 and 1 and columns 0 to 4: 60 pixels, 50 of them right; the twin columns 0 to 4 below: 40
    found = quality(rough, exact, [Example(image, truth)])
    assert found.model == pytest.approx(100 * 50 / 60)
    assert found.quantised == pytest.approx(100 * 40 / 50)
    assert found.twins == pytest.approx(100 * 40 / 60)
    assert found.lost == pytest.approx(100 * 50 / 60 - 80)
    found = quality(rough, exact, [Example(image)])
    assert (found.model, found.quantised) == (None, None)
    assert found.lost == pytest.approx(100 - 100 * 40 / 60)
    dark = np.zeros_like(image)
    assert quality(rough, exact, [Example(dark)]).lost == 0


def test_classes_an_image_is_not_annotated_for_count_neither_way() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    image[:, :5, 0], image[:, 5:, 0] = 150, 220
    exact, rough = (
        BrightnessSegmenter(("dim", "bright"), (140, 200)),
        BrightnessSegmenter(("dim", "bright"), (160, 200)),
    )
    # annotated for "bright" alone, which both find; "dim", which the twin loses, may or may not be there
    truth = np.zeros((10, 10), np.uint8)
    truth[:, 5:] = 2
    partly = Example(image, truth, frozenset({2}))
    found = quality(rough, exact, [partly])
    assert (found.model, found.quantised) == (100.0, 100.0)
    found = quality(rough, exact, [Example(image, truth)])
    assert (found.model, found.quantised) == (50.0, 100.0)


def test_the_first_plan_that_holds_is_taken_and_none_is_an_error(
    one_class: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 0.51, 0.5])
    monkeypatch.setattr(quantisation, "quantised_network", lambda network, nodes, pixels: nodes)
    monkeypatch.setattr(quantisation, "quality", lambda *_: Quality(80.0, 80.0 - next(losses), 99.0))
    examples = [Example(picture(40, 40), np.zeros((40, 40), np.uint8))]
    nodes, outcome = quantised(network(), one_class, examples, lambda nodes: (nodes, one_class), one_class)
    assert outcome["layers"] == PLANS[2].name
    assert outcome["lost"] == pytest.approx(0.5)
    assert "to_one" not in nodes
    losses = iter([1.0] * 4)
    with pytest.raises(ExportError, match=r"8 bits lose more than 0\.5 points"):
        quantised(network(), one_class, examples, lambda nodes: (nodes, one_class), one_class)


def test_an_int8_file(one_class: Segmenter, one_class_file: Path, squares: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    report = export_onnx(one_class, path, "int8", calibrate=[squares])
    outcome = report.checks["int8"]
    assert outcome["lost"] <= 0.5
    assert outcome["convolutions"] > 20
    model = onnx.load(path)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["precision"] == "int8"
    assert json.loads(said["checks"])["int8"] == outcome
    stored = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4}
    assert onnx.TensorProto.INT8 in stored
    assert path.stat().st_size < 0.6 * one_class_file.stat().st_size
    # the figures are those an evaluation gives
    wanted, found = (100 * evaluate(Segmenter.load(file), squares).foreground_iou for file in (one_class_file, path))
    assert (wanted, found) == (pytest.approx(outcome["model"]), pytest.approx(outcome["quantised"]))


def test_what_float_hands_to_float_is_not_rounded() -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 18]>
net (float[b, 3, h, w] pixels) => (float[b, 2, h, w] logits, float[b, 3, h, w] root)
{
    positive = Exp (pixels)
    root = Sqrt (positive)
    logits = Conv (positive, weight)
}
""")
    random = np.random.default_rng(0)
    weight = random.normal(size=(2, 3, 1, 1)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    for node in model.graph.node:
        node.name = f"to_{node.output[0]}"
    pixels = random.uniform(0, 4, (1, 3, 8, 8)).astype(np.float32)
    found = quantised_network(model, ["to_logits"], [pixels])
    onnx.checker.check_model(found, full_check=True)
    logits, root = onnxruntime.InferenceSession(found.SerializeToString()).run(None, {"pixels": pixels})
    np.testing.assert_allclose(root, np.exp(pixels / 2), rtol=1e-5)
    exact = np.einsum("oc,bchw->bohw", weight[:, :, 0, 0], np.exp(pixels))
    assert 1e-4 < np.abs(logits - exact).max() < 0.02 * np.abs(exact).max()  # the convolution is in 8 bits
