"""ConvDist, the support-free student of DistillFSS (arXiv 2512.05613, eq. 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distillfss.backbones.base import Layer
from distillfss.models.dcama.mixer import DcamaMixer
from distillfss.models.dcama.teacher import channels_at
from distillfss.models.mixer import COARSE_STRIDES, coarse_layers


def conv_dist(channels: int) -> nn.Sequential:
    """Conv1x1(ReLU(Conv3x3(F))): features (B, C, h, w) to a coarse map (B, 1, h, w), of any sign and size."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 1, 1))


class DcamaStudent(nn.Module):
    """Segments without any support: its cost does not depend on k.

    Each class has its own convolutions, one per stride, shared by the stride's layers. The mixer is the teacher's.

    Parameters
    ----------
    layers
        The backbone's pyramid; all layers of one stride have the same channels.
    ways
        Number of classes n.
    """

    def __init__(self, layers: Sequence[Layer], ways: int) -> None:
        super().__init__()
        self.ways = ways
        self.layers = tuple(layers)
        self.coarse = coarse_layers(layers)
        self.conv_dist = nn.ModuleList(
            nn.ModuleDict({str(s): conv_dist(channels_at(layers, s)) for s in COARSE_STRIDES}) for _ in range(ways)
        )
        self.mixer = DcamaMixer(layers)

    def coarse_maps(self, query: Sequence[Tensor]) -> list[Tensor]:
        """Per coarse layer, a guess of the teacher's map: (B, n, h_l, w_l)."""
        return [
            torch.cat([of_class[str(self.layers[index].stride)](query[index]) for of_class in self._classes()], dim=1)
            for index in self.coarse
        ]

    def _classes(self) -> list[nn.ModuleDict]:
        return [module for module in self.conv_dist if isinstance(module, nn.ModuleDict)]

    def forward(self, query: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, n, 2, H, W) and coarse maps of the query, given its pyramid."""
        maps = self.coarse_maps(query)
        return self.mixer(maps, query), maps
