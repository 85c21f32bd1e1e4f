"""What is measured: the backbone alone, and whole pipelines from pixels to class logits.

Weights, images and support are random: none of them decides how long a forward pass takes or how much it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from distillfss.backbones import IMPORTED, Backbone, build_backbone
from distillfss.errors import UsageError
from distillfss.models.classes import merge_classes
from distillfss.models.dcama import DcamaStudent, DcamaTeacher
from distillfss.models.probe import probe_width
from distillfss.models.standardize import Standardize
from distillfss.models.student import Student
from distillfss.models.teacher import SupportTokens, Teacher

FLOOR = "backbone"
STUDENTS: dict[str, Callable[..., nn.Module]] = {"student": Student, "dcama student": DcamaStudent}
TEACHERS: dict[str, Callable[..., Teacher | DcamaTeacher]] = {"teacher": Teacher, "dcama teacher": DcamaTeacher}
OURS = (FLOOR, "student", "teacher")
PAPER = ("dcama student", "dcama teacher")


@dataclass(frozen=True)
class Setting:
    """What a forward pass is asked for: support images, classes, and the side of the image in pixels."""

    shots: int
    ways: int
    size: int


def decides(subject: str, setting: Setting) -> tuple[int, ...]:
    """The part of a setting that a subject's cost depends on: only a teacher knows of shots."""
    if subject == FLOOR:
        return (setting.size,)
    if subject in STUDENTS:
        return (setting.ways, setting.size)
    return (setting.shots, setting.ways, setting.size)


def random_image(size: int) -> Tensor:
    """(1, 3, size, size) of pixels 0 to 255."""
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(size)) * 255


class StudentPipeline(nn.Module):
    """What ``Segmenter.logits`` computes of an image at its working size."""

    def __init__(self, backbone: Backbone, standardize: Standardize, student: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.standardize = standardize
        self.head = student

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) pixels to merged class logits (B, n + 1, h, w)."""
        return merge_classes(self.head(self.standardize(self.backbone(images)))[0])

    def shipped(self) -> nn.Module:
        """The same as ``distillfss export`` traces it."""
        from distillfss.export.network import shipped_head

        return nn.Sequential(self.backbone, shipped_head(self.standardize, self.head), _Merge())


class _Merge(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return merge_classes(logits)


class TeacherPipeline(nn.Module):
    """The same with a teacher, whose support was encoded beforehand."""

    def __init__(
        self, backbone: Backbone, standardize: Standardize, teacher: Teacher | DcamaTeacher, support: SupportTokens
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.standardize = standardize
        self.head = teacher
        self.support = support

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) pixels to merged class logits (B, n + 1, h, w)."""
        return merge_classes(self.head(self.standardize(self.backbone(images)), self.support)[0])


@torch.no_grad()  # not inference_mode: tensors made in that cannot be exported
def build(subject: str, backbone: Backbone, setting: Setting) -> nn.Module:
    """A subject, ready to be called with ``random_image(setting.size)``.

    Parameters
    ----------
    subject
        One of ``OURS`` and ``PAPER``.
    backbone
        Shared by all subjects of a run.

    Raises
    ------
    UsageError
        If the paper's models do not fit the backbone.
    """
    if subject == FLOOR:
        return backbone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        standardize = Standardize(backbone.layers)
        # as after a fit, so that no number is of a size that real ones never have
        standardize.calibrate([backbone(random_image(setting.size))])
        try:
            if subject in STUDENTS:
                student = STUDENTS[subject](backbone.layers, setting.ways)
                return StudentPipeline(backbone, standardize, student).eval().requires_grad_(False)
            teacher = TEACHERS[subject](backbone.layers).eval().requires_grad_(False)
        except ValueError:
            raise UsageError(
                f"the paper's models do not fit {backbone.name}: its layers of one stride differ in channels",
                cure=f"Use --backbone {' or '.join(IMPORTED)}, or leave out --dcama",
            ) from None
        support = random_support(backbone, standardize, teacher, setting)
        return TeacherPipeline(backbone, standardize, teacher, support).eval()


def random_support(
    backbone: Backbone, standardize: Standardize, teacher: Teacher | DcamaTeacher, setting: Setting
) -> SupportTokens:
    """Tokens of random images and masks, encoded one after the other: what is held is the tokens, not the pyramids."""
    features: list[Tensor] = []
    masks: list[Tensor] = []
    tokens: SupportTokens | None = None
    for shot in range(setting.shots):
        pyramid = standardize(backbone(torch.rand(1, 3, setting.size, setting.size) * 255))
        marked = (torch.rand(1, setting.ways, setting.size, setting.size) > 0.5).float()
        tokens = teacher.support_tokens(pyramid, marked)
        if shot == 0:
            features = [each.new_empty(setting.shots, *each.shape[1:]) for each in tokens.features]
            masks = [each.new_empty(setting.shots, *each.shape[1:]) for each in tokens.masks]
        for kept, one in zip((*features, *masks), (*tokens.features, *tokens.masks), strict=True):
            kept[shot] = one[0]
    assert tokens is not None
    probe = torch.rand(setting.ways, probe_width(backbone.layers)) if isinstance(teacher, Teacher) else None
    return replace(tokens, features=tuple(features), masks=tuple(masks), probe=probe)


def parameters(module: nn.Module) -> int:
    """How many numbers were, or could be, learnt."""
    return sum(parameter.numel() for parameter in module.parameters())


def head_parameters(subject: nn.Module) -> int:
    """Parameters of a subject apart from its backbone's."""
    head = getattr(subject, "head", None)
    return parameters(head) if isinstance(head, nn.Module) else 0


def multiply_adds(module: nn.Module, image: Tensor) -> int:
    """Multiply-adds of convolutions, matrix products and attention in one forward pass, as half of PyTorch's FLOPs.

    Normalisations, activations and interpolations count nothing, as is usual.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU)
    with torch.inference_mode(), counter:
        module(image)
    return int(counter.get_total_flops()) // 2


def _attention_flop(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    """FLOPs of attention, given the shapes (B, heads, N, d)."""
    return int(sdpa_flop_count(query, key, value))


# PyTorch counts the fused attention of GPUs, but not the CPU's: the teacher's would seem to cost nothing.
_ATTENTION_ON_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop}


def load(backbone: str) -> Backbone:
    """A backbone with random weights, the same every time: nothing has to be fetched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone(backbone)
