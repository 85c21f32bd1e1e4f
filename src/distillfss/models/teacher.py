"""The support-conditioned teacher: coarse maps by attention over the support and by prototypes, then the mixer.

The prototype map is not in the paper. Beside the attention's it makes a teacher that learns faster and generalises
better to classes it has not seen (``docs/results.md``); the student imitates it like any other coarse map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.backbones.base import Layer
from distillfss.models.attention import CoarseAttention
from distillfss.models.mixer import Mixer, coarse_layers
from distillfss.models.prototypes import prototype_map

FINEST_SUPPORT_STRIDE = 16
"""Support tokens finer than this are averaged first: a quarter of the keys at stride 8, a quarter of the time."""


@dataclass(frozen=True)
class SupportTokens:
    """What the teacher attends to: per coarse layer, features (S, C_l, h, w) and class shares (S, n, h, w)."""

    features: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]


class Teacher(nn.Module):
    """Segments a query by its look-alikes in the support.

    Parameters
    ----------
    layers
        The backbone's pyramid.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.coarse = coarse_layers(layers)
        self.attention = nn.ModuleList(CoarseAttention(layers[index].channels) for index in self.coarse)
        self.mixer = Mixer(layers)

    def support_tokens(self, features: Sequence[Tensor], masks: Tensor) -> SupportTokens:
        """Support pyramids and masks on the grids the attention uses.

        Parameters
        ----------
        features
            The support's pyramid, (S, C_l, h_l, w_l) each.
        masks
            (S, n, H, W) of 0 and 1 per class; NaN where the annotation says "ignore".
        """
        kept: list[Tensor] = []
        shares: list[Tensor] = []
        for index in self.coarse:
            feature, stride = features[index], self.layers[index].stride
            if stride < FINEST_SUPPORT_STRIDE:
                feature = F.avg_pool2d(feature, FINEST_SUPPORT_STRIDE // stride, ceil_mode=True)
            kept.append(feature)
            shares.append(mask_shares(masks, (feature.shape[-2], feature.shape[-1])))
        return SupportTokens(tuple(kept), tuple(shares))

    def coarse_maps(self, query: Sequence[Tensor], support: SupportTokens) -> list[Tensor]:
        """Per coarse layer l, two maps per class, (B, n, 2, h_l, w_l).

        M_l = mean over heads of softmax(Q K^T / temperature) v, 0 to 1; and the prototype map, -2 to 2.
        """
        maps = []
        parts = zip(self.attention, self.coarse, support.features, support.masks, strict=True)
        for attention, index, features, shares in parts:
            look_alikes = attention(query[index], features, shares)
            maps.append(torch.stack([look_alikes, prototype_map(query[index], features, shares)], dim=2))
        return maps

    def forward(self, query: Sequence[Tensor], support: SupportTokens) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, n, 2, H / 4, W / 4) and coarse maps of the query, given its pyramid and the support."""
        maps = self.coarse_maps(query, support)
        return self.mixer(maps, query), maps


def mask_shares(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (S, n, H, W) averaged down to a grid (S, n, *size); ignored (NaN) pixels do not count.

    A cell that is ignored altogether is NaN.
    """
    known = ~masks.isnan()
    total = F.adaptive_avg_pool2d(torch.where(known, masks, 0.0), size)
    return total / F.adaptive_avg_pool2d(known.to(masks.dtype), size)
