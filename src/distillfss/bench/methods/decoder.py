"""What a user would do anyway: train a decoder on the frozen backbone (panoptic FPN, Kirillov et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distillfss.backbones.base import Layer
from distillfss.bench.methods.base import MethodSettings, Predictor
from distillfss.bench.methods.budget import steps_in_budget
from distillfss.bench.methods.common import FeaturePredictor, FrozenFeatures
from distillfss.config import FitConfig
from distillfss.models.mixer import conv, resize
from distillfss.support import SupportSet
from distillfss.training.augment import Strength
from distillfss.training.jitter import jittered
from distillfss.training.loop import PhaseRunner
from distillfss.training.losses import segmentation_loss
from distillfss.training.pool import Batch, ViewPool
from distillfss.training.targets import every_other_pixel

STEP_SECONDS = 1.56
"""Of one step: 1.61 with one class, 1.52 with three, measured as in ``budget``."""
LEARNING_RATE = 1e-3
BATCH = 8
JITTER = 0.3
"""Of features, as in our fit."""


class FeaturePyramidDecoder(nn.Module):
    """Lateral 1x1 convolutions, a top-down path, a 3x3 convolution per stride, all summed at stride 4, then logits.

    Parameters
    ----------
    layers
        The backbone's pyramid.
    ways
        Number of classes n.
    pyramid, segmentation
        Channels of the top-down path and of the maps that are summed.
    """

    def __init__(self, layers: Sequence[Layer], ways: int, pyramid: int = 128, segmentation: int = 64) -> None:
        super().__init__()
        self.strides = sorted({layer.stride for layer in layers})
        self.of_stride = {s: [i for i, layer in enumerate(layers) if layer.stride == s] for s in self.strides}
        self.lateral = nn.ModuleList(nn.Conv2d(layer.channels, pyramid, 1) for layer in layers)
        self.smooth = nn.ModuleDict({str(s): conv(pyramid, segmentation, 8) for s in self.strides})
        self.head = nn.Sequential(
            conv(segmentation, segmentation, 8), nn.Dropout2d(0.1), nn.Conv2d(segmentation, ways + 1, 1)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Pyramid (B, C_l, h_l, w_l) to merged class logits (B, n + 1, H / 4, W / 4), background first."""
        total: Tensor | None = None
        above: Tensor | None = None
        finest = features[self.of_stride[self.strides[0]][0]].shape[-2:]
        for stride in reversed(self.strides):
            here = torch.stack([self.lateral[i](features[i]) for i in self.of_stride[stride]]).sum(0)
            above = here if above is None else here + resize(above, here.shape[-2:])
            smooth = resize(self.smooth[str(stride)](above), finest)
            total = smooth if total is None else total + smooth
        assert total is not None
        return self.head(total)


class DecoderTraining:
    """One loss per step over encoded views; the same views, jitter, batches and loss as our student has."""

    name = "decoder"

    def __init__(self, model: nn.Module, pool: ViewPool, *, steps: int, batch: int, jitter: float) -> None:
        self.model = model
        self.pool = pool
        self.steps = steps
        self.batch = batch
        self.jitter = jitter

    def loss(self, step: int, pool_step: int) -> Tensor:
        window = self.pool.advance(pool_step)
        random = self.pool.random(pool_step)
        batch = Batch.of([window[int(i)] for i in random.permutation(len(window))[: self.batch]])
        target = every_other_pixel(batch.masks, random)
        seen = jittered(batch.features, self.jitter, random)
        return segmentation_loss(resize(self.model(seen), target.shape[-2:]), target)


class Decoder:
    """A feature pyramid decoder fine-tuned on the support, the backbone frozen."""

    name = "decoder"

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    def identity(self) -> dict[str, Any]:
        return {
            "steps": self.steps(5),
            "learning_rate": LEARNING_RATE,
            "batch": BATCH,
            "jitter": JITTER,
            "new_views": FitConfig().new_views,
            "views": asdict(Strength()),
        }

    def steps(self, images: int) -> int:
        """Steps of a fit with this many support images."""
        return steps_in_budget(self.settings, images, STEP_SECONDS)

    def fit(self, support: SupportSet, unlabeled: Sequence[NDArray[np.uint8]] | None = None) -> Predictor:
        settings = self.settings
        frozen = FrozenFeatures(support, settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model = FeaturePyramidDecoder(frozen.layers, len(support.class_names)).to(frozen.device)
            config = FitConfig()
            pool = ViewPool(
                frozen.augmenter,
                frozen.encode,
                seed=settings.seed,
                capacity=config.pool_views,
                refresh=config.new_views,
            )
            steps = self.steps(len(support))
            training = DecoderTraining(model, pool, steps=steps, batch=BATCH, jitter=JITTER)
            runner = PhaseRunner(training, 0, peak=LEARNING_RATE, weight_decay=0.01)
            while not runner.done:
                runner.advance()
        model.eval()
        return FeaturePredictor(frozen, model)
