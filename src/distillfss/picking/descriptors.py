"""Two vectors per image: what the frozen backbone sees in it, and a thumbnail to tell twins by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distillfss.backbones.base import Backbone, Layer
from distillfss.preprocess import at_working_size

SIZE = 256
"""Working resolution: what an image is like on the whole needs no more."""
LEAST_STRIDE = 16
"""Finer layers see edges and grain; on the development pools they made the choice no better."""
FLOOR = 1e-3
THUMBNAIL = 24
"""Side of the thumbnail."""
LEAST_CONTRAST = 1.0
"""Grey values a thumbnail must vary by (standard deviation): below, there is nothing to tell it by but noise."""


def described_layers(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Indices of the layers that go into a descriptor."""
    return tuple(index for index, layer in enumerate(layers) if layer.stride >= LEAST_STRIDE)


@torch.inference_mode()
def describe(backbone: Backbone, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is kept of an image.

    Returns
    -------
    NDArray
        (D + 576,): of every described layer the channels' means, then their standard deviations; then the thumbnail,
        grey, of mean 0 and length 1, or all zeros if it has no contrast.
    """
    device = next(iter(backbone.parameters())).device
    image = at_working_size(pixels, SIZE)[None]
    pyramid = backbone(image.to(device))
    seen = []
    for index in described_layers(backbone.layers):
        flat = pyramid[index][0].flatten(1)
        seen += [flat.mean(1), flat.std(1, correction=0)]
    return torch.cat([torch.cat(seen).float().cpu(), thumbnail(image)]).numpy()


def thumbnail(image: Tensor) -> Tensor:
    """(1, 3, H, W) pixels 0 to 255 to (576,), see ``describe``."""
    grey = F.interpolate(image.mean(1, keepdim=True), (THUMBNAIL, THUMBNAIL), mode="area").flatten()
    centred = grey - grey.mean()
    length = centred.norm()
    return centred / length if length > LEAST_CONTRAST * THUMBNAIL else torch.zeros_like(centred)


def parts(kept: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows of ``describe`` (N, D + 576) to descriptors (N, D) and thumbnails (N, 576)."""
    return kept[:, : -(THUMBNAIL**2)], kept[:, -(THUMBNAIL**2) :]


def comparable(descriptors: NDArray[np.float32], layers: Sequence[Layer]) -> NDArray[np.float32]:
    """Descriptors (N, D) in which every layer weighs alike and every channel as much as it varies among the images.

    Returns
    -------
    NDArray
        (N, D). Squared distances of two typical images are near twice the number of described layers.
    """
    channels = [layers[index].channels for index in described_layers(layers)]
    layered = np.split(descriptors.astype(np.float64), np.cumsum([2 * count for count in channels])[:-1], axis=1)
    return np.concatenate([_standardized(layer) for layer in layered], axis=1).astype(np.float32)


def _standardized(part: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = part.std(0)
    least = max(FLOOR * float(deviation.mean()), 1e-12)
    scaled: NDArray[np.float64] = (part - part.mean(0)) / np.maximum(deviation, least) / np.sqrt(part.shape[1])
    return scaled
