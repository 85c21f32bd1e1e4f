"""What the exporter leaves to be done: the standardisation folded away, copies that broadcasting makes needless.

Everything is found by the shape of the graph, not by the names of the student's parts, which may change.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_BROADCASTING = ("Add", "Sub", "Mul", "Div")


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function in fewer operators."""
    lean = onnx.ModelProto()
    lean.CopyFrom(model)
    fold_standardisation(lean.graph)
    drop_expansions(lean.graph)
    convolve_gains(lean.graph)
    fix_shapes(lean.graph)
    group_in_place(lean.graph)
    drop_unused(lean.graph)
    return lean


def fold_standardisation(graph: onnx.GraphProto) -> None:
    """``(x - mean) / std`` per channel, with fixed numbers, becomes part of the 1x1 convolutions that follow.

    A convolution with padding cannot take in the mean (its zeros are standardised ones), and neither can a norm; what
    these read becomes one operator in place of two.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    users = _users(graph)
    for place, node in reversed(list(enumerate(graph.node))):
        after = users[node.output[0]]
        if node.op_type != "Sub" or len(after) != 1 or after[0].op_type != "Div":
            continue
        divide = after[0]
        if divide.input[0] != node.output[0]:
            continue
        mean, std = (_per_channel(tensors.get(part.input[1])) for part in (node, divide))
        if mean is None or std is None or len(mean) != len(std):
            continue
        for user in users[divide.output[0]]:
            if _takes_any_channel_scale(user, tensors):
                user.input[0] = node.input[0]
                _absorb(graph, user, tensors, mean, std)
        if any(divide.output[0] in user.input for user in graph.node):
            graph.node.insert(place, _normalisation(graph, node.input[0], divide.output[0], mean, std))
            divide.output[0] += "/unused"


def drop_expansions(graph: onnx.GraphProto) -> None:
    """An operand that is spread to the other's shape before a sum or product: the operator does that by itself."""
    shapes = {info.name: _shape(info) for info in (*graph.value_info, *graph.input, *graph.output)}
    expansions = {node.output[0]: node for node in graph.node if node.op_type == "Expand"}
    for node in graph.node:
        if node.op_type not in _BROADCASTING:
            continue
        for own, other in ((0, 1), (1, 0)):
            name = node.input[own]
            shape = shapes.get(name)
            if (
                name in expansions
                and node.input[other] not in expansions
                and shape
                and shape == shapes.get(node.input[other])
            ):
                node.input[own] = expansions[name].input[0]


