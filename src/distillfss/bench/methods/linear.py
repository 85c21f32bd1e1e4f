"""A closed-form linear probe: ridge regression from all layers' features to classes, settled by leave-one-out.

Second moments are kept per image and class, so that every ridge, every balance of classes and every left-out image is
one small linear system, and no pixel is looked at twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distillfss.bench.methods.base import MethodSettings, Predictor
from distillfss.bench.methods.common import FeaturePredictor, FrozenFeatures, stacked
from distillfss.support import SupportSet
from distillfss.training.losses import IGNORE

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Candidates, as shares of the features' mean second moment."""
BALANCES = (0.0, 0.5, 1.0)
"""Candidates for how far classes weigh alike: weight = (share of pixels) ** -balance."""
MOST_VIEWS, MOST_PER_IMAGE = 64, 8


@dataclass
class Moments:
    """Sums over pixels, by class: x x^T (n + 1, D, D), x (n + 1, D) and counts (n + 1,); D counts the constant."""

    second: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def of(cls, features: Tensor, classes: Tensor, ways: int) -> Moments:
        """From pixels (N, D) and their classes (N,), 255 = ignore."""
        parts = [features[classes == c] for c in range(ways + 1)]
        return cls(
            torch.stack([x.T @ x for x in parts]).double(),
            torch.stack([x.sum(0) for x in parts]).double(),
            torch.tensor([len(x) for x in parts], dtype=torch.float64, device=features.device),
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.second + other.second, self.first + other.first, self.count + other.count)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.second - other.second, self.first - other.first, self.count - other.count)

    def solve(self, ridge: float, balance: float) -> Tensor:
        """Weights (D, n + 1) of the regression from x to one number per class, 1 for its own and 0 for the others.

        The constant, the last of the D, is not penalised: leaving an image out says little otherwise, see ``Moments``
        of the probe (``distillfss.models.probe``).
        """
        share = (self.count / self.count.sum()).clamp_min(1e-6)
        weight = torch.where(self.count > 0, share**-balance, 0.0)
        weight = weight / (weight * self.count).sum()
        gram = torch.einsum("c,cij->ij", weight, self.second)
        target = (weight[:, None] * self.first).T
        slopes = gram.diagonal()[:-1]
        slopes.add_(ridge * slopes.mean())
        return torch.linalg.solve(gram, target)


class Linear:
    """Ridge regression on stacked features of augmented views."""

    name = "linear"

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    def identity(self) -> dict[str, Any]:
        return {
            "ridges": RIDGES,
            "balances": BALANCES,
            "views": [MOST_VIEWS, MOST_PER_IMAGE],
            "constant": "not penalised",
        }

    @torch.no_grad()
    def fit(self, support: SupportSet, unlabeled: Sequence[NDArray[np.uint8]] | None = None) -> Predictor:
        frozen = FrozenFeatures(support, self.settings)
        ways, shots = len(support.class_names), len(support)
        moments: dict[int, Moments] = {}
        plain: list[tuple[Tensor, Tensor]] = []
        per_image = max(1, min(MOST_PER_IMAGE, MOST_VIEWS // shots))
        for number, view in enumerate(frozen.views(per_image, self.settings.seed)):
            pixels, size = pixels_of(frozen.encode(view.image[None]))
            classes = at_grid(view.mask, size).to(frozen.device)
            found = Moments.of(pixels, classes, ways)
            moments[view.source] = moments[view.source] + found if view.source in moments else found
            if number < shots:
                plain.append((pixels, classes))
        total = moments[0]
        for source in range(1, shots):
            total = total + moments[source]
        ridge, balance = leave_one_out(total, moments, plain) if shots > 1 else (RIDGES[2], BALANCES[1])
        weights = total.solve(ridge, balance).float()

        def answer(query: list[Tensor]) -> Tensor:
            pixels, size = pixels_of(query)
            return (pixels @ weights).T.unflatten(1, size)[None]

        return FeaturePredictor(frozen, answer)


def pixels_of(features: Sequence[Tensor]) -> tuple[Tensor, tuple[int, int]]:
    """All layers of one image on the finest grid as (h * w, D), the last column constant; and (h, w)."""
    maps = stacked(features)[0]
    return F.pad(maps.flatten(1).T, (0, 1), value=1.0), (maps.shape[-2], maps.shape[-1])


def at_grid(mask: Tensor, size: Sequence[int]) -> Tensor:
    """(H, W) class indices to (h * w,) by the nearest pixel."""
    return F.interpolate(mask[None, None].float(), tuple(size), mode="nearest-exact")[0, 0].long().flatten()


def leave_one_out(
    total: Moments, moments: dict[int, Moments], plain: Sequence[tuple[Tensor, Tensor]]
) -> tuple[float, float]:
    """The ridge and the balance with the best foreground IoU on images left out, over all of them together."""
    best, chosen = -1.0, (RIDGES[0], BALANCES[0])
    ways = len(total.count) - 1
    for ridge in RIDGES:
        for balance in BALANCES:
            counts = torch.zeros(2, ways)
            for source, (pixels, classes) in enumerate(plain):
                weights = (total - moments[source]).solve(ridge, balance).float()
                found, known = (pixels @ weights).argmax(1), classes != IGNORE
                for c in range(1, ways + 1):
                    p, t = (found == c) & known, classes == c
                    counts[:, c - 1] += torch.tensor([float((p & t).sum()), float((p | t).sum())])
            score = float((counts[0] / counts[1].clamp_min(1)).mean())
            if score > best:
                best, chosen = score, (ridge, balance)
    return chosen
