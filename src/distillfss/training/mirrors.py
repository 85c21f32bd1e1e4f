"""Whether mirrored views and negatives are label-safe: not where what they change tells a class from something else.

The mirror image of a left lung is a right lung. A view that shows it as a left one says that the two cannot be told
apart, and then they are not: five drawn chests reached 85 % IoU with such views and 95 without
(``docs/experiments.md``). Annotated images tell in a second: what separates the classes in some of them is asked about
mirror images of the others.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from distillfss.backbones.base import Layer
from distillfss.models.classes import merge_classes
from distillfss.models.probe import INSTANT_RIDGE, Moments, class_weights, probe_map, rows_and_columns, sample
from distillfss.training.augment import View
from distillfss.training.lanes import at_once
from distillfss.training.pool import Encode
from distillfss.training.scoring import pixel_counts
from distillfss.training.targets import class_masks

AXES = (-1, -2)
"""Left to right, upside down."""
MOST_IMAGES = 16
"""Images that are looked at; more would say little more."""
MOST_LOST = 0.15
"""Share of its IoU that no class may lose when images are mirrored, unless chance explains it."""
CHANCE = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81, 1.80, 1.78, 1.77, 1.76, 1.75)
"""Standard errors that it explains 19 times of 20, for 2, 3, ... images: Student's t, one-sided."""
TWINS = 1 / 3
"""IoU of a class with the mirror image of another above which the two count as left and right of one thing. Two that
share out all of their images by chance reach a third."""
NEGATIVES = 1 / 3
"""Weight of an image's negative beside it, about what it has among the views of adaptation."""
MOST_LOST_TO_NEGATIVES = 0.25
"""Share of its IoU that the class may lose in images to a probe that has to know it in their negatives as well."""
FINE = 96
"""Rows and columns of the grid on which that is reckoned."""


@torch.no_grad()
def safe_mirrors(
    views: Sequence[View],
    plain: Sequence[Sequence[Tensor]],
    encode: Encode,
    layers: Sequence[Layer],
    ways: int,
    beside: Sequence[Tensor] | None = None,
) -> tuple[bool, bool]:
    """Whether images may be mirrored left to right, and upside down, without becoming images of something else.

    Parameters
    ----------
    views
        The support images, unaugmented.
    plain
        Their standardised pyramids, (1, C_l, h_l, w_l) each.
    encode
        Makes the pyramids of their mirror images.
    layers
        Of the pyramids.
    ways
        Number of classes n.
    beside
        Where other classes are, which these are learnt beside: (1, m, h, w) of 0 and 1 for every image.

    Returns
    -------
    (bool, bool)
        Not safe: the mirror images of one class lie where another does, in all images taken together (``TWINS``); or a
        probe of the other images finds a class in an image, and loses it in the mirror image (``MOST_LOST``,
        ``CHANCE``). Of a single image only the former is known: its probe would know all of its pixels by heart,
        mirrored or not.
    """
    views, plain = views[:MOST_IMAGES], plain[:MOST_IMAGES]
    masks = [class_masks(view.mask[None], ways) for view in views]
    shown, others = _on_a_grid(masks), None if beside is None else _on_a_grid(beside[:MOST_IMAGES])
    safe = [_overlap_of_twins(shown, others, axis) <= TWINS for axis in AXES]
    if len(views) > 1 and any(safe):
        counts = _counts_of_the_left_out(views, plain, masks, encode, layers)
        found = _iou(counts.sum(0))[0]
        for place, (lost, error) in enumerate(zip(*_lost(counts), strict=True)):
            safe[place] &= not bool(((lost > MOST_LOST * found) & (lost > CHANCE[len(views) - 2] * error)).any())
    left_right, upside_down = safe
    return left_right, upside_down


def _on_a_grid(masks: Sequence[Tensor]) -> Tensor:
    """Masks (1, n, H, W) of S images, of any sizes, as shares of cells, (n, S, ``FINE``, ``FINE``)."""
    shares = [F.adaptive_avg_pool2d(mask.nan_to_num(0.0).cpu(), FINE) for mask in masks]
    return torch.cat(shares).transpose(0, 1)


def _overlap_of_twins(shown: Tensor, others: Tensor | None, axis: int) -> float:
    """The highest IoU of a class of ``shown`` with the mirror image of another, of these or of ``others``."""
    classes = len(shown)
    mirrored = (shown if others is None else torch.cat([shown, others])).flip(axis).flatten(1)
    shown = shown.flatten(1)
    both = shown @ mirrored.T
    either = shown.sum(1)[:, None] + mirrored.sum(1) - both
    overlap = both / either.clamp_min(1e-9)
    overlap[:, :classes].fill_diagonal_(0.0)
    return float(overlap.max())


