"""Masks in the forms that training needs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from distillfss.training.losses import IGNORE


def class_masks(masks: Tensor, ways: int) -> Tensor:
    """(B, H, W) class indices as (B, n, H, W) of 0 and 1 per foreground class; NaN where the index is 255."""
    classes = torch.arange(1, ways + 1)[:, None, None]
    shares = (masks[:, None].to(torch.int64) == classes.to(masks.device)).float()
    return shares.masked_fill((masks == IGNORE)[:, None], torch.nan)


def every_other_pixel(masks: Tensor, random: np.random.Generator) -> Tensor:
    """(B, H, W) masks at half the resolution, (B, H / 2, W / 2): one pixel of every 2x2 block, the same in all blocks.

    A loss over these costs a quarter. Which of the four pixels is chosen at random, so nothing is shifted on average.
    """
    row, column = (int(v) for v in random.integers(2, size=2))
    return masks[:, row::2, column::2]
