"""The teacher itself as a method: as it comes, or fine-tuned on the support (TransferFSS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillfss.bench.methods.base import MethodSettings, Predictor
from distillfss.config import FitConfig
from distillfss.fit_preparation import Progress
from distillfss.fit_run import FitRun
from distillfss.models.classes import merge_classes
from distillfss.models.mixer import resize
from distillfss.preprocess import at_working_size
from distillfss.support import SupportSet


def fit_config(settings: MethodSettings, **changes: Any) -> FitConfig:
    """The configuration of ``fit`` that these settings mean; without an estimate, which no opponent makes.

    As with ``distillfss fit --size``, a working resolution that is asked for is kept to.
    """
    own = {} if settings.size == FitConfig.size else {"fine_size": 0}
    return FitConfig(**{**vars(settings), "estimate": False, **own, **changes})


def quiet(_: Progress) -> None:
    """Progress nobody is told."""


class TeacherPredictor:
    """A teacher shown its whole support with every image."""

    def __init__(self, run: FitRun) -> None:
        self.class_names = run.support.class_names
        self._run = run
        self._teacher = run.teacher.eval()
        with torch.no_grad():
            self._tokens = run.whole_support()

    @torch.no_grad()
    def logits(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Merged class logits (1, n + 1, h, w) of an image (H, W, 3) uint8."""
        query = self._run.encode(at_working_size(pixels, self._run.ready.size)[None])
        return merge_classes(self._teacher(query, self._tokens)[0], self._run.support.never)

    def predict(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        """Masks (h, w) at every one of ``sizes``."""
        logits = self.logits(pixels)
        return [resize(logits, size)[0].argmax(0).to(torch.uint8).cpu().numpy() for size in sizes]


class UntunedTeacher:
    """The meta-trained teacher without any fine-tuning."""

    name = "teacher"

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    def identity(self) -> dict[str, Any]:
        return {"config": vars(fit_config(self.settings))}

    def fit(self, support: SupportSet, unlabeled: Sequence[NDArray[np.uint8]] | None = None) -> Predictor:
        return TeacherPredictor(FitRun(support, fit_config(self.settings), quiet))


class TransferredTeacher:
    """The teacher fine-tuned on the support: the first half of a fit. It needs the support with every image."""

    name = "transfer"

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    def identity(self) -> dict[str, Any]:
        return {"config": vars(fit_config(self.settings))}

    def fit(self, support: SupportSet, unlabeled: Sequence[NDArray[np.uint8]] | None = None) -> Predictor:
        # no backbone learns after it, for whose sake `fit` takes fewer of these steps with many images
        run = FitRun(support, fit_config(self.settings, backbone_rate=0.0), quiet)
        while not run.transferred:
            run.advance()
        return TeacherPredictor(run)
