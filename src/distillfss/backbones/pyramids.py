"""Strides 4, 8, 16 and 32 from whatever grids a network has, without a parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from distillfss.backbones.base import Layer

STRIDES = (4, 8, 16, 32)
LAYERS_OF_PLAIN = len(STRIDES)


def nearest_stride(reduction: float) -> int | None:
    """The one of ``STRIDES`` within a factor of the square root of 2; None for finer and coarser grids."""
    octave = round(math.log2(reduction))
    return 2**octave if 2**octave in STRIDES else None


def evenly_spaced(depth: int) -> list[int]:
    """Indices of up to four of ``depth`` layers, the last among them: 2, 5, 8, 11 of 12."""
    return sorted({max(0, round(depth * (part + 1) / LAYERS_OF_PLAIN) - 1) for part in range(LAYERS_OF_PLAIN)})


def plain_pyramid(names: Sequence[str], channels: Sequence[int]) -> tuple[list[int], tuple[Layer, ...]]:
    """A layer of every stride from maps of one grid, the earliest for the finest stride.

    Parameters
    ----------
    names, channels
        Of the maps, in the order of the net, at most four.

    Returns
    -------
    sources
        Index of the map that each layer is made from.
    layers
        The pyramid.
    """
    sources = [place * len(names) // LAYERS_OF_PLAIN for place in range(LAYERS_OF_PLAIN)]
    layers = (Layer(names[i], stride, channels[i]) for i, stride in zip(sources, STRIDES, strict=True))
    return sources, tuple(layers)


def stage_pyramid(
    names: Sequence[str], strides: Sequence[int], channels: Sequence[int]
) -> tuple[list[int], tuple[Layer, ...]]:
    """Every map at its own stride, finest first; a stride without one gets the nearest stride's last map.

    Of two that are equally near, the finer: averages invent nothing.

    Parameters
    ----------
    names, strides, channels
        Of the maps, at least one, in the order of the net; strides among ``STRIDES``.

    Returns
    -------
    sources
        Index of the map that each layer is made from.
    layers
        The pyramid.
    """
    sources, layers = [], []
    for stride in STRIDES:
        own = [index for index, s in enumerate(strides) if s == stride]
        if not own:
            nearest = min(strides, key=lambda s, to=stride: (abs(math.log2(s / to)), s))  # type: ignore[misc]
            own = [max(index for index, s in enumerate(strides) if s == nearest)]
        sources += own
        layers += [Layer(names[index], stride, channels[index]) for index in own]
    return sources, tuple(layers)


def to_grid(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) to (B, C, *size): averages where no side grows, else bilinear with half-pixel centres."""
    height, width = size
    if x.shape[-2:] == (height, width):
        return x
    if height <= x.shape[-2] and width <= x.shape[-1]:
        return F.adaptive_avg_pool2d(x, (height, width))
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
