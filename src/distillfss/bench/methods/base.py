"""The one interface of everything the benchmark compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from distillfss.support import SupportSet


@dataclass(frozen=True)
class MethodSettings:
    """What every method is told, so that all of them see the same.

    Attributes
    ----------
    seed
        Decides everything random.
    backbone
        Name of the frozen backbone.
    size
        Working resolution in pixels (see ``geometry.working_size``).
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    effort
        Multiplies the steps of methods that take steps.
    init
        What teachers start from: ``auto``, ``scratch`` or a file (see ``FitConfig.init``).
    """

    seed: int = 0
    backbone: str = "efficientnet_lite0"
    size: int = 384
    device: str = "auto"
    effort: float = 1.0
    init: str = "auto"


class Predictor(Protocol):
    """A fitted method: what ``distillfss.evaluate`` takes as a segmenter."""

    class_names: tuple[str, ...]

    def predict(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        """Masks (h, w) of an image (H, W, 3) uint8 at every one of ``sizes`` (height, width)."""
        ...


class Method(Protocol):
    """Something that learns from a support set.

    Attributes
    ----------
    name
        Key in ``METHODS``.
    settings
        As given to the constructor, which takes nothing else.
    """

    name: str
    settings: MethodSettings

    def fit(self, support: SupportSet, unlabeled: Sequence[NDArray[np.uint8]] | None = None) -> Predictor:
        """Learn from annotated images, and maybe from images (H, W, 3) uint8 without annotation."""
        ...

    def identity(self) -> dict[str, Any]:
        """Everything beside support, settings and versions that decides the outcome (step counts, weight files)."""
        ...
