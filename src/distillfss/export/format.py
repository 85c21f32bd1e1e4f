"""Names and numbers every exported file shares. Nothing heavy is imported: whoever serves a file needs them too."""

from __future__ import annotations

OPSET = 18
"""The exporter's native one; younger ones add nothing that is needed, and older runtimes read this one."""
IR_VERSION = 10

INPUT = "images"
MASK, PROBABILITIES, LOGITS = "mask", "probabilities", "logits"

FORMAT, FORMAT_VERSION = "distillfss-onnx", 1
PRECISIONS = ("fp32", "fp16", "int8")

EXTRA = "pip install 'distillfss[onnx]'"
