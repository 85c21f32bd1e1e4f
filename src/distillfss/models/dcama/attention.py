"""DCAMA's attention (Shi et al. 2022, eq. 1 and 2): full-width projections of query and key, the masks as values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from distillfss.models.attention import attend, tokens

HEADS = 8


def positional_encoding(channels: int, count: int) -> Tensor:
    """Sinusoids of the running number of a token, counted row by row (Vaswani et al. 2017).

    Returns
    -------
    Tensor
        (count, channels), -1 to 1; sine in the even channels, cosine in the odd ones.
    """
    frequency = torch.exp(torch.arange(0, channels, 2) * (-math.log(10_000.0) / channels))
    angle = torch.arange(count)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class CrossAttention(nn.Module):
    """Coarse maps: ``mean over heads of softmax(Q K^T / sqrt(d)) v``; one per stride, shared by the stride's layers.

    Parameters
    ----------
    channels
        Channels of the layers' features, a multiple of ``heads``.
    heads
        Attention heads; each is ``channels / heads`` wide.
    """

    def __init__(self, channels: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)

    def forward(self, query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
        """Coarse maps of the query.

        Parameters
        ----------
        query
            (B, C, h, w) features of the query images.
        support
            (S, C, hs, ws) features of all support images; every pixel of every one is attended jointly.
        masks
            (S, n, hs, ws), 0 to 1: each class' mask at each token. NaN in any class leaves the token out.

        Returns
        -------
        Tensor
            (B, n, h, w), 0 to 1.
        """
        q = self._split(self.query(encoded(query)))
        k = self._split(self.key(encoded(support)))
        # all support images become one long row of tokens, shared by every query of the batch
        k = k.transpose(0, 1).flatten(1, 2)
        v = masks.flatten(2).transpose(1, 2).flatten(0, 1)
        known = ~v.isnan().any(-1)
        maps = attend(q, k[:, known], v[known], scale=q.shape[-1] ** -0.5)
        return maps.transpose(1, 2).unflatten(2, query.shape[-2:])

    def _split(self, projected: Tensor) -> Tensor:
        """(B, N, C) to (B, heads, N, C / heads)."""
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def encoded(features: Tensor) -> Tensor:
    """(B, C, h, w) as (B, h * w, C) tokens with their positions, which start anew in every image."""
    row = tokens(features).contiguous()  # whatever the layout of the features, the projections round the same
    return row + positional_encoding(row.shape[2], row.shape[1]).to(row)
