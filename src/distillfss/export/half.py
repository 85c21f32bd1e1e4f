"""Weights in half precision: half the file, the same speed.

Only what is stored is halved. Every weight is followed by a cast to float32, which runtimes do once, when they load the
file, or fold into kernels of their own (OpenVINO, GPUs). Sums are therefore as exact as ever, and a processor without
half-precision arithmetic is not slowed down by casting maps back and forth.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from distillfss.errors import ExportError

LEAST = 8192
"""Tensors of fewer numbers stay as they are: all of them are a few hundredths of a file, among them scales, offsets and
what draws details, where the last digits matter most."""


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with large float32 tensors stored as float16.

    Raises
    ------
    ExportError
        If a weight is too large for float16.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    casts = []
    for tensor in halved.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < LEAST:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise ExportError(
                f"{tensor.name} holds weights that half precision cannot", cure="Export with --precision fp32"
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], f"{name}/cast", to=onnx.TensorProto.FLOAT))
    nodes = list(halved.graph.node)
    del halved.graph.node[:]
    halved.graph.node.extend([*casts, *nodes])
    return halved
