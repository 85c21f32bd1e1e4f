"""The mixer: coarse maps of all strides and the query's own features become background/foreground logits.

It knows nothing of classes or support: every class' maps pass through the same weights. What only depends on the query
(its projected features) is computed once, whatever the number of classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.backbones.base import Layer
from distillfss.backbones.pyramids import to_grid

COARSE_STRIDES = (8, 16, 32)
"""Strides of the layers that get a coarse map; the finest logits have stride 4."""
FINEST_STRIDE = 4
JOINING_STRIDES = (8, FINEST_STRIDE)
"""Where the query's own features and the probe's map join, coarse to fine."""
MANY_CLASSES = 4
"""From so many on they join at stride 8 alone, since every class takes its own convolution: at stride 4 a class more
costs as much as everything coarser together (``docs/performance.md``). The probe's own logits stay at stride 4."""
FINEST_COARSE_STRIDE = 16
"""Finer layers are averaged to this stride before they are compared: a sixteenth of the work at stride 8, and fine
detail comes from the probe and the query's own features."""
MAPS_PER_LAYER = 2
"""Coarse maps of every layer and class: the attention's and the prototypes'. The probe's map comes once."""
FIRST_PROBE_GAIN = 3.0
"""Logits per unit of the probe's map at the start: before any training, the probe decides."""
FIRST_LOGIT_WEIGHT = 0.03


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(..., C, h, w) to (..., C, *size), bilinear with half-pixel centres."""
    lead = x.shape[:-3]
    out = F.interpolate(x.flatten(0, -4) if len(lead) != 1 else x, tuple(size), mode="bilinear", align_corners=False)
    return out.unflatten(0, lead) if len(lead) != 1 else out


def coarse_layers(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Indices of the pyramid's layers that get a coarse map."""
    return tuple(index for index, layer in enumerate(layers) if layer.stride in COARSE_STRIDES)


def coarse_stride(layer: Layer) -> int:
    """Stride of a layer's coarse map."""
    return max(layer.stride, FINEST_COARSE_STRIDE)


def at_coarse_stride(feature: Tensor, layer: Layer) -> Tensor:
    """A layer's map (B, C, h, w) on the grid of its coarse map."""
    factor = coarse_stride(layer) // layer.stride
    return feature if factor == 1 else F.avg_pool2d(feature, factor, ceil_mode=True)


def conv(cin: int, cout: int, groups: int = 4) -> nn.Sequential:
    """3x3 convolution, group normalisation (statistics of one image, so a batch of one is no special case), ReLU."""
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.GroupNorm(groups, cout), nn.ReLU(inplace=True))


def joining_strides(ways: int) -> tuple[int, ...]:
    """Where the query's own features join in a mixer that is to be trained for so many classes."""
    return JOINING_STRIDES if ways < MANY_CLASSES else JOINING_STRIDES[:1]


class QueryContext(nn.Module):
    """The query's own features, projected and merged coarse to fine: (B, C, h, w) at every stride.

    Parameters
    ----------
    layers
        The backbone's pyramid.
    channels
        Channels of the result.
    finest
        Stride of the finest result; finer layers have no part in it.
    """

    def __init__(self, layers: Sequence[Layer], channels: int, finest: int = FINEST_STRIDE) -> None:
        super().__init__()
        self.strides = {str(index): layer.stride for index, layer in enumerate(layers) if layer.stride >= finest}
        self.project = nn.ModuleDict(
            {index: nn.Conv2d(layers[int(index)].channels, channels, 1) for index in self.strides}
        )
        merging = (stride for stride in (*COARSE_STRIDES[:2], FINEST_STRIDE) if stride >= finest)
        self.merge = nn.ModuleDict({str(stride): conv(channels, channels) for stride in merging})

    def forward(self, features: Sequence[Tensor]) -> dict[int, Tensor]:
        """Context by stride, from pyramid ``features`` (B, C_l, h_l, w_l)."""
        merged: dict[int, Tensor] = {}
        for index, project in self.project.items():
            stride, projected = self.strides[index], project(features[int(index)])
            merged[stride] = merged[stride] + projected if stride in merged else projected
        for stride in sorted(map(int, self.merge), reverse=True):
            finer = merged[stride]
            merged[stride] = self.merge[str(stride)](finer + resize(merged[stride * 2], finer.shape[-2:]))
        return merged


