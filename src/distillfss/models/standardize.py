"""Features of a frozen backbone differ in scale by layer, channel and domain: bring them to a common one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from distillfss.backbones.base import Layer


class Standardize(nn.Module):
    """``(F_l - mean) / std`` per channel of every layer, with statistics of the support images.

    The statistics are fixed numbers once calibrated, so a 1x1 convolution that follows can absorb them.

    Parameters
    ----------
    layers
        The backbone's pyramid.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            self.register_buffer(f"mean{index}", torch.zeros(layer.channels))
            self.register_buffer(f"std{index}", torch.ones(layer.channels))

    @torch.no_grad()
    def calibrate(self, pyramids: Iterable[Sequence[Tensor]], floor: float = 1e-3) -> None:
        """Take mean and standard deviation over all pixels of all pyramids, (B, C_l, h_l, w_l) each.

        A channel that hardly varies (below ``floor`` of its layer's mean deviation) is left near zero, not blown up.
        """
        for index, (mean, std) in enumerate(zip(*statistics(pyramids, floor), strict=True)):
            self.get_buffer(f"mean{index}").copy_(mean)
            self.get_buffer(f"std{index}").copy_(std)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Standardised pyramid, shapes unchanged."""
        return self.of_layers(features, 0)

    def of_layers(self, features: Sequence[Tensor], first: int) -> list[Tensor]:
        """The same of consecutive layers of a pyramid, from index ``first`` on."""
        numbers = range(first, first + len(features))
        means, stds = ([self.get_buffer(f"{name}{i}") for i in numbers] for name in ("mean", "std"))
        return standardized(features, means, stds)

    def undone(self, feature: Tensor, index: int) -> Tensor:
        """What layer ``index`` was before it was standardised, (B, C_l, h_l, w_l)."""
        std, mean = (self.get_buffer(f"{name}{index}").to(feature)[:, None, None] for name in ("std", "mean"))
        return feature * std + mean


def statistics(pyramids: Iterable[Sequence[Tensor]], floor: float = 1e-3) -> tuple[list[Tensor], list[Tensor]]:
    """Mean and standard deviation (C_l,) of every layer over all pixels of all pyramids.

    Deviations are no smaller than ``floor`` times their layer's mean deviation.
    """
    count = 0
    total: list[Tensor] = []
    square: list[Tensor] = []
    for features in pyramids:
        sums = [f.double().mean((0, 2, 3)) for f in features]
        squares = [f.double().square().mean((0, 2, 3)) for f in features]
        total = sums if count == 0 else [a + b for a, b in zip(total, sums, strict=True)]
        square = squares if count == 0 else [a + b for a, b in zip(square, squares, strict=True)]
        count += 1
    means, stds = [], []
    for first, second in zip(total, square, strict=True):
        mean = first / count
        std = (second / count - mean.square()).clamp_min(0).sqrt()
        means.append(mean)
        stds.append(std.clamp_min(floor * std.mean().clamp_min(1e-12)))
    return means, stds


def standardized(features: Sequence[Tensor], means: Sequence[Tensor], stds: Sequence[Tensor]) -> list[Tensor]:
    """``(F_l - mean) / std`` per channel, shapes unchanged."""
    return [
        (f - mean.to(f)[:, None, None]) / std.to(f)[:, None, None]
        for f, mean, std in zip(features, means, stds, strict=True)
    ]
