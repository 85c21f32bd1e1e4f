"""Student by architecture: what a model file can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from distillfss.backbones.base import Layer
from distillfss.models.dcama import DcamaStudent
from distillfss.models.student import Student

STUDENTS: Mapping[str, Callable[[Sequence[Layer], int], nn.Module]] = {"distillfss": Student, "dcama": DcamaStudent}
"""A pyramid's layers and a number of classes to ``pyramid -> (logits, coarse maps)``."""
