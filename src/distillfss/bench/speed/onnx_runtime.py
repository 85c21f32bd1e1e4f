"""Subjects in ONNX Runtime, as far as a comparison of speed needs it: one image of one size, no metadata."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distillfss.bench.speed.timing import no_collection

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
CURE = "pip install 'distillfss[onnx]'"
TOLERANCE = 1e-3
"""Of the largest value of an output: how far a value may be off."""


def missing() -> str:
    """What is not installed, with the cure; empty if all is there."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} not installed: {CURE}" if absent else ""


def versions() -> dict[str, str]:
    """Of the packages that are there."""
    from importlib.metadata import version

    return {name: version(name) for name in PACKAGES if importlib.util.find_spec(name) is not None}


def export(module: nn.Module, image: Tensor, path: Path) -> None:
    """Write a subject as an ONNX file, for images of this shape."""
    with torch.no_grad(), no_collection():
        # codes of places are computed once and kept: kept by the exporter, they are no numbers for whoever comes next
        module(image)
        program = torch.onnx.export(module, (image,), dynamo=True, verbose=False)
    assert program is not None
    program.save(path)


def open_session(path: Path, threads: int) -> Any:
    """An ONNX file, ready to run on the CPU."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # or its threads go on spinning into the turn of the next subject
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(session: Any, image: np.ndarray[Any, Any]) -> list[Any]:
    """Outputs of one forward pass, in order."""
    return list(session.run(None, {session.get_inputs()[0].name: image}))


def difference(found: Sequence[Any], expected: Tensor | Sequence[Tensor]) -> float:
    """How far outputs are from PyTorch's: the largest difference, over the largest value of that output.

    Parameters
    ----------
    found
        What ``run`` returned.
    expected
        The pyramid, or merged class logits (B, n + 1, h, w). Where the two highest classes are as good as equal, the
        background logit is not compared: rounding decides whose it is.
    """
    if isinstance(expected, Tensor):
        expected = [expected]
        if expected[0].shape[1] > 2:
            expected, found = _without_ties(expected[0], torch.from_numpy(found[0]))
    pairs = [(torch.as_tensor(own), theirs) for own, theirs in zip(found, expected, strict=True)]
    if any(own.shape != theirs.shape for own, theirs in pairs):
        return float("inf")
    worst = [(own - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12) for own, theirs in pairs]
    return float(torch.stack(worst).max())


def _without_ties(expected: Tensor, found: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Both, with PyTorch's background logits wherever two classes tie."""
    if found.shape != expected.shape:
        return [expected], [found]
    first, second = expected[:, 1:].topk(2, dim=1).values.unbind(1)
    tied = first - second < TOLERANCE * expected.abs().max()
    found = found.clone()
    found[:, 0] = torch.where(tied, expected[:, 0], found[:, 0])
    return [expected], [found]
