"""Foreground IoU per class, gathered over episodes and processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillfss.models.mixer import resize
from distillfss.training.losses import IGNORE

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Scores:
    """Intersections and unions of every class, in pixels, summed over its episodes.

    Parameters
    ----------
    classes
        Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._counts = torch.zeros(2, classes, dtype=torch.int64)

    def add(self, wanted: int, logits: Tensor, target: Tensor) -> None:
        """Count one episode: logits (1, 2, h, w), target (1, H, W) of 0 and 1 with 255 = ignore."""
        predicted = resize(logits, target.shape[-2:]).argmax(1) == 1
        truth, known = target == 1, target != IGNORE
        self._counts[0, wanted] += int((predicted & truth & known).sum())
        self._counts[1, wanted] += int(((predicted | truth) & known).sum())

    def reduced(self, fabric: Fabric) -> Scores:
        """The sum over all processes, on every process."""
        total = Scores(self._counts.shape[1])
        reduced = fabric.all_reduce(self._counts.to(fabric.device), reduce_op="sum")
        assert isinstance(reduced, Tensor)
        total._counts = reduced.cpu()
        return total

    def per_class(self) -> dict[int, float]:
        """IoU of every class that was asked for, 0 to 1."""
        intersection, union = self._counts
        return {c: float(intersection[c] / union[c]) for c in np.flatnonzero(union.numpy()).tolist()}

    def mean(self) -> float:
        """Mean IoU over the classes asked for; NaN if there is none."""
        values: NDArray[np.float64] = np.array(list(self.per_class().values()))
        return float(values.mean()) if len(values) else float("nan")
