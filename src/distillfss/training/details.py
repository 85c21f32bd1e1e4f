"""Whether masks have details that logits of stride 4 cannot draw, and what a fit does about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from distillfss.geometry import GRID, working_size
from distillfss.models.mixer import FINEST_STRIDE, resize
from distillfss.training.targets import class_masks

if TYPE_CHECKING:
    from distillfss.support import SupportSet

FINE_ENOUGH = 0.96
"""A class of which the grid keeps less is drawn with details."""
TOO_COARSE = 0.93
"""A class of which the grid keeps less is worked at a higher resolution."""
FAR_TOO_COARSE = 0.75
"""A class of which the grid keeps less even there, hair-thin cracks or vessels, is worked at a yet higher one."""
FINEST = 1.4
"""How much longer the side is then."""
ENLARGED = 1.75
"""How far images may be enlarged for that. A finer grid of features helps even where there is no more to be seen."""
MANY, ENLARGED_BY_MANY = 25, 2.5
"""From so many images of every class on, whatever would be drawn with details is worked at a higher resolution, and
images are enlarged farther. Learnt from DSB2018 alone, where few images gain nothing by it (docs/experiments.md)."""
WORTH_IT = 1.2
"""How much longer the side must become for that."""


def working_resolution(support: SupportSet, size: int, fine_size: int) -> int:
    """Side of a square with as many pixels as images are worked at: ``size``, or more where objects are thin or tiny.

    Parameters
    ----------
    support
        Annotated images of any sizes.
    size, fine_size
        Of ordinary objects; and of those of which ``size`` loses much, or anything that details are for where there are
        ``MANY`` images. It is ``FINEST`` times ``fine_size`` where that loses much as well. 0 works everything at
        ``size``.
    """
    many = support.fewest() >= MANY
    first = (fine_size, FINE_ENOUGH, ENLARGED_BY_MANY) if many else (fine_size, TOO_COARSE, ENLARGED)
    for finer, enough, enlarged in (first, (FINEST * fine_size, FAR_TOO_COARSE, ENLARGED)):
        finer = int(min(finer, enlarged * support.typical_side())) // GRID * GRID
        if finer < WORTH_IT * size or _least_kept(support, size) >= enough:
            break
        size = finer
    return size


def _least_kept(support: SupportSet, size: int) -> float:
    """What the grid keeps at ``size`` of the class that loses most; 0 if a class has not a pixel left."""
    own = [torch.from_numpy(sample.mask)[None, None] for sample in support.samples]
    masks = [F.interpolate(mask, working_size(mask.shape[2], mask.shape[3], size), mode="nearest")[0] for mask in own]
    for value, shots in enumerate(support.shots().values(), start=1):
        if shots > 0 and not any((mask == value).any() for mask in masks):
            return 0.0
    return min(kept_by_the_grid(masks, len(support.class_names)))


def kept_by_the_grid(masks: Sequence[Tensor], ways: int) -> list[float]:
    """IoU of every class with itself, drawn on the grid of the finest features and back: 1 where nothing is lost.

    Parameters
    ----------
    masks
        (1, H, W) class indices each, 255 where unknown, sides multiples of 4.
    ways
        Number of classes n.

    Returns
    -------
    list of float
        Of every class; 1 for a class that no mask shows.
    """
    both, either = torch.zeros(ways), torch.zeros(ways)
    for mask in masks:
        share = class_masks(mask, ways).nan_to_num(0.0)
        drawn = resize(F.avg_pool2d(share, FINEST_STRIDE), share.shape[-2:]) > 0.5
        true = share > 0.5
        both += (drawn & true).sum((0, 2, 3)).cpu()
        either += (drawn | true).sum((0, 2, 3)).cpu()
    return [float(b / e) if e else 1.0 for b, e in zip(both, either, strict=True)]