def _counts_of_the_left_out(
    views: Sequence[View],
    plain: Sequence[Sequence[Tensor]],
    masks: Sequence[Tensor],
    encode: Encode,
    layers: Sequence[Layer],
) -> Tensor:
    """By the probe of the others, (S, 3, n, 3): of every image, and mirrored along each axis; see ``pixel_counts``."""
    device = plain[0][0].device
    parts = _moments(plain, masks, layers)
    total = functools.reduce(operator.add, parts)

    @torch.no_grad()
    def counts(place: int) -> Tensor:
        probe = (total - parts[place]).solve(INSTANT_RIDGE)  # taken at its word, however few the others are
        image, mask = views[place].image[None], views[place].mask[None].to(device)
        seen = [(plain[place], mask), *((encode(image.flip(axis)), mask.flip(axis)) for axis in AXES)]
        return torch.stack(
            [pixel_counts(_merged(probe_map(features, probe, layers)), truth) for features, truth in seen]
        )

    return torch.stack(at_once(counts, range(len(views))))


@torch.no_grad()
def safe_negatives(
    views: Sequence[View], plain: Sequence[Sequence[Tensor]], encode: Encode, layers: Sequence[Layer]
) -> bool:
    """Whether the one class is known in images as well as before by whoever has to know it in negatives of them too.

    Not where it is the light one of two things that look alike: in the negatives that is the other one.

    Parameters
    ----------
    views, plain, encode, layers
        As for ``safe_mirrors``.

    Returns
    -------
    bool
        Not safe: a probe of the other images and their negatives finds less of the class in an image than a probe of
        the other images (``MOST_LOST_TO_NEGATIVES``, ``CHANCE``). A single image does not tell.
    """
    views, plain = views[:MOST_IMAGES], plain[:MOST_IMAGES]
    if len(views) < 2:
        return True
    masks = [class_masks(view.mask[None], 1) for view in views]

    @torch.no_grad()
    def negative(view: View) -> list[Tensor]:
        return encode(255 - view.image[None])

    own = _moments(plain, masks, layers)
    theirs = _moments(at_once(negative, views), masks, layers, NEGATIVES)
    both = [one + other for one, other in zip(own, theirs, strict=True)]
    totals = [(functools.reduce(operator.add, parts), parts) for parts in (own, both)]

    @torch.no_grad()
    def counts(place: int) -> Tensor:
        probes = [(total - parts[place]).solve(INSTANT_RIDGE) for total, parts in totals]
        mask = views[place].mask[None].to(plain[place][0].device)
        return torch.stack([pixel_counts(_merged(probe_map(plain[place], probe, layers)), mask) for probe in probes])

    counted = torch.stack(at_once(counts, range(len(views))))
    lost, error = (float(part) for part in _lost(counted))
    found = float(_iou(counted.sum(0))[0])
    return not (lost > MOST_LOST_TO_NEGATIVES * found and lost > CHANCE[len(views) - 2] * error)


def _moments(
    pyramids: Sequence[Sequence[Tensor]], masks: Sequence[Tensor], layers: Sequence[Layer], weight: float = 1.0
) -> list[Moments]:
    """Of every image, each pixel with ``weight``."""
    per_side = rows_and_columns(len(masks))
    sampled = [
        sample(features, mask.to(features[0].device), layers, per_side)[0]
        for features, mask in zip(pyramids, masks, strict=True)
    ]
    weights = weight * class_weights(torch.cat([shares for _, shares in sampled]))
    return [Moments.of(pixels, shares, weights) for pixels, shares in sampled]


def _lost(counts: Tensor) -> tuple[Tensor, Tensor]:
    """IoU that every class loses from the first of the cases to each other, and its standard error by the jackknife.

    From (S, 1 + a, n, 3) counts of S images to (a, n) each.
    """

    def lost(summed: Tensor) -> Tensor:
        iou = _iou(summed)
        return iou[..., :1, :] - iou[..., 1:, :]

    images, total = len(counts), counts.sum(0)
    without = lost(total - counts)
    error = ((images - 1) * without.var(0, correction=0)).sqrt()
    return lost(total), error


def _iou(counts: Tensor) -> Tensor:
    return counts[..., 0] / counts.sum(-1).clamp_min(1)


def _merged(decided: Tensor) -> Tensor:
    """The probe's map (1, n, 1, h, w) as class logits (1, n + 1, h, w)."""
    return merge_classes(torch.cat([-decided, decided], dim=2))
