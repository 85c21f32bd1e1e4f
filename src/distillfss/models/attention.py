"""Dense cross-query-and-support attention weighted mask aggregation (DCAMA, Shi et al. 2022, eq. 1 and 2).

For every pixel of the query: how much foreground do its look-alikes in the support carry? The value of a support token
is one number per class, its share of that class' mask, so all classes share one attention.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FIRST_SCALES = (5.0, 25.0)
"""Inverse temperatures of the first and the last head at the start."""


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # what prediction asked for first may be needed for a gradient later
def positional_encoding(channels: int, height: int, width: int) -> Tensor:
    """Sinusoids of row and column (Vaswani et al. 2017, in two dimensions); kept, so not to be changed in place.

    Positions are fractions of the image's sides, so grids of different resolution agree on where things are.

    Returns
    -------
    Tensor
        (height * width, channels), values in -1 to 1. A quarter of the channels each for sine and cosine of the row
        and of the column; channels that do not divide by four stay zero.
    """
    rows = frequencies(channels) * places(height)[:, None]
    columns = frequencies(channels) * places(width)[:, None]
    of_row = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, width, -1)
    of_column = torch.cat([columns.sin(), columns.cos()], dim=1).expand(height, -1, -1)
    code = torch.cat([of_row, of_column], dim=2).flatten(0, 1)
    return F.pad(code, (0, channels - code.shape[1]))


Encoding = Callable[[int, int, int], Tensor]
"""Channels, height and width of a map to codes of its places, (h * w, channels) or one for each image of the batch."""


def frequencies(channels: int) -> Tensor:
    """(channels // 4,), from 1 down to nearly 1 / 10,000: what places are multiplied by."""
    quarter = channels // 4
    return torch.exp(torch.arange(quarter) * (-math.log(10_000.0) / max(quarter, 1)))


def places(side: int) -> Tensor:
    """Middles of the pixels of a side, which is 100 long whatever its resolution: (side,)."""
    return (torch.arange(side) + 0.5) * (100.0 / side)


def tokens(features: Tensor) -> Tensor:
    """(B, C, h, w) feature map as (B, h * w, C) tokens."""
    return features.flatten(2).transpose(1, 2)


class CoarseAttention(nn.Module):
    """Coarse maps of one layer: ``mean over heads of softmax(Q K^T / temperature) v``.

    Queries and keys are normalised per token before their projections (features of different domains differ in scale)
    and to unit length after them, so the logit is a cosine over a learned temperature. The key projection starts equal
    to the query's: look-alikes attend to each other from the first step. The heads start from blurred to sharp.

    Parameters
    ----------
    channels
        Channels of the layer's features.
    heads, head_channels
        Attention heads and channels of each.
    """

    def __init__(self, channels: int, heads: int = 4, head_channels: int = 16) -> None:
        super().__init__()
        self.heads = heads
        self.head_channels = head_channels
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, heads * head_channels)
        self.key = nn.Linear(channels, heads * head_channels)
        self.key.load_state_dict(self.query.state_dict())
        self.position_gain = nn.Parameter(torch.zeros(()))
        self.log_scale = nn.Parameter(
            torch.linspace(math.log(FIRST_SCALES[0]), math.log(FIRST_SCALES[1]), heads).view(heads, 1, 1)
        )

    def forward(
        self, query: Tensor, support: Tensor, masks: Tensor, encoding: Encoding = positional_encoding
    ) -> Tensor:
        """Coarse maps of the query.

        Parameters
        ----------
        query
            (B, C, h, w) features of the query images.
        support
            (S, C, hs, ws) features of all support images; every pixel of every one is attended jointly.
        masks
            (S, n, hs, ws) share of each class' mask in each token, 0 to 1. Tokens may also be left out: NaN in any
            class marks a token nothing is known of.
        encoding
            Where the query's tokens lie; other than the default if ``query`` is a part of its image.

        Returns
        -------
        Tensor
            (B, n, h, w), 0 to 1.
        """
        keys, values = self.keys_and_values(support, masks)
        maps = attend(self.queries(query, encoding), keys, values)
        return maps.transpose(1, 2).unflatten(2, query.shape[-2:])

    def queries(self, features: Tensor, encoding: Encoding = positional_encoding) -> Tensor:
        """(B, C, h, w) to (B, heads, h * w, d), of unit length over the temperature."""
        return self._heads(self.query(self._encoded(features, encoding))) * self.log_scale.exp()

    def keys_and_values(self, support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Support features (S, C, hs, ws) and shares (S, n, hs, ws) to keys (heads, Nk, d) and values (Nk, n).

        All support images become one long row of tokens; those nothing is known of are left out.
        """
        k = self._heads(self.key(self._encoded(support))).transpose(0, 1).flatten(1, 2)
        v = masks.flatten(2).transpose(1, 2).flatten(0, 1)
        known = ~v.isnan().any(-1)
        return k[:, known], v[known]

    def _encoded(self, features: Tensor, encoding: Encoding = positional_encoding) -> Tensor:
        places = encoding(*features.shape[1:]).to(features)
        return self.norm(tokens(features)) + self.position_gain * places

    def _heads(self, projected: Tensor) -> Tensor:
        return F.normalize(projected.unflatten(-1, (self.heads, self.head_channels)).transpose(1, 2), dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float = 1.0, bias: Tensor | None = None) -> Tensor:
    """Attention with one-number values: ``mean over heads of softmax(scale q k^T + bias) v``.

    The library's fused attention streams over the keys, so no query-by-support matrix is ever held and memory grows
    linearly with the support. It wants values as wide as the keys; the n classes fill the first columns, several
    passes serve more classes than columns.

    Parameters
    ----------
    q
        (B, heads, Nq, d)
    k
        (heads, Nk, d)
    v
        (Nk, n)
    scale
        What the logits are multiplied by.
    bias
        (Nk,) added to them.

    Returns
    -------
    Tensor
        (B, Nq, n); zeros if there is no support token at all.
    """
    batch, heads, count, width = q.shape
    if k.shape[1] == 0:
        return q.new_zeros(batch, count, v.shape[1])
    k = k.expand(batch, -1, -1, -1)
    mask = None if bias is None else bias.to(q.dtype).expand(batch, heads, count, -1)
    parts = []
    for columns in v.split(width, dim=1):
        padded = F.pad(columns, (0, width - columns.shape[1])).expand(batch, heads, -1, -1)
        out = F.scaled_dot_product_attention(q, k, padded.to(q.dtype), attn_mask=mask, scale=scale)
        parts.append(out[..., : columns.shape[1]].mean(1))
    return torch.cat(parts, dim=-1)
