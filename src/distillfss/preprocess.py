"""What happens to every image before the backbone, in training and in use alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distillfss.geometry import working_size


def at_working_size(pixels: NDArray[Any], size: int) -> Tensor:
    """(H, W, 3) uint8 to (3, h, w) float 0 to 255 at the working resolution; antialiased where that shrinks."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    target = working_size(pixels.shape[0], pixels.shape[1], size)
    # resized as bytes: a large photograph as float would take four times the memory
    return F.interpolate(image, target, mode="bilinear", antialias=True, align_corners=False)[0].float()
