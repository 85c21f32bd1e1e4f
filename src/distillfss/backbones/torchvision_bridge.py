"""Import timm, also where the torchvision it needs was built for another PyTorch than the one installed.

The CPU build of PyTorch beside the torchvision of PyPI (built for CUDA) is such a pair: torchvision's compiled library
does not load, and describing two of the operators in it then fails the whole import. timm uses none of them, so it is
enough that they have a schema; whoever calls one still gets an error.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

import torch

from distillfss.errors import ModelFileError

INSTALL = "pip install 'distillfss[timm]'"
DESCRIBED_ON_IMPORT = ("nms", "qnms")
"""Operators torchvision describes to PyTorch without asking whether its library was loaded."""


@cache
def import_timm() -> Any:
    """The package ``timm``.

    Raises
    ------
    ModelFileError
        If it, or the torchvision it needs, is missing or does not import.
    """
    for package in ("timm", "torchvision"):
        if importlib.util.find_spec(package) is None:
            raise ModelFileError(
                f"backbones of timm need the package {package}, which is not installed",
                cure=f"Install it with: {INSTALL}",
            )
    try:
        import_torchvision()
        return importlib.import_module("timm")
    except Exception as error:  # what a broken installation raises has no end
        raise ModelFileError(
            f"timm cannot be imported ({type(error).__name__}: {error})",
            cure=f"Install a torchvision that fits PyTorch {torch.__version__}: {INSTALL} --force-reinstall",
        ) from error


def import_torchvision() -> None:
    """Import torchvision; if only its operators are missing, with placeholders in their stead."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if not any(f"operator torchvision::{name} does not exist" in str(error) for name in DESCRIBED_ON_IMPORT):
            raise
        for name in DESCRIBED_ON_IMPORT:
            # without a Library object a schema lasts as long as the process
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
