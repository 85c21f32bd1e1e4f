"""Folding changes the graph, never the numbers."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser

from distillfss.export.simplify import simplified

# the features are read by a 1x1 convolution, by a padded one, and by a norm
TEXT = """<ir_version: 10, opset_import: ["" : 18]>
net (float[batch, 4, height, width] x) => (float[batch, 3, height, width] y, float[batch, 2, height, width] z,
                                           float[batch, 4, height, width] unit)
{
    less = Sub (x, mean)
    standard = Div (less, std)
    y = Conv (standard, narrow, narrow_bias)
    z = Conv <pads = [1, 1, 1, 1]> (standard, wide)
    axis = Constant <value_ints = [1]> ()
    norm = ReduceL2 (standard, axis)
    shape = Shape (standard)
    spread = Expand (norm, shape)
    unit = Div (standard, spread)
}
"""
MEAN, STD = np.array([3.0, -2.0, 0.5, 40.0]), np.array([0.5, 2.0, 1.0, 0.01])


def network() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    tensors = {
        "mean": MEAN.reshape(4, 1, 1),
        "std": STD.reshape(4, 1, 1),
        "narrow": random.normal(size=(3, 4, 1, 1)),
        "narrow_bias": random.normal(size=3),
        "wide": random.normal(size=(2, 4, 3, 3)),
    }
    model = parser.parse_model(TEXT)
    for name, values in tensors.items():
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return onnx.shape_inference.infer_shapes(model, data_prop=True), tensors


def test_numbers_stay_and_operators_go() -> None:
    model, tensors = network()
    lean = simplified(model)
    onnx.checker.check_model(lean, full_check=True)
    kinds = [node.op_type for node in lean.graph.node]
    assert "Sub" not in kinds
    assert kinds.count("Div") == 1  # by the norm
    assert kinds.count("BatchNormalization") == 1
    assert not {"mean", "std", "narrow", "narrow_bias"} & {tensor.name for tensor in lean.graph.initializer}
    x = (np.random.default_rng(1).normal(size=(2, 4, 5, 7)) * STD.reshape(4, 1, 1) + MEAN.reshape(4, 1, 1)).astype(
        np.float32
    )
    # in float64, by the definition
    standard = (x.astype(np.float64) - tensors["mean"]) / tensors["std"]
    y = np.einsum("oc,bchw->bohw", tensors["narrow"][:, :, 0, 0], standard) + tensors["narrow_bias"][:, None, None]
    unit = standard / np.sqrt((standard**2).sum(1, keepdims=True))
    padded = np.pad(standard, ((0, 0), (0, 0), (1, 1), (1, 1)))
    z = sum(
        np.einsum("oc,bchw->bohw", tensors["wide"][:, :, i, j], padded[:, :, i : i + 5, j : j + 7])
        for i in range(3)
        for j in range(3)
    )
    found = onnxruntime.InferenceSession(lean.SerializeToString()).run(None, {"x": x})
    for own, wanted in zip(found, (y, z, unit), strict=True):
        np.testing.assert_allclose(own, wanted, atol=2e-3)


def test_what_is_no_standardisation_is_left_alone() -> None:
    model, _ = network()
    for tensor in model.graph.initializer:
        if tensor.name == "std":  # one number per column, not per channel
            tensor.CopyFrom(numpy_helper.from_array(np.full((1, 1, 7), 2, np.float32), "std"))
    kinds = [node.op_type for node in simplified(model).graph.node]
    assert kinds.count("Sub") == 1
    assert "BatchNormalization" not in kinds


GAINS = """<ir_version: 10, opset_import: ["" : 18]>
net (float[batch, 3, height, width] x, float[1, 3, width] flat) => (
    float[batch, 3, height, width] y, float[batch, 3, height, width] both, float[3, 3, width] other)
{
    scaled = Mul (x, gain)
    y = Add (scaled, offset)
    twice = Mul (x, gain)
    more = Add (twice, offset)
    both = Add (more, twice)
    lifted = Mul (flat, gain)
    other = Add (lifted, offset)
}
"""


def test_gain_and_offset_become_a_convolution_where_nothing_else_reads_the_product() -> None:
    model = parser.parse_model(GAINS)
    random = np.random.default_rng(0)
    gain, offset = (random.normal(size=(3, 1, 1)).astype(np.float32) for _ in range(2))
    for name, values in (("gain", gain), ("offset", offset)):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    lean = simplified(model)
    onnx.checker.check_model(lean, full_check=True)
    kinds = {node.output[0]: node.op_type for node in lean.graph.node}
    assert kinds.pop("y") == "Conv"
    # read twice; and no map of channels
    assert kinds == {"twice": "Mul", "more": "Add", "both": "Add", "lifted": "Mul", "other": "Add"}
    x = random.normal(size=(2, 3, 4, 5)).astype(np.float32)
    flat = random.normal(size=(1, 3, 5)).astype(np.float32)
    found = onnxruntime.InferenceSession(lean.SerializeToString()).run(None, {"x": x, "flat": flat})
    wanted = (gain * x + offset, 2 * gain * x + offset, gain * flat + offset)
    for own, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own, right, atol=1e-6)


SHAPES = """<ir_version: 10, opset_import: ["" : 18]>
net (float[batch, 12, height, width] x) => (
    float[batch, 3, 4, height, width] parted, float[batch, 3, rest] flat, float[batch, 12, height, width] normed)
{
    sizes = Shape (x)
    batch_1 = Slice (sizes, zero, one)
    area = Slice (sizes, two, four)
    three_four = Constant <value_ints = [3, 4]> ()
    by_parts = Concat <axis = 0> (batch_1, three_four, area)
    parted = Reshape <allowzero = 1> (x, by_parts)
    pixels = ReduceProd (area)
    fours = Mul (pixels, four)
    three = Constant <value_ints = [3]> ()
    by_rows = Concat <axis = 0> (batch_1, three, fours)
    flat = Reshape (x, by_rows)
    by_groups = Constant <value_ints = [0, 2, -1]> ()
    grouped = Reshape (x, by_groups)
    ones = Constant <value_floats = [1.0, 1.0]> ()
    zeros = Constant <value_floats = [0.0, 0.0]> ()
    apart = InstanceNormalization <epsilon = 0.00001> (grouped, ones, zeros)
    normed = Reshape (apart, sizes)
}
"""


def test_shapes_that_follow_are_no_longer_reckoned() -> None:
    model = parser.parse_model(SHAPES)
    for name, value in (("zero", 0), ("one", 1), ("two", 2), ("four", 4)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    for node in list(model.graph.node):  # the exporter's constants are tensors of the file
        if node.output[0] in ("by_groups",):
            model.graph.initializer.append(numpy_helper.from_array(np.array([0, 2, -1]), node.output[0]))
            model.graph.node.remove(node)
    symbols = {"grouped": ["batch", 2, "some"], "apart": ["batch", 2, "some"]}
    for name, shape in symbols.items():
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    lean = simplified(model)
    onnx.checker.check_model(lean, full_check=True)
    kinds = [node.op_type for node in lean.graph.node]
    # rows and columns at new places are two lengths to find out, so that shape is still put together
    parted = ["Shape", "Slice", "Slice", "Constant", "Concat", "Reshape"]
    flat = ["Reshape"]
    normed = ["Reshape", "Constant", "Constant", "InstanceNormalization", "Reshape"]
    assert sorted(kinds) == sorted([*parted, *flat, *normed])
    x = np.random.default_rng(0).normal(size=(2, 12, 5, 7)).astype(np.float32) + 3
    found = onnxruntime.InferenceSession(lean.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(found[0], x.reshape(2, 3, 4, 5, 7))
    np.testing.assert_array_equal(found[1], x.reshape(2, 3, 140))
    groups = x.astype(np.float64).reshape(2, 2, -1)
    wanted = (groups - groups.mean(2, keepdims=True)) / np.sqrt(groups.var(2, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found[2], wanted.reshape(x.shape), atol=1e-5)
