"""What several methods share: frozen features of a support set, and predictors that run a function of features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillfss.backbones import load_backbone
from distillfss.bench.methods.base import MethodSettings
from distillfss.models.mixer import resize
from distillfss.models.standardize import Standardize
from distillfss.preprocess import at_working_size
from distillfss.runtime import keep_freed_memory, resolve_device
from distillfss.support import SupportSet
from distillfss.training.augment import Augmenter, View
from distillfss.training.safe_views import MOST_IMAGES, LeftOut, keep_safe

Answer = Callable[[list[Tensor]], Tensor]
"""A query's standardised pyramid, (1, C_l, h_l, w_l) each, to merged class logits (1, n + 1, h, w)."""


class FrozenFeatures:
    """The frozen backbone, standardised on a support set exactly as ``fit`` does it.

    Attributes
    ----------
    plain
        The support images, unaugmented, on the canvas.
    """

    def __init__(self, support: SupportSet, settings: MethodSettings) -> None:
        keep_freed_memory()
        self.size = settings.size
        self.class_names = support.class_names
        self.device = resolve_device(settings.device)
        self.backbone = load_backbone(settings.backbone).to(self.device)
        self.layers = self.backbone.layers
        self.standardize = Standardize(self.layers).to(self.device)
        self._augmenter = Augmenter(support, settings.size)
        self.plain = [self._augmenter.plain(source) for source in range(len(self._augmenter))]
        with torch.no_grad():
            self.standardize.calibrate(self.backbone(view.image[None].to(self.device)) for view in self.plain)

    @functools.cached_property
    @torch.no_grad()
    def augmenter(self) -> Augmenter:
        """Draws views of the support images, mirrored and made negatives of where ``fit`` does so."""
        plain = self.plain[:MOST_IMAGES]
        pyramids = [self.encode(view.image[None]) for view in plain]
        keep_safe(self._augmenter, LeftOut(plain, pyramids, self.encode, self.layers, len(self.class_names)))
        return self._augmenter

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) pixels 0 to 255 to a standardised pyramid."""
        return self.standardize(self.backbone(images.to(self.device)))

    def views(self, per_image: int, seed: int) -> list[View]:
        """The plain views, and ``per_image - 1`` augmented ones of every image."""
        numbers = np.random.default_rng([seed, 30]).integers(2**62, size=(per_image - 1, len(self.augmenter)))
        augmented = [self.augmenter.view(s, int(n)) for row in numbers for s, n in enumerate(row)]
        return [*self.plain, *augmented]


class FeaturePredictor:
    """Runs an answer on the frozen features of an image at its working size."""

    def __init__(self, frozen: FrozenFeatures, answer: Answer) -> None:
        self.class_names = frozen.class_names
        self._frozen = frozen
        self._answer = answer

    @torch.no_grad()
    def logits(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Merged class logits (1, n + 1, h, w) of an image (H, W, 3) uint8."""
        return self._answer(self._frozen.encode(at_working_size(pixels, self._frozen.size)[None]))

    def predict(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        """Masks (h, w) at every one of ``sizes``."""
        logits = self.logits(pixels)
        return [resize(logits, size)[0].argmax(0).to(torch.uint8).cpu().numpy() for size in sizes]


def stacked(features: Sequence[Tensor], stride_index: int = 0) -> Tensor:
    """All layers on the grid of one of them, (B, sum of C_l, h, w)."""
    size = features[stride_index].shape[-2:]
    return torch.cat([resize(f, size) if f.shape[-2:] != size else f for f in features], dim=1)
