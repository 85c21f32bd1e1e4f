"""The normalisation most ImageNet networks were trained with."""

from __future__ import annotations

from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
IN_WORDS = f"(x / 255 - {MEAN}) / {STD}"


def normalise(images: Tensor) -> Tensor:
    """(B, 3, H, W) RGB, 0 to 255, to zero mean and unit deviation over ImageNet."""
    mean = images.new_tensor(MEAN)[:, None, None] * 255
    std = images.new_tensor(STD)[:, None, None] * 255
    return (images - mean) / std
