"""What the tests of the export share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from helpers import cli_environment
from scenes import square_pair
from torch.nn import functional as F

from distillfss.backbones import Backbone, Layer
from distillfss.backbones.efficientnet_lite import SameConv2d

WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("no torch here")

sys.meta_path.insert(0, NoTorch())
"""


class SmallBackbone(Backbone):
    """Five convolutions, random weights: an export spends its time on a backbone's depth."""

    name, normalisation, fine_channels = "small", "(x - 127) / 128", 8
    layers = tuple(Layer(f"stride{stride}", stride, 8) for stride in (4, 8, 16, 32))

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, 8, 3, 2)
        self.steps = torch.nn.ModuleList(SameConv2d(8, 8, 5, 2) for _ in self.layers)
        self.freeze()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return self.from_fine(self.fine(images))

    def fine(self, images: torch.Tensor) -> torch.Tensor:
        return F.relu(self.stem((images - 127) / 128))

    def from_fine(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for step in self.steps:
            x = step(F.relu(x))
            features.append(x)
        return features


def picture(height: int, width: int, seed: int = 7) -> np.ndarray:
    """Squares on noise, uint8 (H, W, 3)."""
    return square_pair(seed, (height, width), 3)[0]


def run_without_torch(code: str, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python code in a process that cannot import torch."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=cli_environment(),
        timeout=120,
    )