def convolve_gains(graph: onnx.GraphProto) -> None:
    """A norm's gain and offset, ``x * a + b`` with numbers per channel, as one convolution of every channel by itself.

    ONNX Runtime keeps maps in blocks of channels between convolutions, merges a convolution with the ReLU after it, and
    resizes in blocks too; a product and a sum cost it the way out of that layout and back again.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    ranks = {info.name: len(info.type.tensor_type.shape.dim) for info in graph.value_info}
    users = _users(graph)
    for multiply in list(graph.node):
        after = users[multiply.output[0]] if multiply.op_type == "Mul" else []
        if len(after) != 1 or after[0].op_type != "Add" or after[0].input[0] != multiply.output[0]:
            continue
        gain, offset = (_per_channel(tensors.get(node.input[1])) for node in (multiply, after[0]))
        if gain is None or offset is None or len(gain) == 1 or len(gain) != len(offset):
            continue
        if ranks.get(multiply.output[0]) != 4:
            continue
        names: list[str] = []
        for values, shape in ((gain, (-1, 1, 1, 1)), (offset, (-1,))):
            names.append(f"{multiply.output[0]}/{'gain' if not names else 'offset'}")
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float32).reshape(shape), names[-1]))
        after[0].CopyFrom(
            onnx.helper.make_node(
                "Conv",
                [multiply.input[0], *names],
                list(after[0].output),
                after[0].name,
                group=len(gain),
                kernel_shape=[1, 1],
            )
        )


def fix_shapes(graph: onnx.GraphProto) -> None:
    """The new shape of a ``Reshape`` as numbers, where no more than one length has to be found out.

    A length that stands at the same place before and after is copied (0), the one that does not follows from the rest
    (-1); so nothing is left to be reckoned from the sizes of the image.
    """
    shapes = {info.name: _shape(info) for info in (*graph.value_info, *graph.input, *graph.output)}
    fixed = {tensor.name for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Reshape"]:
        before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
        if node.input[1] in fixed or not before or not after:
            continue
        lengths = [
            length if isinstance(length, int) else 0 if before[place : place + 1] == (length,) else -1
            for place, length in enumerate(after)
        ]
        if lengths.count(-1) <= 1:
            node.input[1] = f"{node.output[0]}/shape"
            del node.attribute[:]  # such as allowzero, which takes 0 for a length
            graph.initializer.append(numpy_helper.from_array(np.array(lengths, np.int64), node.input[1]))


def group_in_place(graph: onnx.GraphProto) -> None:
    """Norms of groups, written as those of single channels: (B, C, h, w) becomes (B, G, C / G * h, w) for them.

    The exporter makes it (B, G, C / G * h * w), and then has to look up what it was before to get back.
    """
    makers = {name: node for node in graph.node for name in node.output}
    shapes = {info.name: _shape(info) for info in graph.value_info}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    users = _users(graph)
    flat: set[str] = set()
    for norm in [node for node in graph.node if node.op_type == "InstanceNormalization"]:
        before, after = makers.get(norm.input[0]), users[norm.output[0]]
        if before is None or before.op_type != "Reshape" or [node.op_type for node in after] != ["Reshape"]:
            continue
        shape = shapes.get(before.input[0], ())
        sizes = makers.get(after[0].input[1])
        back = sizes is not None and sizes.op_type == "Shape" and sizes.input[0] == before.input[0]
        grouped = tensors.get(before.input[1])
        if not back or grouped is None or not shape or len(shape) != 4 or not isinstance(shape[1], int):
            continue
        groups = int(numpy_helper.to_array(grouped)[1])
        for node, channels in ((before, groups), (after[0], shape[1])):
            node.input[1] = f"{node.output[0]}/shape"
            del node.attribute[:]
            graph.initializer.append(numpy_helper.from_array(np.array([0, channels, -1, 0]), node.input[1]))
        flat |= {before.output[0], norm.output[0]}
    known = [info for info in graph.value_info if info.name not in flat]
    del graph.value_info[:]
    graph.value_info.extend(known)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and tensors nothing depends on."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(_read_by(node))
    kept.reverse()
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensors)
    infos = [info for info in graph.value_info if info.name in wanted]
    del graph.value_info[:]
    graph.value_info.extend(infos)


def _read_by(node: onnx.NodeProto) -> set[str]:
    """Names a node reads, those of its subgraphs among them."""
    names = set(node.input)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for part in inner.node:
                names |= _read_by(part)
            names |= {output.name for output in inner.output}
    return names


def _users(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    return users


def _per_channel(tensor: onnx.TensorProto | None) -> NDArray[np.float64] | None:
    """The numbers of a tensor (C, 1, 1), None if it is none."""
    if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
        return None
    dims = list(tensor.dims)
    if len(dims) < 3 or dims[-2:] != [1, 1] or any(length != 1 for length in dims[:-3]):
        return None
    return numpy_helper.to_array(tensor).astype(np.float64).ravel()


def _takes_any_channel_scale(node: onnx.NodeProto, tensors: dict[str, onnx.TensorProto]) -> bool:
    """Whether this is a convolution without padding that mixes all channels, with weights in the file."""
    if node.op_type != "Conv" or any(name and name not in tensors for name in node.input[1:]):
        return False
    settings = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    padded = any(settings.get("pads", ())) or settings.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    return settings.get("group", 1) == 1 and not padded


def _absorb(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    tensors: dict[str, onnx.TensorProto],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
) -> None:
    """Give a convolution the weights and bias that do the standardisation as well."""
    weight = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64) / std[:, None, None]
    bias = -(weight.sum((2, 3)) @ mean)
    if len(node.input) > 2 and node.input[2]:
        bias = bias + numpy_helper.to_array(tensors[node.input[2]])
    del node.input[2:]
    name = node.input[1] + "/standardised"
    node.input[1] = name
    node.input.append(name + "/bias")
    for values, called in ((weight, name), (bias, name + "/bias")):
        tensors[called] = numpy_helper.from_array(values.astype(np.float32), called)
        graph.initializer.append(tensors[called])


def _normalisation(
    graph: onnx.GraphProto, source: str, target: str, mean: NDArray[np.float64], std: NDArray[np.float64]
) -> onnx.NodeProto:
    """``x / std - mean / std`` as one operator."""
    numbers = {"scale": 1 / std, "shift": -mean / std, "zero": np.zeros_like(std), "one": np.ones_like(std)}
    names = []
    for part, values in numbers.items():
        names.append(f"{target}/{part}")
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), names[-1]))
    return onnx.helper.make_node("BatchNormalization", [source, *names], [target], f"{target}/standardise", epsilon=0.0)


def _shape(info: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    """Lengths and names of axes, None if one has neither."""
    dims = [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim]
    return tuple(dims) if dims and all(dims) else None
