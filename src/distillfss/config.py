"""The one typed configuration of a fit: every knob, its default and what it does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from distillfss.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class FitConfig:
    """Settings of ``fit``. The defaults are meant for every data set; none was chosen on test images.

    Attributes
    ----------
    seed
        Decides initial weights, augmentation and the order of everything. The same seed, support and machine give
        the same model.
    device
        ``auto`` takes CUDA, then MPS, then the CPU.
    backbone
        Name of the frozen backbone, a key of ``distillfss.backbones.BACKBONES``.
    size
        Working resolution: images are resized to about ``size * size`` pixels, keeping their aspect ratio.
    """

    seed: int = 0
    device: str = "auto"
    backbone: str = "efficientnet_lite0"
    size: int = 384

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise UsageError(f"unknown device {self.device!r}", cure=f"Choose one of {', '.join(DEVICES)}")
        if not 64 <= self.size <= 2048:
            raise UsageError(f"size {self.size} is out of range", cure="Choose a working resolution from 64 to 2048")

    def fingerprint(self) -> str:
        """Hex digest of everything that decides the outcome (the device does not, up to rounding)."""
        knobs = {key: value for key, value in asdict(self).items() if key != "device"}
        return hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()
