"""How the authors' files name what our ``dcama`` modules hold."""

from __future__ import annotations

import functools
import re

import torch

from distillfss.backbones import IMPORTED
from distillfss.backbones.base import Layer
from distillfss.backbones.resnet import ResNet
from distillfss.backbones.swin import Swin
from distillfss.models.dcama import DcamaStudent, DcamaTeacher
from distillfss.models.mixer import COARSE_STRIDES

BACKBONES = IMPORTED
"""The backbones the authors publish weights for."""

ANCHORS = {
    "resnet50": re.compile(r"^(.*?)layer1\.0\.conv1\.weight$"),
    "swin_b": re.compile(r"^(.*?)layers\.0\.blocks\.0\.attn\.qkv\.weight$"),
    "teacher": re.compile(r"^(.*?)mixer1\.0\.weight$"),
    "student": re.compile(r"^(.*?)student\.0\.coarse_extractor\.0\.0\.weight$"),
}
"""A tensor that tells where a part begins: whatever stands before it is the part's prefix."""

POSITIONS = re.compile(r"^pe\.(\d+)\.pe$")
"""Positional encodings: stored by the authors, computed by us."""

_MIXER = {
    "mixer.maps.32": "conv1",
    "mixer.maps.16": "conv2",
    "mixer.maps.8": "conv3",
    "mixer.merge.16": "conv4",
    "mixer.merge.8": "conv5",
    "mixer.refine.4": "mixer1",
    "mixer.refine.2": "mixer2",
    "mixer.refine.1": "mixer3",
}
_PROJECTIONS = ("query", "key")

Shapes = dict[str, torch.Size]


def authors_name(ours: str) -> str:
    """The authors' name of one of our tensors, without the prefix of its part.

    >>> authors_name("attention.16.key.bias"), authors_name("conv_dist.1.8.0.weight")
    ('DCAMA_blocks.1.linears.1.bias', 'student.1.coarse_extractor.0.0.weight')
    """
    if match := re.fullmatch(r"attention\.(\d+)\.(\w+)\.(\w+)", ours):
        stride, projection, kind = match.groups()
        block = COARSE_STRIDES.index(int(stride))
        return f"DCAMA_blocks.{block}.linears.{_PROJECTIONS.index(projection)}.{kind}"
    if match := re.fullmatch(r"conv_dist\.(\d+)\.(\d+)\.(.+)", ours):
        number, stride, rest = match.groups()
        return f"student.{number}.coarse_extractor.{COARSE_STRIDES.index(int(stride))}.{rest}"
    for part, theirs in _MIXER.items():
        if ours.startswith(f"{part}."):
            return theirs + ours.removeprefix(part)
    return re.sub(r"^stages\.", "layers.", ours)  # a backbone keeps the names it was published with


@functools.cache
def skeleton(name: str) -> ResNet | Swin:
    """A backbone without numbers: its layers, its tensors' names and shapes."""
    with torch.device("meta"):
        return BACKBONES[name]()


def shapes(module: torch.nn.Module) -> Shapes:
    """Names and shapes of a module's tensors."""
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def teacher_shapes(layers: tuple[Layer, ...], concat_support: bool) -> Shapes:
    """Names and shapes of the teacher's tensors: attention and mixer."""
    with torch.device("meta"):
        return shapes(DcamaTeacher(layers, concat_support))


def student_shapes(layers: tuple[Layer, ...], ways: int) -> Shapes:
    """Names and shapes of the student's own tensors, without the mixer."""
    with torch.device("meta"):
        return {name: shape for name, shape in shapes(DcamaStudent(layers, ways)).items() if not is_mixer(name)}


def is_mixer(ours: str) -> bool:
    """Whether one of our tensors belongs to the mixer, which teacher and student share."""
    return ours.startswith("mixer.")
