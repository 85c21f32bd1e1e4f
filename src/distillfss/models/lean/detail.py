"""The correction of details, given what is linear in the fine map."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.models.detail import SOFTNESS, Detail

BLOCK = 4
"""Rows and columns of pixels that are corrected as one: 16 numbers, as many as runtimes compute at a time anyway. Sides
of the map of stride 2 are multiples of 16."""


class LeanDetail(nn.Module):
    """``Detail`` from the projected fine map on; its last convolution gives 4x4 pixels at a time.

    Parameters
    ----------
    detail
        As fitted; its numbers are copied.
    """

    def __init__(self, detail: Detail) -> None:
        super().__init__()
        self.guess = copy.deepcopy(detail.guess)
        self.correct = in_blocks(detail.correct, BLOCK)

    def forward(self, logits: Tensor, seen: Tensor) -> Tensor:
        """``Detail.corrected``: logits (B, n, 2, H / 2, W / 2), projected map (B, C n, H / 2, W / 2)."""
        background, foreground = logits.unbind(2)
        guess = ((foreground - background) / SOFTNESS).tanh()
        more = F.pixel_shuffle(self.correct(F.relu(seen + self.guess(guess))), BLOCK)
        return torch.stack([background - more, foreground + more], dim=2)


@torch.no_grad()
def in_blocks(conv: nn.Conv2d, side: int) -> nn.Conv2d:
    """A convolution for ``pixel_shuffle``: what ``conv``, k x k with padding k // 2, gives for ``side * side`` pixels.

    (B, C, h, w) to (B, side * side * O, h / side, w / side).
    """
    reach = conv.kernel_size[0] // 2
    whole = side + 2 * reach
    blocks = nn.Conv2d(
        conv.in_channels,
        conv.out_channels * side * side,
        whole,
        stride=side,
        padding=reach,
        groups=conv.groups,
        dtype=conv.weight.dtype,
    )
    weight = conv.weight.new_zeros(conv.out_channels, side, side, conv.weight.shape[1], whole, whole)
    for row in range(side):
        for column in range(side):
            weight[:, row, column, :, row : row + 2 * reach + 1, column : column + 2 * reach + 1] = conv.weight
    assert blocks.bias is not None
    assert conv.bias is not None
    blocks.weight.copy_(weight.flatten(0, 2))
    blocks.bias.copy_(conv.bias.repeat_interleave(side * side))
    return blocks
