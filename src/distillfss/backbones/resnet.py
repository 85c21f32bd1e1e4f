"""ResNet-50 as a frozen feature pyramid (He et al. 2016), under the names torchvision gives its tensors.

A feature map is a bottleneck's residual sum *before* the ReLU, one per bottleneck, as DCAMA takes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.backbones.base import Backbone, Layer
from distillfss.backbones.imagenet import IN_WORDS, normalise

EXPANSION = 4
DEPTHS = (3, 4, 6, 3)


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with the statistics of the pretraining: (B, C, h, w) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return F.batch_norm(x, mean, var, self.get_buffer("weight"), self.get_buffer("bias"))


class Bottleneck(nn.Module):
    """1x1, 3x3 (it carries the stride), 1x1, and the shortcut; the sum is returned without its ReLU."""

    def __init__(self, cin: int, width: int, stride: int) -> None:
        super().__init__()
        cout = width * EXPANSION
        self.conv1 = nn.Conv2d(cin, width, 1, bias=False)
        self.bn1 = FrozenBatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm(width)
        self.conv3 = nn.Conv2d(width, cout, 1, bias=False)
        self.bn3 = FrozenBatchNorm(cout)
        self.downsample: nn.Module | None = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), FrozenBatchNorm(cout))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.bn3(self.conv3(out)) + shortcut


class ResNet(Backbone):
    """Feature pyramid of a ResNet with bottlenecks.

    Parameters
    ----------
    name
        What the backbone is called.
    depths
        Bottlenecks per stage, at strides 4, 8, 16 and 32.
    width
        Channels of the stem; stage i returns ``width * 4 * 2**i``.
    """

    normalisation = IN_WORDS

    def __init__(self, name: str = "resnet50", depths: Sequence[int] = DEPTHS, width: int = 64) -> None:
        super().__init__()
        self.name = name
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm(width)
        self.stages = []
        layers: list[Layer] = []
        cin = width
        for number, depth in enumerate(depths):
            inner, blocks = width * 2**number, []
            for place in range(depth):
                blocks.append(Bottleneck(cin, inner, 2 if place == 0 and number > 0 else 1))
                cin = inner * EXPANSION
                layers.append(Layer(f"layer{number + 1}.{place}", 4 * 2**number, cin))
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
            self.stages.append(f"layer{number + 1}")
        self.layers = tuple(layers)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.freeze()

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.features(normalise(images))

    def features(self, normalised: Tensor) -> list[Tensor]:
        """The same from images (B, 3, H, W) that are normalised already."""
        x = F.relu(self.bn1(self.conv1(normalised)), inplace=True)
        x = F.max_pool2d(x, 3, 2, padding=1)
        features: list[Tensor] = []
        for stage in self.stages:
            for bottleneck in self.get_submodule(stage).children():
                features.append(bottleneck(x))
                x = F.relu(features[-1])
        return features

    @staticmethod
    def our_name(theirs: str) -> str | None:
        """Our name of a tensor of torchvision's file, which is the same; None for the classifier and for counters."""
        return None if theirs.startswith("fc.") or theirs.endswith(".num_batches_tracked") else theirs

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Read a state dict under torchvision's names; a missing, unknown or misshapen tensor is a RuntimeError."""
        self.load_state_dict({ours: t for name, t in state.items() if (ours := self.our_name(name)) is not None})
