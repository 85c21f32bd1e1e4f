"""The support-free student (ConvDist, DistillFSS eq. 5): convolutions guess the coarse maps the teacher would find."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distillfss.backbones.base import Layer
from distillfss.models.mixer import Mixer, coarse_layers


class ConvDist(nn.Module):
    """Coarse maps of one layer without a support: ``Conv1x1(ReLU(Conv3x3(neck(F_l))))`` per class.

    The neck, a 1x1 projection, is shared by all classes; the convolutions after it belong to one
    class each, so a class can be added without touching the others.

    Parameters
    ----------
    channels
        Channels of the layer's features.
    ways
        Number of classes n.
    neck, hidden
        Channels after the shared projection, and between a class' two convolutions.
    """

    def __init__(self, channels: int, ways: int, neck: int = 32, hidden: int = 16) -> None:
        super().__init__()
        self.neck = nn.Conv2d(channels, neck, 1)
        self.inner = nn.Conv2d(neck, ways * hidden, 3, padding=1)
        self.outer = nn.Conv2d(ways * hidden, ways, 1, groups=ways)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to coarse maps (B, n, h, w)."""
        return self.outer(torch.relu(self.inner(self.neck(features))))


class Student(nn.Module):
    """Segments without any support: its cost does not depend on k.

    Parameters
    ----------
    layers
        The backbone's pyramid.
    ways
        Number of classes n.
    """

    def __init__(self, layers: Sequence[Layer], ways: int) -> None:
        super().__init__()
        self.ways = ways
        self.coarse = coarse_layers(layers)
        self.conv_dist = nn.ModuleList(ConvDist(layers[index].channels, ways) for index in self.coarse)
        self.mixer = Mixer(layers)

    def forward(self, query: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, n, 2, H / 4, W / 4) and coarse maps of the query, given its pyramid."""
        maps = [conv_dist(query[index]) for conv_dist, index in zip(self.conv_dist, self.coarse, strict=True)]
        return self.mixer(maps, query), maps
