"""Swin-B as a frozen feature pyramid (Liu et al. 2021), under the names the Swin repository gives its tensors.

A feature map is a block's output, one per block, before the stage's down-sampling and without a final norm, as DCAMA
takes them. Images of any size are accepted: grids are padded to whole windows, and padding is never attended to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.backbones.base import Backbone, Layer
from distillfss.backbones.imagenet import IN_WORDS, normalise

PATCH = 4
MLP_RATIO = 4


class WindowAttention(nn.Module):
    """Self-attention within windows of M x M tokens, with a learned bias per head and relative position."""

    def __init__(self, channels: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.register_buffer("index", relative_position(window), persistent=False)

    def forward(self, x: Tensor, masked: Tensor | None) -> Tensor:
        """Attend.

        Parameters
        ----------
        x
            (B * windows, M * M, C).
        masked
            (windows, M * M, M * M), -inf where a query (row) may not look at a key (column), else 0.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.get_buffer("index")].permute(2, 0, 1)[None]
        if masked is not None:
            bias = (bias + masked[:, None]).repeat(len(x) // len(masked), 1, 1, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(2))


def relative_position(window: int) -> Tensor:
    """(M * M, M * M) rows of the bias table: offset between two tokens of a window, counted row by row."""
    place = torch.arange(window)
    offset = place[:, None] - place[None, :] + window - 1
    return (offset[:, None, :, None] * (2 * window - 1) + offset[None, :, None, :]).reshape(window**2, window**2)


class Mlp(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, MLP_RATIO * channels)
        self.fc2 = nn.Linear(MLP_RATIO * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention in windows (every second block shifts them by half a window), then an MLP; both residual, pre-norm."""

    def __init__(self, channels: int, window: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, window, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """(B, h, w, C) to the same shape."""
        x = x + windows.join(self.attn(windows.cut(self.norm1(x)), windows.masked))
        return x + self.mlp(self.norm2(x))


class Windows:
    """How a grid is cut into windows: padded to whole ones, shifted, and who may look at whom.

    Parameters
    ----------
    height, width
        The grid.
    window
        Side M of a window.
    shifted
        Whether windows are moved by M // 2, along every side that holds more than one.
    device
        Where the mask is needed.
    """

    def __init__(self, height: int, width: int, window: int, shifted: bool, device: torch.device) -> None:
        self.size = (height, width)
        self.window = window
        self.padded = tuple(-(-side // window) * window for side in self.size)
        self.shift = tuple(window // 2 if shifted and side > window else 0 for side in self.size)
        self.masked: Tensor | None = None
        if any(self.shift) or self.padded != self.size:
            region = self._regions().to(device)
            self.masked = torch.zeros(region.shape[0], window**2, window**2, device=device).masked_fill(
                region[:, :, None] != region[:, None, :], -torch.inf
            )

    def _regions(self) -> Tensor:
        """(windows, M * M) numbers; tokens see each other only within one: no wrap-around, no padding."""
        number = torch.zeros(self.padded, dtype=torch.long)
        for side in (0, 1):
            place = torch.arange(self.padded[side])
            # what is rolled in from the other end, and what is no image at all
            code = (place < self.shift[side]).long() + 2 * (place >= self.size[side])
            number = 4 * number + (code[:, None] if side == 0 else code[None])
        return self._cut(number[None, :, :, None])[..., 0]

    def _cut(self, padded: Tensor) -> Tensor:
        rolled = padded.roll((-self.shift[0], -self.shift[1]), (1, 2))
        rows = rolled.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))
        return rows.transpose(2, 3).flatten(0, 2).flatten(1, 2)

    def cut(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to (B * windows, M * M, C)."""
        below, right = (whole - side for whole, side in zip(self.padded, self.size, strict=True))
        return self._cut(F.pad(x, (0, 0, 0, right, 0, below)))

    def join(self, x: Tensor) -> Tensor:
        """The inverse of ``cut``."""
        rows, columns = (side // self.window for side in self.padded)
        grid = x.unflatten(1, (self.window, self.window)).unflatten(0, (-1, rows, columns))
        rolled = grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return rolled.roll(self.shift, (1, 2))[:, : self.size[0], : self.size[1]]


class PatchMerging(nn.Module):
    """Down-sampling: four neighbours side by side, normed and projected; (B, h, w, C) to (B, h / 2, w / 2, 2 C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        neighbours = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(neighbours, dim=-1)))


class Stage(nn.Module):
    """Blocks at one stride, and the down-sampling to the next, if there is one."""

    def __init__(self, channels: int, depth: int, window: int, heads: int, last: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(Block(channels, window, heads) for _ in range(depth))
        self.downsample = None if last else PatchMerging(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, h, w, C) to every block's output, of the same shape."""
        height, width = x.shape[1:3]
        windows = [Windows(height, width, self.window, shifted, x.device) for shifted in (False, True)]
        outputs = []
        for number, block in enumerate(self.blocks):
            x = block(x, windows[number % 2])
            outputs.append(x)
        return outputs


class PatchEmbed(nn.Module):
    """Patches of 4 x 4 pixels as tokens: (B, 3, H, W) to (B, H / 4, W / 4, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, PATCH, PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        whole = F.pad(images, (0, -width % PATCH, 0, -height % PATCH))
        return self.norm(self.proj(whole).permute(0, 2, 3, 1))


class Swin(Backbone):
    """Feature pyramid of a Swin Transformer; the defaults are Swin-B for 384 px.

    Parameters
    ----------
    name
        What the backbone is called.
    depths, heads
        Blocks per stage, and attention heads in each.
    width
        Channels of the first stage; they double from stage to stage.
    window
        Side of a window, in tokens.
    """

    normalisation = IN_WORDS

    def __init__(
        self,
        name: str = "swin_b",
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        width: int = 128,
        window: int = 12,
    ) -> None:
        super().__init__()
        self.name = name
        self.patch_embed = PatchEmbed(width)
        channels = [width * 2**number for number in range(len(depths))]
        last = len(depths) - 1
        self.stages = nn.ModuleList(
            Stage(channels[i], depths[i], window, heads[i], last=i == last) for i in range(len(depths))
        )
        self.layers = tuple(
            Layer(f"layers.{i}.blocks.{j}", PATCH * 2**i, channels[i])
            for i in range(len(depths))
            for j in range(depths[i])
        )
        self.freeze()

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.features(normalise(images))

    def features(self, normalised: Tensor) -> list[Tensor]:
        """The same from images (B, 3, H, W) that are normalised already."""
        x = self.patch_embed(normalised)
        features: list[Tensor] = []
        for stage in self.stages:
            assert isinstance(stage, Stage)
            outputs = stage(x)
            features += [output.permute(0, 3, 1, 2) for output in outputs]
            x = outputs[-1] if stage.downsample is None else stage.downsample(outputs[-1])
        return features

    @staticmethod
    def our_name(theirs: str) -> str | None:
        """Our name of a tensor of the Swin repository's file; None for classifier, final norm and derived buffers."""
        derived = theirs.endswith((".relative_position_index", ".attn_mask"))
        if derived or theirs.startswith(("head.", "norm.")):
            return None
        return re.sub(r"^layers\.", "stages.", theirs)

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Read a state dict under the Swin repository's names; any missing, unknown or misshapen is a RuntimeError."""
        self.load_state_dict({ours: t for name, t in state.items() if (ours := self.our_name(name)) is not None})
