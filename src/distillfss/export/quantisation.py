"""8-bit weights and maps: calibrated on images like those to come, and refused where accuracy suffers.

Which layers bear it depends on the data set. The plans below quantise less and less; the first one that keeps the IoU
is taken. What a layer is, its weights' names say, so nothing here knows the student from inside.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from distillfss.errors import ExportError
from distillfss.export.checking import INT8_POINTS, quality
from distillfss.export.pictures import Example
from distillfss.export.pixels import standardised
from distillfss.export.quiet import quiet
from distillfss.preprocess import at_working_size

if TYPE_CHECKING:
    from distillfss.segmenter import Segmenter

BACKBONE = "backbone."
MOST = 32
"""Images whose maps are measured."""
PERCENTILE = 99.999
"""Of the numbers of a map; what lies outside is cut off. A range to the last outlier costs more IoU."""


@dataclass(frozen=True)
class Plan:
    """What to quantise. ``takes`` is given a convolution's weight and its place in the backbone, 0 to 1; 1 after it."""

    name: str
    takes: Callable[[str, float], bool]


PLANS = (
    Plan("all convolutions", lambda weight, place: True),
    Plan("the backbone's convolutions", lambda weight, place: weight.startswith(BACKBONE)),
    Plan(
        "the backbone's convolutions but the first", lambda weight, place: weight.startswith(BACKBONE) and place > 0.1
    ),
    Plan("the later half of the backbone", lambda weight, place: weight.startswith(BACKBONE) and place > 0.5),
)


