"""How much of a class every cell of a coarse grid holds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_shares(masks: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Masks (S, n, H, W) averaged down to every grid of ``sizes``, (S, n, h, w) each.

    Ignored (NaN) pixels do not count; a cell that is ignored altogether is NaN.
    """
    known = ~masks[:, :1].isnan()
    marked = torch.where(known, masks, 0.0)
    shares = []
    # where a grid divides another, averages of averages are exact, and much cheaper than those of all pixels
    whole = finest = (marked, known.to(masks.dtype))
    for size in sizes:
        source = finest if divides(size, finest[0].shape[-2:]) else whole
        total, weight = (averaged(x, size) for x in source)
        shares.append(total / weight)
        if divides(size, source[0].shape[-2:]):
            finest = (total, weight)
    return shares


def divides(coarse: Sequence[int], fine: Sequence[int]) -> bool:
    """Whether every cell of the coarse grid is made of whole cells of the fine one."""
    return all(f % c == 0 for c, f in zip(coarse, fine, strict=True))


def averaged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(S, n, H, W) averaged over the cells of a grid."""
    if not divides(size, x.shape[-2:]):
        return F.adaptive_avg_pool2d(x, size)
    factors = (x.shape[-2] // size[0], x.shape[-1] // size[1])
    return x if factors == (1, 1) else F.avg_pool2d(x, factors)
