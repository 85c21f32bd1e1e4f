"""Convolutions that do the standardisation as well."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@torch.no_grad()
def folded(weight: Tensor, bias: Tensor | None, mean: Tensor, std: Tensor) -> nn.Conv2d:
    """The 1x1 convolution of raw features that equals ``weight @ ((f - mean) / std) + bias``.

    Parameters
    ----------
    weight, bias
        (O, C), and (O,) or None for zeros.
    mean, std
        (C,)
    """
    scaled = weight.double() / std.double()
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, dtype=mean.dtype)
    conv.weight.copy_(scaled[:, :, None, None])
    assert conv.bias is not None
    conv.bias.copy_((0 if bias is None else bias.double()) - scaled @ mean.double())
    return conv


@torch.no_grad()
def standardising(mean: Tensor, std: Tensor) -> nn.Conv2d:
    """``(f - mean) / std`` as a convolution of every channel by itself."""
    conv = nn.Conv2d(len(mean), len(mean), 1, groups=len(mean), dtype=mean.dtype)
    conv.weight.copy_(1 / std.double()[:, None, None, None])
    assert conv.bias is not None
    conv.bias.copy_(-mean.double() / std.double())
    return conv


@torch.no_grad()
def total(channels: int) -> nn.Conv2d:
    """The sum over channels, (B, 1, h, w); as a convolution it reads features in the layout that convolutions leave."""
    conv = nn.Conv2d(channels, 1, 1, bias=False)
    nn.init.ones_(conv.weight)
    return conv


class Averaged(nn.Conv2d):
    """(B, C, h, w) to (B, C, h / factor, w / factor), the mean of every ``factor * factor`` pixels.

    As a convolution of every channel by itself it reads features in the layout that convolutions leave, whatever their
    number of channels, and in 8 bits as well.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__(channels, channels, factor, stride=factor, groups=channels, bias=False)
        nn.init.constant_(self.weight, 1 / factor**2)


def averaging(channels: int, factor: int) -> nn.Module:
    """``averaged`` as a module."""
    return nn.Identity() if factor == 1 else Averaged(channels, factor)


def averaged(x: Tensor, factor: int) -> Tensor:
    """(B, C, h, w) to (B, C, h / factor, w / factor)."""
    return x if factor == 1 else F.avg_pool2d(x, factor)


def finer(x: Tensor, times: int) -> Tensor:
    """(B, C, h, w) to (B, C, times h, times w), bilinear; for a fixed factor runtimes have faster kernels."""
    return x if times == 1 else F.interpolate(x, scale_factor=float(times), mode="bilinear", align_corners=False)
