"""The support-conditioned teacher: maps by attention over the support, by prototypes and by a probe, then the mixer.

Prototypes and probe are not in the paper. Beside the attention's maps they make a teacher that learns faster and
generalises better to classes it has not seen (``docs/experiments.md``); the student takes them over like the attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distillfss.backbones.base import Layer
from distillfss.models.attention import CoarseAttention, Encoding, positional_encoding
from distillfss.models.mixer import JOINING_STRIDES, Mixer, at_coarse_stride, coarse_layers
from distillfss.models.probe import probe_map
from distillfss.models.prototypes import prototype_map
from distillfss.models.shares import mask_shares


@dataclass(frozen=True)
class SupportTokens:
    """What the teacher knows of a support.

    Attributes
    ----------
    features, masks
        What it attends to: per coarse layer, features (S, C_l, h, w) and class shares (S, n, h, w).
    probe
        (n, D + 1), or (B, n, D + 1) for a probe per query. None to do without.
    """

    features: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    probe: Tensor | None = None


class Teacher(nn.Module):
    """Segments a query by its look-alikes in the support.

    Parameters
    ----------
    layers
        The backbone's pyramid.
    joining
        See ``Mixer``.
    """

    def __init__(self, layers: Sequence[Layer], joining: Sequence[int] = JOINING_STRIDES) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.coarse = coarse_layers(layers)
        self.attention = nn.ModuleList(CoarseAttention(layers[index].channels) for index in self.coarse)
        self.mixer = Mixer(layers, joining=joining)

    def support_tokens(self, features: Sequence[Tensor], masks: Tensor, probe: Tensor | None = None) -> SupportTokens:
        """Support pyramids and masks on the grids the attention uses.

        Parameters
        ----------
        features
            The support's pyramid, (S, C_l, h_l, w_l) each.
        masks
            (S, n, H, W) of 0 and 1 per class; NaN where the annotation says "ignore".
        probe
            See ``SupportTokens``. ``probe_weights`` computes that of these images.
        """
        kept = [at_coarse_stride(features[index], self.layers[index]) for index in self.coarse]
        shares = mask_shares(masks, [(feature.shape[-2], feature.shape[-1]) for feature in kept])
        return SupportTokens(tuple(kept), tuple(shares), probe)

    def coarse_maps(
        self, query: Sequence[Tensor], support: SupportTokens, encoding: Encoding = positional_encoding
    ) -> list[Tensor]:
        """Per coarse layer l, two maps per class, (B, n, 2, h_l, w_l).

        M_l = mean over heads of softmax(Q K^T / temperature) v, 0 to 1; and the prototype map, -2 to 2.
        """
        maps = []
        parts = zip(self.attention, self.coarse, support.features, support.masks, strict=True)
        for attention, index, features, shares in parts:
            asked = at_coarse_stride(query[index], self.layers[index])
            look_alikes = attention(asked, features, shares, encoding)
            maps.append(torch.stack([look_alikes, prototype_map(asked, features, shares)], dim=2))
        return maps

    def forward(
        self, query: Sequence[Tensor], support: SupportTokens, encoding: Encoding = positional_encoding
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, n, 2, H / 4, W / 4) and coarse maps of the query, given its pyramid and the support.

        ``encoding`` says where a query lies that is a part of its image.
        """
        maps = self.coarse_maps(query, support, encoding)
        probe = None if support.probe is None else probe_map(query, support.probe, self.layers)
        return self.mixer(maps, probe, query), maps
