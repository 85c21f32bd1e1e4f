"""Masked-average prototypes (PANet, Wang et al. 2019): cosine to the support's mean foreground and background.

As a map beside the attention's they tell the teacher what the class is like on the whole; on their own they are the
opponent every teacher has to beat: no parameter, the same features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from distillfss.backbones.base import Layer
from distillfss.models.mixer import resize

LOGIT_SCALE = 20.0
STRIDES = (32,)
"""Layers that vote when prototypes segment on their own; the best choice on held-out source classes."""


def prototypes(support: Tensor, shares: Tensor) -> Tensor:
    """Mean background and foreground feature of every class, of unit length.

    Parameters
    ----------
    support
        (S, C, h, w) features.
    shares
        (S, n, h, w) share of each class' mask in each token, 0 to 1; NaN where nothing is known.

    Returns
    -------
    Tensor
        (n, 2, C), background first; zeros where the support shows none.
    """
    known = ~shares.isnan()
    foreground = torch.where(known, shares, 0.0)
    weights = torch.stack([known.to(shares) - foreground, foreground], dim=2)
    total = torch.einsum("snghw,schw->ngc", weights, support)
    return F.normalize(total / weights.sum((0, 3, 4))[..., None].clamp_min(1e-6), dim=-1)


def cosines(query: Tensor, centres: Tensor) -> Tensor:
    """Cosine similarity of query features (B, C, h, w) to prototypes (n, 2, C): (B, n, 2, h, w), -1 to 1."""
    return torch.einsum("bchw,ngc->bnghw", F.normalize(query, dim=1), centres)


def prototype_map(query: Tensor, support: Tensor, shares: Tensor) -> Tensor:
    """How much closer the query is to the foreground's prototype than to the background's: (B, n, h, w), -2 to 2."""
    background, foreground = cosines(query, prototypes(support, shares)).unbind(2)
    return foreground - background


def prototype_layers(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Indices of the layers that vote."""
    return tuple(index for index, layer in enumerate(layers) if layer.stride in STRIDES)


def prototype_logits(query: Sequence[Tensor], support: Sequence[Tensor], shares: Sequence[Tensor]) -> Tensor:
    """Segmentation by prototypes alone: mean cosine over layers, times 20.

    Parameters
    ----------
    query
        Maps (B, C_l, h_l, w_l) of the layers to use; each layer has a vote of its own.
    support, shares
        The same layers of the support, (S, C_l, h_l', w_l'), and class shares (S, n, h_l', w_l') on their grids.

    Returns
    -------
    Tensor
        (B, n, 2, h, w) on the grid of the first layer, channel 0 background.
    """
    votes = [cosines(q, prototypes(s, m)) for q, s, m in zip(query, support, shares, strict=True)]
    return LOGIT_SCALE * torch.stack([resize(vote, query[0].shape[-2:]) for vote in votes]).mean(0)
