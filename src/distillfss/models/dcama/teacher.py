"""DCAMA's teacher: coarse maps by attention over the support, then the mixer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from distillfss.backbones.base import Layer
from distillfss.models.dcama.attention import CrossAttention
from distillfss.models.dcama.mixer import DcamaMixer, resize_aligned, skip_layers
from distillfss.models.mixer import COARSE_STRIDES, coarse_layers
from distillfss.models.teacher import SupportTokens


@dataclass(frozen=True)
class DcamaSupport(SupportTokens):
    """What the teacher attends to, and what its mixer is shown of the support.

    Attributes
    ----------
    skips
        Features at strides 8 and 4, the highest value over all support images: (1, C, h, w) each. None if the mixer
        looks at the query alone.
    """

    skips: tuple[Tensor, ...] | None = None


class DcamaTeacher(nn.Module):
    """Segments a query by its look-alikes in the support.

    Parameters
    ----------
    layers
        The backbone's pyramid; all layers of one stride have the same channels.
    concat_support
        Whether the mixer sees the support's features too (DCAMA does, DistillFSS does not).
    """

    def __init__(self, layers: Sequence[Layer], concat_support: bool = False) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.coarse = coarse_layers(layers)
        self.attention = nn.ModuleDict({str(s): CrossAttention(channels_at(layers, s)) for s in COARSE_STRIDES})
        self.mixer = DcamaMixer(layers, concat_support)

    def support_tokens(self, features: Sequence[Tensor], masks: Tensor) -> DcamaSupport:
        """Support pyramids and masks on the grids the attention uses.

        Parameters
        ----------
        features
            The support's pyramid, (S, C_l, h_l, w_l) each.
        masks
            (S, n, H, W) of 0 and 1 per class; NaN where the annotation says "ignore".
        """
        kept = tuple(features[index] for index in self.coarse)
        shares = tuple(resize_aligned(masks, feature.shape[-2:]) for feature in kept)
        skips = None
        if self.mixer.concat_support:
            skips = tuple(features[index].amax(0, keepdim=True) for index in skip_layers(self.layers))
        return DcamaSupport(kept, shares, skips=skips)

    def coarse_maps(self, query: Sequence[Tensor], support: SupportTokens) -> list[Tensor]:
        """Per coarse layer l, M_l = mean over heads of softmax(Q K^T / sqrt(d)) v: (B, n, h_l, w_l), 0 to 1."""
        return [
            self.attention[str(self.layers[index].stride)](query[index], features, masks)
            for index, features, masks in zip(self.coarse, support.features, support.masks, strict=True)
        ]

    def forward(self, query: Sequence[Tensor], support: DcamaSupport) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, n, 2, H, W) and coarse maps of the query, given its pyramid and the support."""
        maps = self.coarse_maps(query, support)
        return self.mixer(maps, query, support.skips), maps


def channels_at(layers: Sequence[Layer], stride: int) -> int:
    """Channels of the layers of one stride."""
    (channels,) = {layer.channels for layer in layers if layer.stride == stride}
    return channels