class Mixer(nn.Module):
    """Logits from coarse maps, the probe's map and query features.

    Per stride, a convolution block over that stride's coarse maps; blocks merged coarse to fine (1/32, 1/16, 1/8); the
    probe's map and the query's context join at 1/8 and 1/4; then the logits, to which the probe's own are added.
    Joining is a sum of projections, which equals concatenation followed by a convolution, but lets the query's half be
    computed once for all classes.

    Parameters
    ----------
    layers
        The backbone's pyramid.
    channels
        Channels per class.
    context_channels
        Channels of the query's context, shared by all classes.
    joining
        Strides at which the probe's map and the context join, from coarse to fine: ``joining_strides``. The logits are
        those of the last.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        channels: int = 16,
        context_channels: int = 32,
        joining: Sequence[int] = JOINING_STRIDES,
    ) -> None:
        super().__init__()
        self.joining = tuple(joining)
        self.map_strides = [layers[index].stride for index in coarse_layers(layers)]
        self.context = QueryContext(layers, context_channels, self.joining[-1])
        self.maps = nn.ModuleDict(
            {str(s): conv(MAPS_PER_LAYER * self.map_strides.count(s), channels) for s in COARSE_STRIDES}
        )
        self.merge = nn.ModuleDict({str(s): conv(channels, channels) for s in COARSE_STRIDES[:2]})
        self.join = nn.ModuleDict({str(s): nn.Conv2d(context_channels, channels, 1) for s in self.joining})
        self.probe = nn.ModuleDict({str(s): nn.Conv2d(1, channels, 1) for s in self.joining})
        self.refine = nn.ModuleDict({str(s): conv(channels, channels) for s in self.joining})
        self.logits = nn.Conv2d(channels, 2, 1)
        nn.init.normal_(self.logits.weight, std=FIRST_LOGIT_WEIGHT)
        for unheard in self.probe.parameters():
            nn.init.zeros_(unheard)
        self.probe_gain = nn.Parameter(torch.tensor(FIRST_PROBE_GAIN))

    def forward(
        self, coarse: Sequence[Tensor], probe: Tensor | None, features: Sequence[Tensor], seen: Tensor | None = None
    ) -> Tensor:
        """Background/foreground logits of every class at stride 4.

        Parameters
        ----------
        coarse
            Per coarse layer, (B, n, 2, h_l, w_l).
        probe
            (B, n, 1, H / 4, W / 4), about -1 to 1; None to do without.
        features
            The query's pyramid, (B, C_l, h_l, w_l) each.
        seen
            (B,) of 0 and 1: whether the query's own features count, or the maps alone. All count if None.

        Returns
        -------
        Tensor
            (B, n, 2, H / 4, W / 4); channel 0 is background.
        """
        batch, ways = coarse[0].shape[:2]
        context = self.context(features)
        if seen is not None:
            context = {stride: own * seen[:, None, None, None] for stride, own in context.items()}
        mixed = self._merged(coarse, {stride: own.shape[-2:] for stride, own in context.items()})
        for stride in self.joining:
            own = self.join[str(stride)](context[stride])
            mixed = resize(mixed, own.shape[-2:])
            if probe is not None:
                mixed = mixed + self.probe[str(stride)](to_grid(probe.flatten(0, 1), own.shape[-2:]))
            mixed = mixed.unflatten(0, (batch, ways)) + own[:, None]
            mixed = self.refine[str(stride)](mixed.flatten(0, 1))
        logits = self.logits(mixed)
        if self.joining[-1] != FINEST_STRIDE:
            logits = resize(logits, features[0].shape[-2:])
        logits = logits.unflatten(0, (batch, ways))
        if probe is not None:
            logits = logits + self.probe_gain * torch.cat([-probe, probe], dim=2)
        return logits

    def _merged(self, coarse: Sequence[Tensor], sizes: Mapping[int, Sequence[int]]) -> Tensor:
        """Coarse maps of all strides merged coarse to fine, (B * n, C, H / 8, W / 8)."""
        mixed: Tensor | None = None
        for stride in sorted(COARSE_STRIDES, reverse=True):
            of_stride = [m for m, s in zip(coarse, self.map_strides, strict=True) if s == stride]
            stacked = torch.cat(of_stride, dim=2).flatten(0, 1)
            size = sizes[stride]
            block = self.maps[str(stride)](to_grid(stacked, size))
            mixed = block if mixed is None else self.merge[str(stride)](block + resize(mixed, size))
        assert mixed is not None
        return mixed
