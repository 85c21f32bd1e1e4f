"""Whether masks have details that logits of stride 4 cannot draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from distillfss.models.mixer import FINEST_STRIDE, resize
from distillfss.training.targets import class_masks

FINE_ENOUGH = 0.96
"""A class of which the grid keeps less is drawn with details."""


def kept_by_the_grid(masks: Sequence[Tensor], ways: int) -> list[float]:
    """IoU of every class with itself, drawn on the grid of the finest features and back: 1 where nothing is lost.

    Parameters
    ----------
    masks
        (1, H, W) class indices each, 255 where unknown, sides multiples of 4.
    ways
        Number of classes n.

    Returns
    -------
    list of float
        Of every class; 1 for a class that no mask shows.
    """
    both, either = torch.zeros(ways), torch.zeros(ways)
    for mask in masks:
        share = class_masks(mask, ways).nan_to_num(0.0)
        drawn = resize(F.avg_pool2d(share, FINEST_STRIDE), share.shape[-2:]) > 0.5
        true = share > 0.5
        both += (drawn & true).sum((0, 2, 3)).cpu()
        either += (drawn | true).sum((0, 2, 3)).cpu()
    return [float(b / e) if e else 1.0 for b, e in zip(both, either, strict=True)]
