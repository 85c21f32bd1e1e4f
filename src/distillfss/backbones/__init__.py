"""Frozen backbones by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from distillfss.backbones.base import Backbone, Layer
from distillfss.backbones.efficientnet_lite import SCALES, EfficientNetLite
from distillfss.backbones.resnet import ResNet
from distillfss.backbones.swin import Swin
from distillfss.backbones.weights import file_sha256, weight_file
from distillfss.errors import ModelFileError, UsageError

__all__ = ["BACKBONES", "IMPORTED", "Backbone", "Layer", "build_backbone", "load_backbone", "weights_sha256"]

BACKBONES = tuple(SCALES)
"""Names whose pretrained weights ``load_backbone`` finds."""

IMPORTED: dict[str, Callable[[], ResNet | Swin]] = {"resnet50": ResNet, "swin_b": Swin}
"""Backbones whose weights come with the model file that was made from the authors' checkpoint."""


def build_backbone(name: str) -> Backbone:
    """A backbone of that name without pretrained weights.

    Raises
    ------
    UsageError
        For an unknown name.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights that nobody will see should not cost the caller's seed
        if name in SCALES:
            return EfficientNetLite(name)
        if name in IMPORTED:
            return IMPORTED[name]()
    raise UsageError(f"unknown backbone {name!r}", cure=f"Choose one of {', '.join(BACKBONES)}")


def load_backbone(name: str) -> Backbone:
    """A frozen backbone with its ImageNet weights.

    Raises
    ------
    UsageError
        For an unknown name.
    ModelFileError
        If the package with the weights is missing or its file is damaged.
    """
    if name in IMPORTED:
        raise UsageError(f"there are no weights of backbone {name!r}", cure=f"Choose one of {', '.join(BACKBONES)}")
    backbone = build_backbone(name)
    path = weight_file(name)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        assert isinstance(backbone, EfficientNetLite)
        backbone.load_tensorflow_port(state)
    except Exception as error:  # what a damaged archive makes torch.load raise has no end
        raise ModelFileError(
            f"these are not the weights of {name} ({error})",
            path=path,
            cure="Reinstall the package that holds the file",
        ) from error
    return backbone


def weights_sha256(name: str) -> str:
    """Hex SHA-256 of the file that ``load_backbone`` reads; a model file stores it to refuse a different backbone."""
    return file_sha256(weight_file(name))
