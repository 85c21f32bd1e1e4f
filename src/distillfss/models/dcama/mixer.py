"""DCAMA's mixer: coarse maps merged coarse to fine, 1/8 and 1/4 features concatenated, three stages to the logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.backbones.base import Layer
from distillfss.models.mixer import COARSE_STRIDES, coarse_layers

SKIP_STRIDES = (8, 4)
"""Strides whose last feature map is concatenated to the merged maps."""
WIDTHS = (16, 64, 128)
GROUPS = 4
MAP_KERNELS = {32: (3, 3, 3), 16: (5, 3, 3), 8: (5, 5, 3)}
"""Kernels of the three convolutions over a stride's coarse maps: the finer the maps, the larger."""


def resize_aligned(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) to (B, C, *size), bilinear with aligned corners (the corner pixels stay where they are)."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)


def doubled(x: Tensor) -> Tensor:
    """(B, C, h, w) to (B, C, 2 h, 2 w)."""
    return resize_aligned(x, [2 * side for side in x.shape[-2:]])


def conv_block(cin: int, widths: Sequence[int], kernels: Sequence[int]) -> nn.Sequential:
    """Convolutions, each followed by group normalisation and ReLU."""
    parts: list[nn.Module] = []
    for cout, kernel in zip(widths, kernels, strict=True):
        parts += [nn.Conv2d(cin, cout, kernel, padding=kernel // 2), nn.GroupNorm(GROUPS, cout), nn.ReLU(inplace=True)]
        cin = cout
    return nn.Sequential(*parts)


def skip_layers(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Indices of the layers that are concatenated: the last one of each of ``SKIP_STRIDES``."""
    return tuple(max(i for i, layer in enumerate(layers) if layer.stride == stride) for stride in SKIP_STRIDES)


class DcamaMixer(nn.Module):
    """Logits from coarse maps and skip features. Every class passes through the same weights.

    Parameters
    ----------
    layers
        The backbone's pyramid.
    concat_support
        Whether the support's features are concatenated beside the query's own. DistillFSS leaves them out, for a
        student has no support.
    """

    def __init__(self, layers: Sequence[Layer], concat_support: bool = False) -> None:
        super().__init__()
        self.concat_support = concat_support
        self.map_strides = [layers[index].stride for index in coarse_layers(layers)]
        self.skips = skip_layers(layers)
        narrow, middle, wide = WIDTHS
        skipped = sum(layers[index].channels for index in self.skips) * (2 if concat_support else 1)
        self.maps = nn.ModuleDict(
            {str(s): conv_block(self.map_strides.count(s), WIDTHS, MAP_KERNELS[s]) for s in COARSE_STRIDES}
        )
        self.merge = nn.ModuleDict({str(s): conv_block(wide, (wide,) * 3, (3,) * 3) for s in (16, 8)})
        self.refine = nn.ModuleDict(
            {
                "4": nn.Sequential(_conv(wide + skipped, wide), nn.ReLU(), _conv(wide, middle), nn.ReLU()),
                "2": nn.Sequential(_conv(middle, middle), nn.ReLU(), _conv(middle, narrow), nn.ReLU()),
                "1": nn.Sequential(_conv(narrow, narrow), nn.ReLU(), _conv(narrow, 2)),
            }
        )

    def forward(
        self, coarse: Sequence[Tensor], features: Sequence[Tensor], support_skips: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Background/foreground logits of every class at full resolution.

        Parameters
        ----------
        coarse
            Per coarse layer, (B, n, h_l, w_l).
        features
            The query's pyramid, (B, C_l, h_l, w_l) each.
        support_skips
            The support's features at strides 8 and 4, (1, C, h, w) each; only with ``concat_support``.

        Returns
        -------
        Tensor
            (B, n, 2, H, W), four times the 1/4 grid; channel 0 is background.
        """
        batch, ways = coarse[0].shape[:2]
        mixed = self.maps["32"](self._stacked(coarse, 32))
        for stride in (16, 8):
            block = self.maps[str(stride)](self._stacked(coarse, stride))
            mixed = self.merge[str(stride)](resize_aligned(mixed, block.shape[-2:]) + block)
        for place, index in enumerate(self.skips):
            own = features[index]
            parts = [own] if support_skips is None else [own, _like(support_skips[place], own)]
            skip = torch.cat(parts, dim=1).repeat_interleave(ways, dim=0)
            mixed = torch.cat([resize_aligned(mixed, own.shape[-2:]), skip], dim=1)
        mixed = self.refine["4"](mixed)
        mixed = self.refine["2"](doubled(mixed))
        return self.refine["1"](doubled(mixed)).unflatten(0, (batch, ways))

    def _stacked(self, coarse: Sequence[Tensor], stride: int) -> Tensor:
        """The maps of one stride as channels, one row per image and class: (B * n, layers, h, w)."""
        chosen = [maps for maps, s in zip(coarse, self.map_strides, strict=True) if s == stride]
        return torch.stack(chosen, dim=2).flatten(0, 1)


def _conv(cin: int, cout: int) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, 3, padding=1)


def _like(skip: Tensor, own: Tensor) -> Tensor:
    """The support's feature map on the query's grid, the same for every query."""
    return resize_aligned(skip, own.shape[-2:]).expand(len(own), -1, -1, -1)
