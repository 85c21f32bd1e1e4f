"""The first convolution in 8 bits, of four pixels side by side at a time.

Kernels for 8 bits read channels by the four; with three they fall back to a way that takes twice as long and more. In
memory, four pixels of three channels are one of twelve, and two of n channels one of 2 n. So a convolution of every
second pixel becomes one with twelve channels in and 2 n out, whose numbers are the same to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

PIXELS, STRIDE = 4, 2
AT_ONCE = PIXELS // STRIDE
"""Columns of the result that are computed as one."""
TO_PLANES, TO_PIXELS = [0, 3, 1, 2], [0, 2, 3, 1]


def widened(weight: NDArray[np.int8], left: int) -> tuple[NDArray[np.int8], int, int]:
    """Weights (O, C, k, l) of columns two apart as ones (2 O, 4 C, k, l') of four columns at a time.

    Parameters
    ----------
    weight
        Of the convolution.
    left
        Columns of padding before the first.

    Returns
    -------
    weights
        First those of even columns of the result, then those of odd ones; of the channels, those of the first of four
        pixels come first.
    before, after
        Fours of columns of padding.
    """
    channels_out, channels_in, rows, columns = weight.shape
    before = -(-left // PIXELS)
    after = (STRIDE * (AT_ONCE - 1) + columns - 1 - left) // PIXELS
    wide = np.zeros((AT_ONCE, channels_out, PIXELS, channels_in, rows, before + after + 1), weight.dtype)
    for place in range(AT_ONCE):
        for column in range(columns):
            four, pixel = divmod(STRIDE * place + column - left, PIXELS)
            wide[place, :, pixel, :, :, before + four] = weight[..., column]
    return wide.reshape(AT_ONCE * channels_out, PIXELS * channels_in, rows, -1), before, after


@dataclass(frozen=True)
class _First:
    """A convolution in 8 bits as ONNX writes it: of numbers made of bytes, its result made bytes again."""

    dequantise: onnx.NodeProto
    weight: onnx.NodeProto
    bias: onnx.NodeProto
    conv: onnx.NodeProto
    between: tuple[onnx.NodeProto, ...]
    quantise: onnx.NodeProto

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right."""
        top, left, bottom, right = _settings(self.conv).get("pads", (0, 0, 0, 0))
        return top, left, bottom, right

    @classmethod
    def found(cls, graph: onnx.GraphProto, seen: str) -> _First | None:
        """Where ``seen`` goes into one convolution of every second pixel, all of whose numbers are in the file."""
        makers = {name: node for node in graph.node for name in node.output}
        fixed = {tensor.name for tensor in graph.initializer}
        chain = []
        name = seen
        while len(readers := [node for node in graph.node if name in node.input]) == 1:
            chain.append(readers[0])
            name = readers[0].output[0]
            if readers[0].op_type not in ("Conv", "Clip", "Relu"):
                break
        kinds = [node.op_type for node in chain]
        if len(kinds) < 2 or kinds[0] != "Conv" or kinds[-1] != "QuantizeLinear" or kinds.count("Conv") > 1:
            return None
        conv, *between, quantise = chain
        settings = _settings(conv)
        parts = [makers[name] for name in conv.input[1:] if name in makers]
        fits = (
            len(parts) == 2
            and all(part.op_type == "DequantizeLinear" and fixed.issuperset(part.input) for part in parts)
            and list(settings.get("strides", ())) == [STRIDE, STRIDE]
            and set(settings.get("dilations", [1])) == {1}
            and settings.get("group", 1) == 1
            and settings.get("auto_pad", b"NOTSET") == b"NOTSET"
        )
        if not fits:
            return None
        weight, bias = parts
        return cls(makers[seen], weight, bias, conv, tuple(between), quantise)


def widen_first(graph: onnx.GraphProto, pixels: str, seen: str) -> None:
    """Change a graph where a convolution in 8 bits reads ``seen``, which is made of ``pixels`` (B, h, w, C).

    Nothing happens where it goes on in another way, or where the result is not half as wide as the pixels. The width
    has to be a multiple of four.
    """
    first = _First.found(graph, seen)
    if first is None:
        return
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weight = tensors[first.weight.input[0]]
    top, left, bottom, right = first.pads
    if left + right - weight.shape[3] not in (-2, -1):
        return
    wide, before, after = widened(weight, left)

    def constant(name: str, values: NDArray[Any]) -> str:
        graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    conv, quantise = first.conv, first.quantise
    for part, values in ((first.weight, wide), (first.bias, np.tile(tensors[first.bias.input[0]], AT_ONCE))):
        numbers = [values, *(np.tile(tensors[name], AT_ONCE) for name in part.input[1:])]
        names = [f"{name}/of_{AT_ONCE}" for name in part.input]
        part.input[:] = [constant(name, value) for name, value in zip(names, numbers, strict=True)]
    by_four, result = f"{pixels}/fours", quantise.output[0]
    planes, both, in_pairs, in_ones = f"{by_four}/planes", f"{result}/both", f"{result}/pairs", f"{result}/ones"
    of_fours = constant(f"{by_four}/shape", np.array([0, 0, -1, wide.shape[1]]))
    of_ones = constant(f"{in_ones}/shape", np.array([0, 0, -1, len(weight)]))
    conv.CopyFrom(
        helper.make_node(
            "Conv",
            list(conv.input),
            list(conv.output),
            conv.name,
            strides=[STRIDE, 1],
            pads=[top, before, bottom, after],
            kernel_shape=list(wide.shape[2:]),
        )
    )
    ahead = [
        helper.make_node("Reshape", [pixels, of_fours], [by_four], by_four),
        helper.make_node("Transpose", [by_four], [planes], planes, perm=TO_PLANES),
    ]
    behind = [
        helper.make_node("Transpose", [both], [in_pairs], in_pairs, perm=TO_PIXELS),
        helper.make_node("Reshape", [in_pairs, of_ones], [in_ones], in_ones),
        helper.make_node("Transpose", [in_ones], [result], f"{result}/planes", perm=TO_PLANES),
    ]
    first.dequantise.input[0] = planes
    quantise.output[0] = both
    nodes = list(graph.node)
    start, end = (next(i for i, node in enumerate(nodes) if node.output[0] == name) for name in (seen, both))
    nodes = [*nodes[:start], *ahead, *nodes[start : end + 1], *behind, *nodes[end + 1 :]]
    stale = {
        name for node in (first.dequantise, first.weight, first.bias, conv, *first.between) for name in node.output
    }
    known = [info for info in graph.value_info if info.name not in stale]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.value_info.extend(known)


def _settings(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
