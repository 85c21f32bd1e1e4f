"""A U-Net whose encoder is fine-tuned too: what a user of segmentation-models-pytorch would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distillfss.backbones import load_backbone
from distillfss.backbones.base import Backbone
from distillfss.backbones.torchvision_bridge import import_torchvision
from distillfss.bench.methods.base import MethodSettings, Predictor
from distillfss.bench.methods.budget import steps_in_budget
from distillfss.bench.methods.common import FrozenFeatures
from distillfss.errors import UsageError
from distillfss.models.mixer import resize
from distillfss.preprocess import at_working_size
from distillfss.runtime import keep_freed_memory, resolve_device
from distillfss.support import SupportSet
from distillfss.training.augment import STRONG
from distillfss.training.loop import MAX_GRADIENT_NORM, learning_rate
from distillfss.training.losses import segmentation_loss

STEP_SECONDS = 3.66
"""Of one step: 3.63 with one class, 3.70 with three, measured as in ``budget``."""
MULTIPLE = 3.0
"""Times the seconds of our fit: the encoder trains too."""
LEARNING_RATE, ENCODER_LEARNING_RATE = 1e-3, 1e-4
BATCH = 4
DECODER_CHANNELS = (256, 128, 64, 32)


class UNet(nn.Module):
    """segmentation-models-pytorch's U-Net decoder on one map per stride of the unfrozen backbone."""

    def __init__(self, backbone: Backbone, ways: int) -> None:
        super().__init__()
        self.encoder = backbone.requires_grad_(True)
        # the deepest layer of every stride
        self.taps = [max(i for i, la in enumerate(backbone.layers) if la.stride == s) for s in (4, 8, 16, 32)]
        channels = [backbone.layers[i].channels for i in self.taps]
        self.decoder = unet_decoder()([0, *channels], DECODER_CHANNELS, n_blocks=len(DECODER_CHANNELS))
        self.logits = nn.Conv2d(DECODER_CHANNELS[-1], ways + 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), 0 to 255, to class logits (B, n + 1, H / 2, W / 2), background first."""
        features = self.encoder(images)
        # the decoder takes a finer map only for its size
        frame = images[:, :, ::2, ::2]
        return self.logits(self.decoder([frame, *(features[i] for i in self.taps)]))


def unet_decoder() -> Any:
    """The class of segmentation-models-pytorch. Raises ``UsageError`` if that is not installed."""
    try:
        import_torchvision()
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder  # type: ignore[import-untyped]
    except ImportError as error:
        raise UsageError(
            f"the method unet needs {error.name}", cure="Install it with: pip install 'distillfss[bench]'"
        ) from error
    return UnetDecoder


class FineTunedUNet:
    """U-Net decoder and encoder fine-tuned together on the support; the encoder with a tenth of the learning rate.

    Views are those that our own fit has where its backbone learns.
    """

    name = "unet"

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    def identity(self) -> dict[str, Any]:
        return {
            "steps": self.steps(5),
            "learning_rates": [LEARNING_RATE, ENCODER_LEARNING_RATE],
            "batch": BATCH,
            "views": asdict(STRONG),
        }

    def steps(self, images: int) -> int:
        """Steps of a fit with this many support images."""
        return steps_in_budget(self.settings, images, STEP_SECONDS, MULTIPLE)

    def fit(self, support: SupportSet, unlabeled: Sequence[NDArray[np.uint8]] | None = None) -> Predictor:
        keep_freed_memory()
        settings = self.settings
        device = resolve_device(settings.device)
        augmenter = FrozenFeatures(support, settings).augmenter.at(STRONG)
        steps = self.steps(len(support))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model = UNet(load_backbone(settings.backbone), len(support.class_names)).to(device).train()
            encoder = list(model.encoder.parameters())
            others = [*model.decoder.parameters(), *model.logits.parameters()]
            optimizer = torch.optim.AdamW([{"params": others}, {"params": encoder}], weight_decay=0.01)
            random = np.random.default_rng([settings.seed, 32])
            for step in range(steps):
                for group, peak in zip(optimizer.param_groups, (LEARNING_RATE, ENCODER_LEARNING_RATE), strict=True):
                    group["lr"] = learning_rate(step, steps, peak)
                sources = random.integers(len(augmenter), size=BATCH)
                views = [augmenter.view(int(s), int(random.integers(2**62))) for s in sources]
                target = torch.stack([view.mask for view in views])[:, ::2, ::2].to(device)
                logits = model(torch.stack([view.image for view in views]).to(device))
                loss = segmentation_loss(resize(logits, target.shape[-2:]), target)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
                optimizer.step()
        return UNetPredictor(model.eval(), support.class_names, settings.size, device)


class UNetPredictor:
    """Runs the U-Net at an image's working size."""

    def __init__(self, model: UNet, class_names: tuple[str, ...], size: int, device: torch.device) -> None:
        self.class_names = class_names
        self._model, self._size, self._device = model, size, device

    @torch.no_grad()
    def predict(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        """Masks (h, w) at every one of ``sizes``."""
        logits = self._model(at_working_size(pixels, self._size)[None].to(self._device))
        return [resize(logits, size)[0].argmax(0).to(torch.uint8).cpu().numpy() for size in sizes]
