"""Coarse maps of all layers that share a grid, in one go.

- A norm, then a projection: ``W ((x - mean x) / sigma) = (W - W 1 1^T / C) x / sigma``, so the projection is one of the
  features themselves. Queries are brought to unit length afterwards, so instead of dividing by sigma, what comes to the
  projection is multiplied by it.
- Positions: a pixel's code is its row's beside its column's, so its projection is a sum of theirs.
- Cosines: foreground less background is one product, with the difference of both prototypes.
- The weights of tokens, log w, are one more row of the keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.backbones.base import Layer
from distillfss.models.attention import frequencies, places
from distillfss.models.lean.folding import averaging, folded, standardising, total
from distillfss.models.mixer import coarse_stride
from distillfss.models.student import DistilledAttention

SHORTEST = 1e-12
"""Least length that is divided by, as in ``torch.nn.functional.normalize``."""


class LeanAttention(nn.Module):
    """``DistilledAttention`` of several layers, of raw features.

    Parameters
    ----------
    layers
        These layers.
    parts
        The fitted attention of each.
    means, stds
        Statistics of their channels, (C_l,) each.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        parts: Sequence[DistilledAttention],
        means: Sequence[Tensor],
        stds: Sequence[Tensor],
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.heads, _, self.width = parts[0].keys.shape
        self.ways = parts[0].prototypes.shape[0]
        self.eps = parts[0].attention.norm.eps
        self.average = nn.ModuleList(
            averaging(layer.channels, coarse_stride(layer) // layer.stride) for layer in self.layers
        )
        self.read = nn.ModuleList(reading(*each) for each in zip(parts, means, stds, strict=True))
        self.standardise = nn.ModuleList(standardising(*each) for each in zip(means, stds, strict=True))
        self.total = nn.ModuleList(total(len(mean)) for mean in means)
        shares = torch.tensor([1 / len(mean) for mean in means])
        self.register_buffer("share_of_channel", shares[:, None, None])

        rows, columns, always = zip(*(position_weights(part) for part in parts), strict=True)
        self.register_buffer("frequencies", torch.cat([frequencies(len(mean)) for mean in means])[:, None])
        self.register_buffer("by_row", side_by_side(rows))
        self.register_buffer("by_column", side_by_side(columns))
        self.register_buffer("always", torch.cat(always)[:, None])

        scale = torch.cat([part.attention.log_scale.detach().exp() for part in parts])
        keys = torch.cat([part.keys.detach().transpose(1, 2) for part in parts])
        weights = torch.cat([part.get_buffer("log_weights").expand(self.heads, 1, -1) for part in parts])
        self.register_buffer("scale", scale)
        self.register_buffer("keys", torch.cat([keys, weights / scale], dim=1))  # what meets the last row is the scale
        self.register_buffer(
            "values", torch.cat([(part.values.detach() / self.heads).expand(self.heads, -1, -1) for part in parts])
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Raw features (B, C_l, h_l, w_l) to look-alikes of all layers, then their cosines: (B * n, 2 L, h, w)."""
        grids = [average(f) for average, f in zip(self.average, features, strict=True)]
        size = grids[0].shape[-2:]
        read = self._by_layer([conv(f) for conv, f in zip(self.read, grids, strict=True)])
        projected, average, closer = read.split([self.heads * self.width, 1, self.ways], dim=2)
        parts = zip(self.total, self.standardise, grids, strict=True)
        square = self._by_layer([add(squared(standardise(f))) for add, standardise, f in parts])
        variance = square * self.get_buffer("share_of_channel") - squared(average)
        deviation = (variance.clamp_min(0) + self.eps).sqrt()
        look_alikes = self._attended(projected + deviation * self._positions(*size))
        cosines = closer / square.sqrt().clamp_min(SHORTEST)
        # with one class nothing has to change places, and some runtimes stumble over axes of one that do
        kinds = [kind.flatten(2) if self.ways == 1 else kind.transpose(1, 2) for kind in (look_alikes, cosines)]
        return torch.cat(kinds, dim=-2).reshape(-1, 2 * len(self.layers), *size)

    def _by_layer(self, maps: Sequence[Tensor]) -> Tensor:
        """Of every layer, (B, C, h, w), to (B, L, C, h * w); side by side first, which is one step for all."""
        batch, channels = maps[0].shape[:2]
        return torch.cat(list(maps), dim=1).view(batch, len(self.layers), channels, -1)

    def _positions(self, height: int, width: int) -> Tensor:
        """(L, heads * d, h * w)."""
        frequency = self.get_buffer("frequencies")
        rows, columns = (
            self.get_buffer(weights) @ torch.cat([angle.sin(), angle.cos()])
            for weights, angle in (
                ("by_row", frequency * places(height).to(frequency)),
                ("by_column", frequency * places(width).to(frequency)),
            )
        )
        both = (rows + self.get_buffer("always"))[:, :, None] + columns[:, None]
        return both.flatten(1).unflatten(0, (len(self.layers), self.heads * self.width))

    def _attended(self, queries: Tensor) -> Tensor:
        """Queries (B, L, heads * d, N) of any length to look-alikes (B, L, n, N); of one class (B, L, N, 1)."""
        of_heads = queries.flatten(1, 2).unflatten(1, (len(self.layers) * self.heads, self.width))
        length = squared(of_heads).sum(2, keepdim=True).sqrt().clamp_min(SHORTEST)
        scaled = torch.cat([of_heads, length], dim=2) * (self.get_buffer("scale") / length)
        attention = (scaled.transpose(2, 3) @ self.get_buffer("keys")).softmax(-1)
        shares = attention @ self.get_buffer("values")
        of_layers = shares.unflatten(1, (len(self.layers), self.heads)).sum(2)
        return of_layers if self.ways == 1 else of_layers.transpose(2, 3)


def squared(x: Tensor) -> Tensor:
    """As a product, which costs less than a power wherever that is not known to be the second."""
    return x * x


@torch.no_grad()
def reading(part: DistilledAttention, mean: Tensor, std: Tensor) -> nn.Conv2d:
    """Of a layer's raw features: centred projections, the mean over channels, cosines before division by the length."""
    attention = part.attention
    weight = attention.query.weight.double() * attention.norm.weight.double()
    centred = weight - weight.mean(1, keepdim=True)
    average = torch.full((1, len(mean)), 1 / len(mean), dtype=torch.double, device=mean.device)
    background, foreground = F.normalize(part.prototypes.double(), dim=-1).unbind(1)
    rows = torch.cat([centred, average, foreground - background])
    return folded(rows, rows.new_zeros(len(rows)), mean, std)


@torch.no_grad()
def position_weights(part: DistilledAttention) -> tuple[Tensor, Tensor, Tensor]:
    """What to make of sine and cosine of row and column, (heads * d, 2, C / 4) each; what is added everywhere."""
    attention = part.attention
    weight = attention.query.weight
    quarter = weight.shape[1] // 4
    code = (attention.position_gain * weight)[:, : 4 * quarter].unflatten(1, (4, quarter))
    return code[:, :2], code[:, 2:], attention.query.bias + weight @ attention.norm.bias


def side_by_side(codes: Sequence[Tensor]) -> Tensor:
    """Weights (heads * d, 2, Q_l) of several layers as one matrix, for the sines of all before the cosines of all."""
    return torch.cat([torch.block_diag(*(code[:, part] for code in codes)) for part in (0, 1)], dim=1)
