"""A sliding window of augmented, encoded views: the frozen backbone runs once per view, the heads many times on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from distillfss.training.augment import Augmenter
from distillfss.training.lanes import at_once

Encode = Callable[[Tensor], list[Tensor]]
"""(B, 3, H, W) pixels 0 to 255 to a standardised pyramid."""

Join = Callable[[Sequence[Tensor]], Tensor]
"""B maps (1, ..., h, w) to one (B, ..., h', w'), all of each or a part."""


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """All of each."""
    return torch.cat(list(parts))


@dataclass(frozen=True)
class EncodedView:
    """One view's pyramid, (1, C_l, h_l, w_l) each, its mask (1, H, W) uint8, the image it came from and its scene."""

    features: list[Tensor]
    mask: Tensor
    source: int
    number: int
    scene: int


@dataclass(frozen=True)
class Batch:
    """Views side by side: features (B, C_l, h_l, w_l), masks (B, H, W) uint8."""

    features: list[Tensor]
    masks: Tensor

    @classmethod
    def of(cls, views: Sequence[EncodedView], join: Join = side_by_side) -> Batch:
        """Of whole views, or of the parts of them that ``join`` puts together."""
        features = [join(layer) for layer in zip(*(view.features for view in views), strict=True)]
        return cls(features, join([view.mask for view in views]))


class Views(Protocol):
    """Where a training step finds views, and chance."""

    def advance(self, step: int) -> list[EncodedView]: ...

    def random(self, step: int) -> np.random.Generator: ...


class ViewPool:
    """The views around one training step.

    Step s sees the views numbered from ``floor(s * refresh)`` on, ``capacity`` of them. A view follows from the seed
    and its number alone, so a resumed run sees exactly what an uninterrupted one would have seen.

    Parameters
    ----------
    augmenter, encode
        Where views come from.
    seed
        Decides every view and every batch.
    capacity
        Views held in memory, about 2 MB each at 384 px.
    refresh
        New views per step.
    """

    def __init__(self, augmenter: Augmenter, encode: Encode, *, seed: int, capacity: int, refresh: float) -> None:
        self._augmenter = augmenter
        self._encode = encode
        self._seed = seed
        self._capacity = capacity
        self._refresh = refresh
        self._window: deque[EncodedView] = deque(maxlen=capacity)
        self._next = 0

    def advance(self, step: int) -> list[EncodedView]:
        """Move the window to ``step`` and return its views, oldest first."""
        first = int(step * self._refresh)
        self._next = max(self._next, first)
        end = max(self._next, first + self._capacity)
        self._window.extend(at_once(self._make, range(self._next, end)))
        self._next = end
        return list(self._window)

    def random(self, step: int) -> np.random.Generator:
        """The source of every random choice of one step."""
        return np.random.default_rng([self._seed, 1, step])

    def random_of_source(self, source: int) -> np.random.Generator:
        """The source of random choices about one image, whenever they are made."""
        return np.random.default_rng([self._seed, 4, source])

    def _make(self, number: int) -> EncodedView:
        count = len(self._augmenter)
        epoch, place = divmod(number, count)
        source = int(np.random.default_rng([self._seed, 2, epoch]).permutation(count)[place])
        view = self._augmenter.view(source, int(np.random.default_rng([self._seed, 3, number]).integers(2**62)))
        # One at a time: kernels differ by batch size in the last bits, and a resumed run must not.
        with torch.no_grad():
            features = self._encode(view.image[None])
        return EncodedView(features, view.mask[None].to(features[0].device), source, number, view.scene)
