"""The part of the graph that was learnt: PyTorch's own exporter traces it, so it follows the student as it changes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import onnx
import torch
from torch import Tensor, nn

from distillfss.errors import ExportError
from distillfss.export.format import IR_VERSION, OPSET
from distillfss.export.quiet import quiet
from distillfss.geometry import GRID
from distillfss.models.classes import merge_classes
from distillfss.models.composite import draws_details
from distillfss.models.lean import LeanStudent
from distillfss.models.standardize import Standardize
from distillfss.models.student import Student

if TYPE_CHECKING:
    from distillfss.segmenter import Segmenter

LONGEST = 256
"""Bound of every open axis, in images or in steps of 32 pixels; the exporter proves more about bounded ones."""
EXAMPLE = (2, 3, 5 * GRID, 7 * GRID)
"""What the network is traced with: every axis of another length, none of length 1, which would be taken for fixed."""


class Network(nn.Module):
    """What ``Segmenter.logits`` computes of pixels at their working size."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.backbone, standardize, student = segmenter.parts
        self.head = shipped_head(standardize, student)
        self.details = draws_details(student)
        self.never = segmenter.never

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) RGB, 0 to 255, to merged class logits (B, n + 1, h', w')."""
        if not self.details:
            return merge_classes(self.head(self.backbone(pixels)), self.never)
        fine = self.backbone.fine(pixels)
        return merge_classes(self.head(self.backbone.from_fine(fine), fine), self.never)


class Head(nn.Module):
    """A student without a lean form, its standardisation before it."""

    def __init__(self, standardize: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.standardize, self.student = standardize, student

    def forward(self, features: Sequence[Tensor], fine: Tensor | None = None) -> Tensor:
        """Raw pyramid, and map of stride 2 for a student that draws details, to logits (B, n, 2, h', w')."""
        seen = self.standardize(features)
        return cast(Tensor, (self.student(seen) if fine is None else self.student(seen, fine=fine))[0])


def shipped_head(standardize: Standardize, student: nn.Module) -> nn.Module:
    """Raw pyramid, (B, C_l, h_l, w_l) each, to logits (B, n, 2, h', w'), in as few steps as there is a way to."""
    return LeanStudent(standardize, student) if isinstance(student, Student) else Head(standardize, student)


def network_model(segmenter: Segmenter) -> onnx.ModelProto:
    """``pixels`` float32 (B, 3, 32 a, 32 b), 0 to 255, to ``logits``: an ONNX model, B, a and b left open.

    Raises
    ------
    ExportError
        If the network does things with its input's size that no graph can express.
    """
    network = Network(segmenter).eval()
    batch, rows, columns = (torch.export.Dim(name, min=1, max=LONGEST) for name in ("batch", "rows", "columns"))
    example = torch.zeros(EXAMPLE, device=segmenter.device)
    try:
        with torch.no_grad(), quiet(), _without_cache():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: batch, 2: GRID * rows, 3: GRID * columns},),
                input_names=["pixels"],
                output_names=["logits"],
                opset_version=OPSET,
                verbose=False,
            )
        assert program is not None
        model = program.model_proto
    except Exception as error:  # the exporter's errors have no common base
        raise ExportError(
            f"{segmenter.info.backbone} with a {segmenter.info.architecture} student cannot be exported for images of "
            f"any size ({_reason(error)})",
            cure="Fit with the default backbone, or serve the .safetensors file",
        ) from error
    return _without_traces(model)


def _reason(error: BaseException) -> str:
    """The innermost cause in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _without_cache() -> contextlib.AbstractContextManager[None]:
    """With open axes, comparing what PyTorch's cache of shapes holds costs more than working the shapes out again."""
    from torch._dynamo import config

    return cast("contextlib.AbstractContextManager[None]", config.patch(fake_tensor_cache_enabled=False))


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the Python stack of every node, which is most of the text and names folders of this machine."""
    del model.metadata_props[:]
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "", ""
    return model
