"""Masks in the forms that training needs."""

from __future__ import annotations

import torch
from torch import Tensor

from distillfss.training.losses import IGNORE


def class_masks(masks: Tensor, ways: int) -> Tensor:
    """(B, H, W) class indices as (B, n, H, W) of 0 and 1 per foreground class; NaN where the index is 255."""
    classes = torch.arange(1, ways + 1)[:, None, None]
    shares = (masks[:, None].to(torch.int64) == classes.to(masks.device)).float()
    return shares.masked_fill((masks == IGNORE)[:, None], torch.nan)
