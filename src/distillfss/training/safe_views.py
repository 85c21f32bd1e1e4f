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
from distillfss.training.augment import Augmenter, View
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


class LeftOut:
    """Support images, for each of which there is a probe of the others.

    Parameters
    ----------
    views
        The support images, unaugmented.
    plain
        Their standardised pyramids, (1, C_l, h_l, w_l) each.
    encode
        Makes such pyramids.
    layers
        Of the pyramids.
    ways
        Number of classes n.
    """

    def __init__(
        self,
        views: Sequence[View],
        plain: Sequence[Sequence[Tensor]],
        encode: Encode,
        layers: Sequence[Layer],
        ways: int,
    ) -> None:
        self.views, self.plain = views[:MOST_IMAGES], plain[:MOST_IMAGES]
        self.encode, self.layers = encode, layers
        self.masks = [class_masks(view.mask[None], ways) for view in self.views]

    def __len__(self) -> int:
        return len(self.views)

    @functools.cached_property
    def moments(self) -> list[Moments]:
        """Of every image."""
        return self.moments_of(self.plain)

    def moments_of(self, pyramids: Sequence[Sequence[Tensor]], weight: float = 1.0) -> list[Moments]:
        """Of changed images with the same masks, each pixel with ``weight``."""
        per_side = rows_and_columns(len(self))
        sampled = [
            sample(features, mask.to(features[0].device), self.layers, per_side)[0]
            for features, mask in zip(pyramids, self.masks, strict=True)
        ]
        weights = weight * class_weights(torch.cat([shares for _, shares in sampled]))
        return [Moments.of(pixels, shares, weights) for pixels, shares in sampled]

    @functools.cached_property
    def probes(self) -> list[Tensor]:
        """Of the others, for every image."""
        return probes_of_the_others(self.moments)

    def counts(self, place: int, features: Sequence[Tensor], probe: Tensor, axes: tuple[int, ...] = ()) -> Tensor:
        """What a probe finds of an image in ``features``, mirrored along ``axes``: (n, 3), see ``pixel_counts``."""
        decided = probe_map(features, probe, self.layers)
        mask = self.views[place].mask[None].flip(axes).to(decided.device)
        return pixel_counts(merge_classes(torch.cat([-decided, decided], dim=2)), mask)


def probes_of_the_others(moments: Sequence[Moments]) -> list[Tensor]:
    """For every image the probe of the others, taken at its word, however few they are."""
    total = functools.reduce(operator.add, moments)
    return at_once(lambda own: (total - own).solve(INSTANT_RIDGE), moments)


def keep_safe(augmenter: Augmenter, left_out: LeftOut, beside: Sequence[Tensor] | None = None) -> None:
    """Forbid an augmenter what its images say is not safe; see ``safe_mirrors``."""
    augmenter.mirrors = safe_mirrors(left_out, beside)
    if augmenter.negatives:
        augmenter.negatives = safe_negatives(left_out)


@torch.no_grad()
def safe_mirrors(left_out: LeftOut, beside: Sequence[Tensor] | None = None) -> tuple[bool, bool]:
    """Whether images may be mirrored left to right, and upside down, without becoming images of something else.

    Parameters
    ----------
    left_out
        The support.
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
    shown, others = _on_a_grid(left_out.masks), None if beside is None else _on_a_grid(beside)
    safe = [_overlap_of_twins(shown, others, axis) <= TWINS for axis in AXES]
    if len(left_out) > 1 and any(safe):
        lost = _loses(_counts_of_mirror_images(left_out), MOST_LOST)
        safe = [may and not loses for may, loses in zip(safe, lost, strict=True)]
    left_right, upside_down = safe
    return left_right, upside_down


@torch.no_grad()
def safe_negatives(left_out: LeftOut) -> bool:
    """Whether the one class is known in images as well as before by whoever has to know it in negatives of them too.

    Not where it is the light one of two things that look alike: in the negatives that is the other one.

    Returns
    -------
    bool
        Not safe: a probe of the other images and their negatives finds less of the class in an image than a probe of
        the other images (``MOST_LOST_TO_NEGATIVES``, ``CHANCE``). A single image does not tell.
    """
    if len(left_out) < 2:
        return True

    @torch.no_grad()
    def negative(view: View) -> list[Tensor]:
        return left_out.encode(255 - view.image[None])

    theirs = left_out.moments_of(at_once(negative, left_out.views), NEGATIVES)
    of_both = probes_of_the_others([own + other for own, other in zip(left_out.moments, theirs, strict=True)])
    counts = [
        torch.stack([left_out.counts(place, features, probes[place]) for probes in (left_out.probes, of_both)])
        for place, features in enumerate(left_out.plain)
    ]
    (loses,) = _loses(torch.stack(counts), MOST_LOST_TO_NEGATIVES)
    return not loses


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


def _counts_of_mirror_images(left_out: LeftOut) -> Tensor:
    """By the probe of the others, (S, 3, n, 3): of every image, and mirrored along each axis; see ``pixel_counts``."""

    @torch.no_grad()
    def counts(place: int) -> Tensor:
        image, probe = left_out.views[place].image[None], left_out.probes[place]
        found = [left_out.counts(place, left_out.plain[place], probe)]
        for axis in AXES:
            found.append(left_out.counts(place, left_out.encode(image.flip(axis)), probe, (axis,)))
        return torch.stack(found)

    left_out.probes  # noqa: B018 - solved once, not in every lane
    return torch.stack(at_once(counts, range(len(left_out))))


def _loses(counts: Tensor, most: float) -> list[bool]:
    """Whether any class loses more than the share ``most`` of its IoU, and than chance explains, in each other case."""
    lost, error = _lost(counts)
    too_much = (lost > most * _iou(counts.sum(0))[0]) & (lost > CHANCE[len(counts) - 2] * error)
    return [bool(case.any()) for case in too_much]


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
