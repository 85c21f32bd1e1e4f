"""The network's own beginning: what it makes of the levels of pixels, which are bytes.

``(x - m) / s`` with one m, a whole number of 0 to 255, and one s is how bytes stand for other numbers wherever 8 bits
are computed with: one operator in place of three, and none where a convolution in 8 bits comes next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from distillfss.export.simplify import drop_unused
from distillfss.export.wide import widen_first


@dataclass(frozen=True)
class Levels:
    """``name = scale * (pixels - zero_point)``: a tensor that is a byte per number already."""

    name: str
    scale: float
    zero_point: int


def standardised(network: onnx.ModelProto) -> Levels | None:
    """The tensor of a network that is its pixels brought to another range, None if they go another way."""
    (source,) = network.graph.input
    readers = _readers(network.graph, source.name)
    if [node.op_type for node in readers if node.op_type != "Shape"] != ["Sub"]:
        return None
    (subtract,) = (node for node in readers if node.op_type == "Sub")
    divides = _readers(network.graph, subtract.output[0])
    if len(divides) != 1 or divides[0].op_type != "Div":
        return None
    tensors = {tensor.name: tensor for tensor in network.graph.initializer}
    shift, divisor = (_number(tensors.get(node.input[1])) for node in (subtract, divides[0]))
    # of two that are equal, what is taken from is the pixels
    in_order = subtract.input[0] == source.name and divides[0].input[0] == subtract.output[0]
    if not in_order or shift is None or not divisor or shift not in range(256):
        return None
    return Levels(divides[0].output[0], 1 / divisor, int(shift))


def on_bytes(network: onnx.ModelProto) -> onnx.ModelProto:
    """A network of ``pixels`` float32 (B, 3, h, w), 0 to 255, as one of ``pixels`` uint8 (B, h, w, 3)."""
    whole = onnx.ModelProto()
    whole.CopyFrom(network)
    graph = whole.graph
    (source,) = graph.input
    planes, levels = f"{source.name}/planes", standardised(network)
    first = [helper.make_node("Transpose", [source.name], [planes], planes, perm=[0, 3, 1, 2])]
    if levels is None:
        real = f"{source.name}/real"
        first.append(helper.make_node("Cast", [planes], [real], real, to=onnx.TensorProto.FLOAT))
    else:
        real = levels.name
        numbers = {"scale": np.float32(levels.scale), "zero_point": np.uint8(levels.zero_point)}
        names = [f"{source.name}/{kind}" for kind in numbers]
        graph.initializer.extend(map(numpy_helper.from_array, map(np.array, numbers.values()), names))
        first.append(helper.make_node("DequantizeLinear", [planes, *names], [real], f"{source.name}/standardise"))
    kept = [node for node in graph.node if levels is None or levels.name not in node.output]
    for node in kept:
        read = planes if node.op_type == "Shape" or levels is not None else real
        node.input[:] = [read if name == source.name else name for name in node.input]
    del graph.node[:]
    graph.node.extend([*first, *kept])
    batch, _, *size = (dim.dim_param or dim.dim_value for dim in source.type.tensor_type.shape.dim)
    source.CopyFrom(helper.make_tensor_value_info(source.name, onnx.TensorProto.UINT8, [batch, *size, 3]))
    if levels is not None:
        _not_quantised_again(graph, levels)
    drop_unused(graph)
    if levels is not None:
        widen_first(graph, source.name, levels.name)
        drop_unused(graph)
    return whole


def _not_quantised_again(graph: onnx.GraphProto, levels: Levels) -> None:
    """Where a network in 8 bits makes bytes of what was bytes before, in the same way: read it as it was."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for quantise in _readers(graph, levels.name):
        if quantise.op_type != "QuantizeLinear":
            continue
        scale, zero_point = (tensors[name] for name in quantise.input[1:])
        if scale == np.float32(levels.scale) and zero_point == levels.zero_point:
            for again in _readers(graph, quantise.output[0]):
                _rename(graph, again.output[0], levels.name)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Whoever reads one tensor reads another."""
    for node in _readers(graph, old):
        node.input[:] = [new if name == old else name for name in node.input]


def _readers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if name in node.input]


def _number(tensor: onnx.TensorProto | None) -> float | None:
    """The only number of a tensor, None if there are more."""
    if (
        tensor is None
        or tensor.data_type != onnx.TensorProto.FLOAT
        or len(values := numpy_helper.to_array(tensor).ravel()) != 1
    ):
        return None
    return float(values[0])
