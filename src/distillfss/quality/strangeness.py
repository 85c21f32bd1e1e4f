"""Whether an image is unlike the support: how far its mean features are from theirs.

Standardised features of the support are 0 on average, so no image of it has to be kept; one number, the limit, is.
Where the backbone has learnt since they were standardised, their average is kept as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distillfss.backbones.base import Layer

LEAST_STRIDE = 16
"""Finer layers see edges and grain; on seven data sets they told no more."""
MARGINS = {2: 2.5, 3: 2.0, 4: 2.0}
MARGIN = 1.5
"""An image is strange that is this many times as far from the others as the farthest support image is from the other
support images: seen on pools of seven data sets, that is so for about 1 in 20 images of the same kind and for 3 in 4 of
another one. With few support images the farthest is not far yet, hence more."""


def judged_layers(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Indices of the layers that are looked at."""
    return tuple(index for index, layer in enumerate(layers) if layer.stride >= LEAST_STRIDE)


Middle = Sequence[Tensor]
"""Mean of the support's standardised features, (C_l,) for every layer that is looked at."""


def middle(pyramids: Sequence[Sequence[Tensor]], layers: Sequence[Layer]) -> list[Tensor]:
    """The middle of a support, from the standardised pyramids of its images, (1, C_l, h_l, w_l) each."""
    return [torch.stack([p[index].mean((0, 2, 3)) for p in pyramids]).mean(0) for index in judged_layers(layers)]


def strangeness(features: Sequence[Tensor], layers: Sequence[Layer], around: Middle | None = None) -> float:
    """Squared distance of an image from the support's middle, every layer weighing alike: 1 per layer is a standard
    deviation of pixels in every channel.

    Parameters
    ----------
    features
        The image's standardised pyramid, (1, C_l, h_l, w_l) each.
    around
        The support's middle, if it is not 0.
    """
    means = [features[index].mean((0, 2, 3)) for index in judged_layers(layers)]
    if around is not None:
        means = [mean - centre.to(mean) for mean, centre in zip(means, around, strict=True)]
    return float(sum(mean.square().mean() for mean in means))


def widened(
    most: float | None, pyramids: Sequence[Sequence[Tensor]], layers: Sequence[Layer], around: Middle | None = None
) -> float | None:
    """The limit of a model that has learnt from more images beside its support: no image like those is strange to it.

    Parameters
    ----------
    most
        The limit so far; None stays None.
    pyramids
        Of the further images, in the model's own standardisation, (1, C_l, h_l, w_l) each.
    around
        The model's middle, if it is not 0.
    """
    if most is None:
        return None
    return max(most, MARGIN * max(strangeness(pyramid, layers, around) for pyramid in pyramids))


@torch.no_grad()
def limit(pyramids: Sequence[Sequence[Tensor]], layers: Sequence[Layer], *, standardised: bool = False) -> float | None:
    """The strangeness above which an image is unlike the support; None for one image, which says nothing of others.

    Each support image is held against the mean and deviation of the others.

    Parameters
    ----------
    pyramids
        Of every support image, before standardisation, (1, C_l, h_l, w_l) each.
    standardised
        They are so already, by statistics that are not theirs: deviations are those.
    """
    count = len(pyramids)
    if count < 2:
        return None
    distances = torch.zeros(count, dtype=torch.float64)
    for index in judged_layers(layers):
        means = torch.stack([pyramid[index].double().mean((0, 2, 3)) for pyramid in pyramids]).cpu()
        squares = torch.stack([pyramid[index].double().square().mean((0, 2, 3)) for pyramid in pyramids]).cpu()
        mean = (means.sum(0) - means) / (count - 1)
        deviation = ((squares.sum(0) - squares) / (count - 1) - mean.square()).clamp_min(0).sqrt()
        if standardised:
            deviation = torch.ones_like(deviation)
        least = 1e-3 * deviation.mean(1, keepdim=True).clamp_min(1e-12)
        distances += ((means - mean) / deviation.maximum(least)).square().mean(1)
    return MARGINS.get(count, MARGIN) * float(distances.max())
