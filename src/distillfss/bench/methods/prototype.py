"""Masked-average prototypes: the mean foreground and background feature, by cosine. No training at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distillfss.bench.methods.base import MethodSettings, Predictor
from distillfss.bench.methods.common import FeaturePredictor, FrozenFeatures
from distillfss.models.classes import merge_classes
from distillfss.models.prototypes import prototype_layers, prototype_logits
from distillfss.models.shares import mask_shares
from distillfss.support import SupportSet
from distillfss.training.targets import class_masks


class Prototype:
    """Nearest prototype on the layers that do best on held-out source classes."""

    name = "prototype"

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    def identity(self) -> dict[str, Any]:
        return {}

    def fit(self, support: SupportSet, unlabeled: Sequence[NDArray[np.uint8]] | None = None) -> Predictor:
        frozen = FrozenFeatures(support, self.settings)
        chosen = prototype_layers(frozen.layers)
        with torch.no_grad():
            pyramids = [frozen.encode(view.image[None]) for view in frozen.plain]
        shown = [torch.cat([pyramid[i] for pyramid in pyramids]) for i in chosen]
        masks = class_masks(
            torch.stack([view.mask for view in frozen.plain]).to(frozen.device), len(support.class_names)
        )
        shares = mask_shares(masks, [(s.shape[-2], s.shape[-1]) for s in shown])
        never = support.never
        return FeaturePredictor(
            frozen, lambda query: merge_classes(prototype_logits([query[i] for i in chosen], shown, shares), never)
        )
