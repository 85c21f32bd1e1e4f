"""Answers to support images, counted."""

from __future__ import annotations

import torch
from torch import Tensor

from distillfss.training.losses import IGNORE


def pixel_counts(merged: Tensor, mask: Tensor) -> Tensor:
    """True positives, false positives and misses of every class in pixels of the logits' grid, (n, 3) float64.

    Parameters
    ----------
    merged
        (1, n + 1, h, w) class logits.
    mask
        (1, H, W) class indices, 255 = ignore; read at the middle of every cell of the grid.
    """
    rows, columns = (
        ((torch.arange(fine, device=mask.device) + 0.5) * size / fine).long()
        for fine, size in zip(merged.shape[-2:], mask.shape[-2:], strict=True)
    )
    truth, found = mask[0][rows][:, columns], merged[0].argmax(0)
    known = truth != IGNORE
    counts = []
    for value in range(1, merged.shape[1]):
        is_found, is_true = (found == value) & known, truth == value
        hits, false, missed = is_found & is_true, is_found & ~is_true, ~is_found & is_true
        counts.append(torch.stack([hits.sum(), false.sum(), missed.sum()]))
    return torch.stack(counts).double().cpu()