def quantised(
    network: onnx.ModelProto,
    segmenter: Segmenter,
    examples: Sequence[Example],
    serve: Callable[[onnx.ModelProto], tuple[onnx.ModelProto, Segmenter]],
    exact: Segmenter,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The whole model with as much in 8 bits as the images allow.

    Parameters
    ----------
    network
        ``pixels`` to ``logits`` in float32.
    segmenter
        The model it was traced from.
    examples
        Images to calibrate on and to judge by.
    serve
        Makes a whole model, and something to run it, of a network.
    exact
        The float32 file, to compare with.
    tell
        Called with what is being done.

    Returns
    -------
    model
        What ``serve`` made of the network that was good enough.
    outcome
        The plan, how many convolutions it quantised, the IoU before and after.

    Raises
    ------
    ExportError
        If every plan loses more than half a point of IoU.
    """
    judged = [example for example in examples if example.mask is not None] or list(examples)
    pixels = [_pixels(example, segmenter.size) for example in _calibrating(examples)]
    tried = []
    for plan in PLANS:
        tell(f"quantising {plan.name}")
        nodes, count = chosen(network, plan)
        if not nodes:
            continue
        model, served = serve(quantised_network(network, nodes, pixels))
        found = quality(served, exact, judged)
        tried.append(f"{plan.name}: {found.lost:.2f}")
        if found.lost <= INT8_POINTS:
            outcome = {"layers": plan.name, "convolutions": count, "images": len(judged), **found.to_dict()}
            return model, outcome
    raise ExportError(
        f"8 bits lose more than {INT8_POINTS} points of IoU on these images, whatever is quantised "
        f"({'; '.join(tried)}). Nothing was written",
        cure="Export with --precision fp16 or fp32, or give more images with --calibrate",
    )


def _calibrating(examples: Sequence[Example]) -> list[Example]:
    """At most ``MOST`` examples, evenly spread, so that labelled and unlabelled ones both count."""
    taken = min(len(examples), MOST)
    return [examples[place * len(examples) // taken] for place in range(taken)]


def _pixels(example: Example, size: int) -> NDArray[np.float32]:
    return at_working_size(example.pixels, size)[None].numpy()


def chosen(network: onnx.ModelProto, plan: Plan) -> tuple[list[str], int]:
    """Nodes to quantise, and how many convolutions are among them.

    With a convolution goes the clipping after it; with those of the backbone, the sums between them, so that maps stay
    8-bit from block to block. Gains of single channels, which the export writes as convolutions, stay as they are:
    there is nothing to save, and what they lead to (norms, sums of squares) wants all digits.
    """
    shapes = {tensor.name: list(tensor.dims) for tensor in network.graph.initializer}
    convolutions = [node for node in network.graph.node if node.op_type == "Conv" and not _is_gain(node, shapes)]
    of_backbone = [node.name for node in convolutions if node.input[1].startswith(BACKBONE)]
    last = max(len(of_backbone) - 1, 1)
    places = {name: place / last for place, name in enumerate(of_backbone)}
    taken = [node for node in convolutions if plan.takes(node.input[1], places.get(node.name, 1.0))]
    outputs = {node.output[0] for node in taken}
    inputs = {node.input[0] for node in taken}
    fixed = {tensor.name for tensor in network.graph.initializer}
    nodes = [node.name for node in taken]
    for node in network.graph.node:
        after = any(name in outputs for name in node.input)
        if node.op_type in ("Clip", "Relu") and node.input[0] in outputs:
            nodes.append(node.name)
        elif node.op_type == "Add" and after and node.output[0] in inputs and not fixed & set(node.input):
            nodes.append(node.name)
            outputs.add(node.output[0])
    return nodes, len(taken)


def _is_gain(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> bool:
    channels, *others = shapes.get(node.input[1], [1])
    return channels > 1 and others == [1, 1, 1]


def _exact(network: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Pixels brought to another range are bytes already: kept as they are, whatever was seen of them."""
    levels = standardised(network)
    if levels is None:
        return {}
    numbers = {"scale": np.array(levels.scale, np.float32), "zero_point": np.array(levels.zero_point, np.uint8)}
    return {levels.name: [numbers]}


class _Reader:
    """Calibration images as ONNX Runtime asks for them."""

    def __init__(self, pixels: Sequence[NDArray[np.float32]]) -> None:
        self._pixels = pixels
        self._images: Iterator[NDArray[np.float32]] = iter(pixels)

    def __len__(self) -> int:
        return len(self._pixels)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._images = iter(self._pixels[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        pixels = next(self._images, None)
        return None if pixels is None else {"pixels": pixels}


def quantised_network(
    network: onnx.ModelProto, nodes: Sequence[str], pixels: Sequence[NDArray[np.float32]]
) -> onnx.ModelProto:
    """The network with these nodes in 8 bits: maps unsigned, weights signed with a scale per channel.

    Parameters
    ----------
    pixels
        Images (1, 3, h, w) at their working sizes, 0 to 255, whose maps decide the ranges.
    """
    from onnxruntime import quantization

    class Reader(_Reader, quantization.CalibrationDataReader):
        """The same with the base class that ONNX Runtime insists on."""

    copy = onnx.ModelProto()
    copy.CopyFrom(network)  # the tool moves the weights of what it is given into a file
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "network.onnx"
        quantization.quantize_static(
            copy,
            path,
            Reader(pixels),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Clip", "Relu", "Add"],
            nodes_to_quantize=list(nodes),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            # image by image: they differ in size, and all maps of all of them would be gigabytes
            extra_options={
                "CalibPercentile": PERCENTILE,
                "CalibStridedMinMax": 1,
                "TensorQuantOverrides": _exact(network),
            },
        )
        quantised = onnx.load(path)
    _spare_the_rest(quantised.graph, set(nodes))
    return quantised


def _spare_the_rest(graph: onnx.GraphProto, nodes: set[str]) -> None:
    """What is computed in float and read in float goes without the 8 bits that another reader of it needs."""
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.name in nodes or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            back = makers.get(name)
            there = makers.get(back.input[0]) if back is not None and back.op_type == "DequantizeLinear" else None
            exact = there.input[0] if there is not None and there.op_type == "QuantizeLinear" else ""
            if exact in makers and makers[exact].name not in nodes:
                node.input[place] = exact
