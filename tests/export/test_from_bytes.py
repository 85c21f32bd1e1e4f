"""From bytes to what the first convolution reads, in float and in 8 bits."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from distillfss.export.pixels import Levels, on_bytes, standardised
from distillfss.export.quantisation import Plan, chosen, quantised_network
from distillfss.export.wide import widened

TEXT = """<ir_version: 10, opset_import: ["" : 18]>
net (float[batch, 3, height, width] pixels) => (float[batch, 5, rows, columns] y, int64[1] tall)
{
    less = Sub (pixels, mean)
    standard = Div (less, std)
    first = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (standard, weight, bias)
    six = Clip (first, low, high)
    y = Conv (six, second)
    tall = Shape <start = 2, end = 3> (pixels)
}
"""
IMAGES = np.random.default_rng(3).integers(0, 256, (2, 12, 16, 3), np.uint8)


def network(mean: float | list[float] = 127.0, std: float | list[float] = 128.0) -> onnx.ModelProto:
    model = parser.parse_model(TEXT)
    random = np.random.default_rng(0)
    values = {
        "mean": np.array(mean) if isinstance(mean, float) else np.reshape(mean, (3, 1, 1)),
        "std": np.array(std) if isinstance(std, float) else np.reshape(std, (3, 1, 1)),
        "weight": random.normal(size=(7, 3, 3, 3)),
        "bias": random.normal(size=7),
        "second": random.normal(size=(5, 7, 1, 1)),
        "low": np.array(0.0),
        "high": np.array(6.0),
    }
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    for node in model.graph.node:
        node.name = f"to_{node.output[0]}"
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"pixels": images})


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("mean", "std", "levels"),
    [
        (127.0, 128.0, Levels("standard", 1 / 128, 127)),
        (0.0, 255.0, Levels("standard", 1 / 255, 0)),
        (127.5, 127.5, None),  # no byte stands for zero
        (256.0, 128.0, None),
        ([120.0, 115.0, 104.0], [58.0, 57.0, 57.0], None),
    ],
)
def test_bytes_give_what_their_levels_give(
    mean: float | list[float], std: float | list[float], levels: Levels | None
) -> None:
    model = network(mean, std)
    assert standardised(model) == levels
    wanted, tall = run(model, IMAGES.transpose(0, 3, 1, 2).astype(np.float32))
    bare = on_bytes(model)
    found = run(bare, IMAGES)
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    assert found[1] == tall == 12
    assert [kinds(bare).count(kind) for kind in ("Sub", "Div", "DequantizeLinear")] == (
        [1, 1, 0] if levels is None else [0, 0, 1]
    )


def test_what_takes_from_a_number_is_no_standardisation() -> None:
    model = network()
    (subtract,) = (node for node in model.graph.node if node.op_type == "Sub")
    subtract.input[:] = [subtract.input[1], subtract.input[0]]
    assert standardised(model) is None


def test_in_8_bits_pixels_stay_the_bytes_they_are_and_four_are_read_at_once() -> None:
    levels = [image[None].transpose(0, 3, 1, 2).astype(np.float32) for image in IMAGES]
    # images of which a range would be narrower than that of bytes
    seen = [np.clip(image, 60, 180) for image in levels]
    model = network()
    nodes, _ = chosen(model, Plan("all", lambda weight, place: True))
    quantised = quantised_network(model, nodes, seen)
    wanted = run(quantised, np.concatenate(levels))[0]
    wide = on_bytes(quantised)
    np.testing.assert_array_equal(run(wide, IMAGES)[0], wanted)
    (first,) = (node for node in wide.graph.node if node.name == "to_first")
    (weight,) = (node for node in wide.graph.node if node.output[0] == first.input[1])
    shapes = {tensor.name: list(tensor.dims) for tensor in wide.graph.initializer}
    assert shapes[weight.input[0]] == [14, 12, 3, 2]
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in wide.graph.initializer}
    # nothing makes bytes of bytes
    (source,) = (node for node in wide.graph.node if node.output[0] == "standard")
    assert (kept[source.input[1]], kept[source.input[2]]) == (np.float32(1 / 128), 127)
    assert kinds(wide).count("QuantizeLinear") == kinds(quantised).count("QuantizeLinear") - 1


def test_another_stride_is_left_as_it_is() -> None:
    model = network()
    (first,) = (node for node in model.graph.node if node.name == "to_first")
    next(attribute for attribute in first.attribute if attribute.name == "strides").ints[:] = [1, 1]
    nodes, _ = chosen(model, Plan("all", lambda weight, place: True))
    levels = [image[None].transpose(0, 3, 1, 2).astype(np.float32) for image in IMAGES]
    quantised = quantised_network(model, nodes, levels)
    bare = on_bytes(quantised)
    np.testing.assert_array_equal(run(bare, IMAGES)[0], run(quantised, np.concatenate(levels))[0])
    assert "Reshape" not in kinds(bare)


@pytest.mark.parametrize(("size", "left", "right"), [(3, 1, 1), (3, 0, 1), (5, 2, 2), (7, 3, 3), (2, 0, 0)])
def test_widened_weights_give_the_same_sums(size: int, left: int, right: int) -> None:
    random = np.random.default_rng(size)
    weight = random.integers(-127, 128, (4, 3, 1, size), np.int8)
    row = random.integers(-128, 128, (3, 24))
    padded = np.pad(row, ((0, 0), (left, right)))
    wanted = np.array(
        [[(weight[o, :, 0] * padded[:, 2 * i : 2 * i + size]).sum() for i in range(12)] for o in range(4)]
    )
    wide, before, after = widened(weight, left)
    fours = np.pad(row.T.reshape(6, 12), ((before, after), (0, 0)))  # as in memory, pixel by pixel
    found = np.array([[(wide[o, :, 0].T * fours[i : i + wide.shape[3]]).sum() for i in range(6)] for o in range(8)])
    np.testing.assert_array_equal(found.reshape(2, 4, 6).transpose(1, 2, 0).reshape(4, 12), wanted)
