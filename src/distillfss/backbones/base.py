"""What every backbone offers: a frozen network that turns an image into a pyramid of feature maps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """One feature map of the pyramid: where it comes from, its stride in pixels and its channels."""

    name: str
    stride: int
    channels: int


class Backbone(nn.Module):
    """Base of all backbones. Frozen: no parameter takes a gradient, and ``train()`` changes nothing.

    Attributes
    ----------
    name
        Key in ``BACKBONES``, or ``timm:NAME``.
    layers
        The pyramid's layers, finest first. There is at least one of every stride 4, 8, 16 and 32.
    normalisation
        What it does to the pixels first, for whoever reads a model file.
    tail_from
        Index of the last layer of ``head_from_fine``; None where a backbone cannot be taken apart, and stays as it is.
    fine_channels
        Channels of the map of stride 2 that comes before the pyramid; None where a backbone has none to give.
    """

    name: str
    normalisation: str
    layers: tuple[Layer, ...]
    tail_from: int | None = None
    fine_channels: int | None = None

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of images.

        Parameters
        ----------
        images
            (B, 3, H, W), RGB, float, 0 to 255, any H and W of at least 1.

        Returns
        -------
        list of Tensor
            One (B, C_l, ceil(H / stride_l), ceil(W / stride_l)) per layer, in the order of ``layers``.
        """
        raise NotImplementedError

    def fine(self, images: Tensor) -> Tensor:
        """The map of stride 2 of images, as ``forward`` takes them: (B, C, ceil(H / 2), ceil(W / 2))."""
        raise NotImplementedError

    def from_fine(self, fine: Tensor) -> list[Tensor]:
        """The whole pyramid, computed from what ``fine`` returns."""
        features = self.head_from_fine(fine)
        return [*features, *self.tail(features[-1])]

    def head_from_fine(self, fine: Tensor) -> list[Tensor]:
        """The layers up to ``tail_from``, computed from what ``fine`` returns."""
        raise NotImplementedError

    def tail(self, feature: Tensor) -> list[Tensor]:
        """The layers after ``tail_from``, computed from that one as ``forward`` returns it, (B, C, h, w)."""
        raise NotImplementedError

    def tail_parameters(self) -> list[nn.Parameter]:
        """What of ``tail`` is to learn."""
        raise NotImplementedError

    def freeze(self) -> Backbone:
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Backbone:
        # Batch statistics of five images must never leak into a frozen network.
        return super().train(False)
