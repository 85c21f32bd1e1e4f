"""Names and numbers every exported file shares. Nothing heavy is imported: whoever serves a file needs them too."""

from __future__ import annotations

OPSET = 18
"""The exporter's native one; younger ones add nothing that is needed, and older runtimes read this one."""
IR_VERSION = 10

INPUT = "images"
WANTED = "probabilities_wanted"
"""An optional input of a file with several classes, true if it is left out. ONNX Runtime computes outputs nobody asks
for, and probabilities of many classes at the image's own size take longer than the student."""
MASK, PROBABILITIES, LOGITS = "mask", "probabilities", "logits"

FORMAT, FORMAT_VERSION = "distillfss-onnx", 1
PRECISIONS = ("fp32", "fp16", "int8")

EXTRA = "pip install 'distillfss[onnx]'"
