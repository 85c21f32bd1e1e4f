"""The probe: a ridge regression from all layers' features to the classes, in closed form (no gradient step).

As a map beside the attention's it knows which directions of feature space tell *this* class from *this* background,
which attention, trained on other classes, can't know. It is linear, so a student carries it as one 1x1 convolution per
layer. For the images it was computed from it is far too good; ``leave_out`` therefore gives every support image the
probe of the others, and whoever learns from support images sees those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from distillfss.backbones.base import Layer
from distillfss.models.mixer import resize
from distillfss.models.shares import mask_shares

RIDGE, INSTANT_RIDGE = 3e-2, 0.2
"""Share of the features' mean variance added to the diagonal: where the mixer learns to live with the probe, and where
nothing is learnt after it, so that it must not say more than it knows."""
BALANCE = 0.5
"""Classes weigh (share of pixels) ** -balance: 0 leaves small ones out, 1 sees them everywhere."""
PIXELS = 40_000
"""Pixels of all views together, about. They lie on regular lattices."""
FEWEST_PER_SIDE, MOST_PER_SIDE = 20, 48
"""Rows and columns of such a lattice: what lies between is much the same."""
LIMIT = 2.0
"""A regression extrapolates without end where features are unlike any it has seen; its map stops here."""
TINY = 1e-9
"""Added to the diagonal, so that a support of which nothing is known has a probe too."""
MOST_CHANNELS = 1024
"""With more channels than this in all, only the last layer of every stride takes part."""


def probe_layers(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Indices of the layers that the probe sees."""
    if sum(layer.channels for layer in layers) <= MOST_CHANNELS:
        return tuple(range(len(layers)))
    return tuple(sorted({layer.stride: index for index, layer in enumerate(layers)}.values()))


def probe_width(layers: Sequence[Layer]) -> int:
    """Number of weights per class, D + 1: one per channel, and a constant."""
    return sum(layers[index].channels for index in probe_layers(layers)) + 1


def shrunk(weights: Tensor, images: int) -> Tensor:
    """A probe as far as it can be trusted: a share of 1 - 1 / images of it, the rest undecided.

    How far a regression carries to other images shows in how images agree; one alone says nothing of it, and where
    classes vary, what separates them in one image often does not in the next. So one image has no probe.
    """
    return torch.lerp(unheard(weights), weights, 1 - 1 / images if images else 0.0)


def unheard(weights: Tensor) -> Tensor:
    """A probe of the same shape whose map is 0 everywhere."""
    undecided = torch.zeros_like(weights)
    undecided[..., -1] = 0.5
    return undecided


@dataclass
class Moments:
    """What ridge regression needs to know of weighted pixels: x x^T (D + 1, D + 1) and x y^T (D + 1, n)."""

    second: Tensor
    cross: Tensor

    @classmethod
    def of(cls, pixels: Tensor, shares: Tensor, weights: Tensor) -> Moments:
        """From pixels (N, D + 1), class shares (N, n) and weights of background and classes (n + 1,)."""
        weight = with_background(shares) @ weights
        weighted = pixels * weight[:, None]
        # a pixel on a border belongs to both sides, each with its own weight
        return cls(weighted.T @ pixels, pixels.T @ (shares * weights[1:]))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.second + other.second, self.cross + other.cross)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.second - other.second, self.cross - other.cross)

    def solve(self, ridge: float = RIDGE) -> Tensor:
        """Weights (n, D + 1) of the regression from x to the share of every class; the constant is not penalised.

        So it does not matter where features have their origin. Theirs is the mean of the support, and the means of
        all images but one add up to minus that one's: a penalised constant would be made up along that direction,
        with the wrong sign for the image that is left out, and for no other.
        """
        second = self.second.double()
        variances = second.diagonal()[:-1] - second[:-1, -1].square() / second[-1, -1].clamp_min(TINY)
        second.diagonal()[:-1].add_(ridge * variances.mean())
        second.diagonal().add_(TINY)
        factor = torch.linalg.cholesky(second)
        return torch.cholesky_solve(self.cross.double(), factor).T.to(self.cross.dtype)


def with_background(shares: Tensor) -> Tensor:
    """(N, n) class shares as (N, n + 1), background first."""
    return torch.cat([1 - shares.sum(1, keepdim=True), shares], dim=1)


def class_weights(shares: Tensor) -> Tensor:
    """Weights (n + 1,) of background and classes among pixels with shares (N, n); all pixels together weigh 1."""
    counts = with_background(shares).sum(0)
    present = counts > 0
    weights = torch.where(present, (counts / counts.sum()).clamp_min(1e-6) ** -BALANCE, 0.0)
    return weights / (weights * counts).sum().clamp_min(1e-9)


