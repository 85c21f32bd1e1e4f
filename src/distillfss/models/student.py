"""The support-free student: the teacher with its support distilled into a few learned tokens per layer.

The paper's student (ConvDist, DistillFSS eq. 5) guesses the coarse maps by convolutions that start from nothing. Here
the support's keys are clustered, and the clusters take the support's place: the student starts as good as its teacher,
and everything in it goes on learning. Its cost does not depend on the support, and no image or feature map of it is
kept. The paper's student remains as ``DcamaStudent``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.backbones.base import Layer
from distillfss.models.attention import CoarseAttention, Encoding, attend, positional_encoding
from distillfss.models.clusters import Clusters, cluster
from distillfss.models.detail import Detail
from distillfss.models.mixer import Mixer, at_coarse_stride, coarse_layers, joining_strides
from distillfss.models.probe import probe_map, probe_width
from distillfss.models.prototypes import cosines, prototypes
from distillfss.models.teacher import SupportTokens, Teacher

TOKENS, LEAST_PER_GROUP = 128, 16
"""Tokens per layer, shared out evenly to background and classes; but no fewer than this for each."""


def tokens_per_group(ways: int) -> int:
    """Tokens for the background, and for every one of n classes."""
    return max(LEAST_PER_GROUP, TOKENS // (ways + 1))


class DistilledAttention(nn.Module):
    """Coarse maps of one layer without a support.

    ``mean over heads of softmax(Q K^T / temperature + log w) v`` over M tokens that stand for w support tokens each,
    and the prototype map.

    Parameters
    ----------
    channels
        Channels of the layer's features.
    ways
        Number of classes n.
    """

    def __init__(self, channels: int, ways: int, heads: int = 4, head_channels: int = 16) -> None:
        super().__init__()
        self.attention = CoarseAttention(channels, heads, head_channels)
        del self.attention.key  # the keys are here already
        count = tokens_per_group(ways) * (ways + 1)
        self.keys = nn.Parameter(torch.randn(heads, count, head_channels) / math.sqrt(head_channels))
        self.values = nn.Parameter(torch.rand(count, ways))
        self.register_buffer("log_weights", torch.zeros(count))
        self.prototypes = nn.Parameter(torch.randn(ways, 2, channels) / math.sqrt(channels))

    @torch.no_grad()
    def take_over(self, attention: CoarseAttention, features: Tensor, shares: Tensor, seed: int) -> None:
        """Become ``attention`` shown a support: features (S, C, h, w) and class shares (S, n, h, w)."""
        state = attention.state_dict()
        self.attention.load_state_dict({name: state[name] for name in self.attention.state_dict()})
        keys, values = attention.keys_and_values(features, shares)
        found = cluster(keys.transpose(0, 1).flatten(1), values, tokens_per_group(values.shape[1]), seed)
        self._set(found)
        self.prototypes.copy_(prototypes(features, shares))

    def _set(self, clusters: Clusters) -> None:
        heads, _, width = self.keys.shape
        self.keys.copy_(clusters.centres.unflatten(1, (heads, width)).transpose(0, 1))
        self.values.copy_(clusters.values)
        self.get_buffer("log_weights").copy_(clusters.log_weights)

    def forward(self, features: Tensor, encoding: Encoding = positional_encoding) -> Tensor:
        """(B, C, h, w) to coarse maps (B, n, 2, h, w); ``encoding`` as in ``CoarseAttention.forward``."""
        queries = self.attention.queries(features, encoding)
        shares = attend(queries, self.keys, self.values, bias=self.get_buffer("log_weights"))
        look_alikes = shares.transpose(1, 2).unflatten(2, features.shape[-2:])
        background, foreground = cosines(features, F.normalize(self.prototypes, dim=-1)).unbind(2)
        return torch.stack([look_alikes, foreground - background], dim=2)


class Student(nn.Module):
    """Segments without any support: its cost does not depend on k.

    Parameters
    ----------
    layers
        The backbone's pyramid.
    ways
        Number of classes n.
    fine_channels
        Of the backbone's map of stride 2, if the student is to draw details; see ``Detail``.
    joining
        Of the mixer, as in the teacher to be taken over; see ``Mixer``. None: ``joining_strides``.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        ways: int,
        fine_channels: int | None = None,
        joining: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.ways = ways
        self.layers = tuple(layers)
        self.coarse = coarse_layers(layers)
        self.attention = nn.ModuleList(DistilledAttention(layers[index].channels, ways) for index in self.coarse)
        self.register_buffer("probe", torch.zeros(ways, probe_width(layers)))
        self.mixer = Mixer(layers, joining=joining_strides(ways) if joining is None else joining)
        self.detail = None if fine_channels is None else Detail(fine_channels, ways)

    def take_over(self, teacher: Teacher, support: SupportTokens, seed: int) -> None:
        """Start as the teacher that is shown this support, as far as a few tokens can stand for it."""
        assert support.probe is not None
        assert support.probe.dim() == 2
        self.mixer.load_state_dict(teacher.mixer.state_dict())
        self.get_buffer("probe").copy_(support.probe)
        parts = zip(self.attention, teacher.attention, support.features, support.masks, strict=True)
        for own, theirs, features, shares in parts:
            assert isinstance(own, DistilledAttention)
            assert isinstance(theirs, CoarseAttention)
            own.take_over(theirs, features, shares, seed)

    def forward(
        self,
        query: Sequence[Tensor],
        probe: Tensor | None = None,
        encoding: Encoding = positional_encoding,
        fine: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, n, 2, H / 4, W / 4) and coarse maps of the query, given its pyramid.

        Parameters
        ----------
        query
            (B, C_l, h_l, w_l) each.
        probe
            (B, n, D + 1). For images of the support, whose own pixels are in the student's probe, that of the others.
        encoding
            Where the query's tokens lie; other than the default if it is a part of its image.
        fine
            The backbone's map of stride 2, (B, C, H / 2, W / 2), for a student that draws details: then logits are
            (B, n, 2, H / 2, W / 2). Without it they are what they were before.
        """
        maps = [
            attention(at_coarse_stride(query[index], self.layers[index]), encoding)
            for attention, index in zip(self.attention, self.coarse, strict=True)
        ]
        probe = self.get_buffer("probe") if probe is None else probe
        logits = self.mixer(maps, probe_map(query, probe, self.layers), query)
        return (logits if fine is None or self.detail is None else self.detail(logits, fine)), maps
