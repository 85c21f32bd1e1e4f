"""The later stages of a backbone, learning: the one part of a fit that looks at more than fixed features.

What a few images can teach a whole network is little, and most of it lies in the stages that know what things are
(strides 16 and 32); edges and grain (strides 4 and 8) are the same everywhere. Those stay as they are, so views are
encoded once and the learning stages start from what is kept of them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distillfss.backbones.base import Backbone
from distillfss.models.standardize import Standardize


class LearningTail(nn.Module):
    """A copy of a backbone whose tail takes gradients, on standardised pyramids.

    Parameters
    ----------
    backbone
        Copied; it must have a tail.
    standardize
        Used, never changed: what the student has learnt to expect.
    """

    def __init__(self, backbone: Backbone, standardize: Standardize) -> None:
        super().__init__()
        assert backbone.tail_from is not None
        self.backbone = copy.deepcopy(backbone)
        for parameter in self.backbone.tail_parameters():
            parameter.requires_grad_(True)
        self.standardize = copy.deepcopy(standardize)
        self.first = backbone.tail_from + 1

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Standardised pyramid of the frozen backbone, (B, C_l, h_l, w_l) each, to that of the learning one.

        Of the former no more than its head is needed; what comes after that is passed over.
        """
        start = self.standardize.undone(features[self.first - 1], self.first - 1)
        later = self.backbone.tail(start)
        return [*features[: self.first], *self.standardize.of_layers(later, self.first)]

    def encode_head(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) pixels 0 to 255 to the standardised layers that do not learn, and the raw map of stride 2."""
        fine = self.backbone.fine(images)
        return [*self.standardize.of_layers(self.backbone.head_from_fine(fine), 0), fine]

    def fine(self, encoded: Sequence[Tensor]) -> Tensor:
        """The map of stride 2, (B, C, H / 2, W / 2), of what ``encode_head`` returns."""
        return encoded[self.first]

    @torch.no_grad()
    def drawn_back(self, backbone: Backbone, share: float) -> LearningTail:
        """A copy whose weights went ``share`` of the way from those of ``backbone``, where they started, to these."""
        copied = copy.deepcopy(self)
        for own, start in zip(copied.backbone.parameters(), backbone.parameters(), strict=True):
            own.copy_(start.lerp(own, share))
        return copied


class FixedTail(nn.Module):
    """What stands in for a learning tail where the backbone stays as it is, for other classes rest on it.

    Views are encoded once and for all; there is nothing here that learns.

    Parameters
    ----------
    backbone, standardize
        Used, never changed; the backbone has a map of stride 2.
    """

    def __init__(self, backbone: Backbone, standardize: Standardize) -> None:
        super().__init__()
        self._encode = lambda fine: standardize(backbone.from_fine(fine))  # not modules of this one
        self._fine = backbone.fine

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The standardised pyramid of what ``encode_head`` returns."""
        return list(features[:-1])

    def encode_head(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) pixels 0 to 255 to the standardised pyramid, and the raw map of stride 2."""
        fine = self._fine(images)
        return [*self._encode(fine), fine]

    def fine(self, encoded: Sequence[Tensor]) -> Tensor:
        """The map of stride 2, (B, C, H / 2, W / 2), of what ``encode_head`` returns."""
        return encoded[-1]

    def drawn_back(self, backbone: Backbone, share: float) -> FixedTail:
        """This one: it has gone nowhere."""
        return self


Tail = LearningTail | FixedTail
