"""Methods by name: ours and the opponents, one small module each behind one interface.

They are named, not imported: a cell loads the libraries of its own method only.
"""

from __future__ import annotations

from distillfss.bench.methods.base import Method, MethodSettings, Predictor

__all__ = ["METHODS", "Method", "MethodSettings", "Predictor"]

METHODS = {
    "prototype": "distillfss.bench.methods.prototype:Prototype",
    "linear": "distillfss.bench.methods.linear:Linear",
    "forest": "distillfss.bench.methods.forest:Forest",
    "decoder": "distillfss.bench.methods.decoder:Decoder",
    "unet": "distillfss.bench.methods.unet:FineTunedUNet",
    "teacher": "distillfss.bench.methods.teacher:UntunedTeacher",
    "transfer": "distillfss.bench.methods.teacher:TransferredTeacher",
    "instant": "distillfss.bench.methods.distill:Instant",
    "distill": "distillfss.bench.methods.distill:Distill",
    "distill-no-teacher": "distillfss.bench.methods.distill:DistillNoTeacher",
}
"""Where the class of every method is: ``module:attribute``."""
