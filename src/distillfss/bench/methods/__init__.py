"""Methods by name: ours and the opponents, one small module each behind one interface."""

from __future__ import annotations

from collections.abc import Callable

from distillfss.bench.methods.base import Method, MethodSettings, Predictor
from distillfss.bench.methods.decoder import Decoder
from distillfss.bench.methods.distill import Distill, DistillNoTeacher
from distillfss.bench.methods.forest import Forest
from distillfss.bench.methods.linear import Linear
from distillfss.bench.methods.prototype import Prototype
from distillfss.bench.methods.teacher import TransferredTeacher, UntunedTeacher
from distillfss.bench.methods.unet import FineTunedUNet

__all__ = ["METHODS", "Method", "MethodSettings", "Predictor"]

METHODS: dict[str, Callable[[MethodSettings], Method]] = {
    "prototype": Prototype,
    "linear": Linear,
    "forest": Forest,
    "decoder": Decoder,
    "unet": FineTunedUNet,
    "teacher": UntunedTeacher,
    "transfer": TransferredTeacher,
    "distill": Distill,
    "distill-no-teacher": DistillNoTeacher,
}