def sample(
    features: Sequence[Tensor], masks: Tensor, layers: Sequence[Layer], per_side: int
) -> list[tuple[Tensor, Tensor]]:
    """Pixels of every image on a lattice of the finest layer's grid.

    Parameters
    ----------
    features
        Pyramids, (S, C_l, h_l, w_l) each.
    masks
        (S, n, H, W) of 0 and 1 per class; NaN where the annotation says "ignore".
    per_side
        Rows and columns of the lattice, about.

    Returns
    -------
    list of (Tensor, Tensor)
        Per image, features (N, D + 1), the last column 1, and class shares (N, n); ignored pixels are left out.
    """
    height, width = features[0].shape[-2:]
    (shares,) = mask_shares(masks, [(height, width)])
    rows, columns = (lattice(side, per_side).to(shares.device) for side in (height, width))
    at_rows, at_columns = (rows + 0.5) * (2 / height) - 1, (columns + 0.5) * (2 / width) - 1
    grid = torch.stack(torch.meshgrid(at_columns, at_rows, indexing="xy"), dim=-1)
    grid = grid.expand(len(masks), -1, -1, -1).to(features[0])
    parts = [
        F.grid_sample(features[index], grid, mode="bilinear", padding_mode="border", align_corners=False)
        for index in probe_layers(layers)
    ]
    pixels = F.pad(torch.cat(parts, dim=1).flatten(2).transpose(1, 2), (0, 1), value=1.0)
    labels = shares[:, :, rows][..., columns].flatten(2).transpose(1, 2)
    known = ~labels.isnan().any(-1)
    return [(pixels[i, known[i]], labels[i, known[i]]) for i in range(len(masks))]


def lattice(side: int, count: int) -> Tensor:
    """Evenly spaced indices of a grid's side, about ``count`` of them."""
    step = max(1, round(side / count))
    return torch.arange(step // 2, side, step)


def rows_and_columns(views: int) -> int:
    """How many of them a lattice should have that this many views are sampled with."""
    return min(max(round((PIXELS / views) ** 0.5), FEWEST_PER_SIDE), MOST_PER_SIDE)


@torch.no_grad()
def probe_weights(features: Sequence[Tensor], masks: Tensor, layers: Sequence[Layer]) -> Tensor:
    """The probe of a support, (n, D + 1), shrunk; see ``sample`` for the parameters."""
    sampled = sample(features, masks, layers, rows_and_columns(len(masks)))
    pixels, shares = (torch.cat(part) for part in zip(*sampled, strict=True))
    return shrunk(Moments.of(pixels, shares, class_weights(shares)).solve(), len(masks))


@torch.no_grad()
def leave_out(
    sampled: Sequence[tuple[Tensor, Tensor]],
    sources: Sequence[int],
    folds: int,
    ridge: float = RIDGE,
    together: Mapping[int, int] | None = None,
) -> tuple[Tensor, dict[int, Tensor]]:
    """The probe of everything, and for every image the probe of the others.

    Parameters
    ----------
    sampled
        Pixels of views, as ``sample`` gives them.
    sources
        The image that each view is of.
    folds
        Images are left out together, in at most so many groups.
    ridge
        See ``RIDGE``.
    together
        Of every image the group with which it is left out; None: each is one of its own.

    Returns
    -------
    Tensor
        (n, D + 1) from all views.
    dict of Tensor
        (n, D + 1) per image, from all views but those of its fold; a single image has nothing but its own.

    All of them are shrunk.
    """
    weights = class_weights(torch.cat([shares for _, shares in sampled]))
    names = sorted(set(sources))
    group_of = {name: name if together is None else together[name] for name in names}
    place_of = {group: place for place, group in enumerate(sorted(set(group_of.values())))}
    fold_of = {name: place_of[group_of[name]] % folds for name in names}
    parts: dict[int, Moments] = {}
    for (pixels, shares), source in zip(sampled, sources, strict=True):
        found, fold = Moments.of(pixels, shares, weights), fold_of[source]
        parts[fold] = parts[fold] + found if fold in parts else found
    total = parts[0]
    for fold in range(1, len(parts)):
        total = total + parts[fold]
    whole = shrunk(total.solve(ridge), len(names))
    if len(parts) == 1:
        return whole, dict.fromkeys(names, whole)
    members = Counter(fold_of.values())
    without = {fold: shrunk((total - part).solve(ridge), len(names) - members[fold]) for fold, part in parts.items()}
    return whole, {source: without[fold] for source, fold in fold_of.items()}


def probe_map(query: Sequence[Tensor], weights: Tensor, layers: Sequence[Layer]) -> Tensor:
    """How much a query looks like each class to the probe: (B, n, 1, H / 4, W / 4), -1 no, 1 yes, cut off at -2 and 2.

    Parameters
    ----------
    query
        Pyramid, (B, C_l, h_l, w_l) each.
    weights
        (n, D + 1), or (B, n, D + 1) for a probe per image.
    """
    size = query[0].shape[-2:]
    chosen = probe_layers(layers)
    parts = weights.split([*(layers[index].channels for index in chosen), 1], dim=-1)
    total: Tensor | None = None
    for index, part in zip(chosen, parts[:-1], strict=True):
        feature = query[index]
        if weights.dim() == 2:
            score = F.conv2d(feature, part[:, :, None, None])
        else:
            score = torch.einsum("bchw,bnc->bnhw", feature, part)
        score = score if score.shape[-2:] == size else resize(score, size)
        total = score if total is None else total + score
    assert total is not None
    return (2 * (total + parts[-1][..., None]) - 1).clamp(-LIMIT, LIMIT)[:, :, None]
