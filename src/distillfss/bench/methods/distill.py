"""``fit`` as it is, without its training steps, and without a teacher: what does the teacher add?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.methods.base import MethodSettings, Predictor
from distillfss.bench.methods.teacher import fit_config
from distillfss.fitting import fit
from distillfss.support import SupportSet
from distillfss.training.initial import AUTO

TIME_OF_TRANSFER = 1.6
"""The student alone gets the steps that the teacher's fine-tuning and answers would have taken, and more. With 5 images
of one class it takes 1.33 times the processor seconds of our fit, with 25, when most steps are adaptation's, 1.5."""


class Distill:
    """``distillfss.fit`` with its defaults. It also says what to expect; the time for that is counted apart.

    Parameters
    ----------
    changes
        Knobs of ``FitConfig`` that are to differ, see ``methods.variants``; such a fit makes no estimate.
    """

    name = "distill"

    def __init__(self, settings: MethodSettings, changes: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        self.config = fit_config(settings, **{**self.knobs(settings, varied=bool(changes)), **(changes or {})})

    def knobs(self, settings: MethodSettings, *, varied: bool) -> dict[str, Any]:
        """What sets this method's fit apart from the defaults."""
        # the estimate is made for fits as people make them
        return {"estimate": settings.init == AUTO and settings.effort == 1 and not varied}

    def identity(self) -> dict[str, Any]:
        return {"config": vars(self.config)}

    def fit(self, support: SupportSet, unlabeled: Sequence[NDArray[np.uint8]] | None = None) -> Predictor:
        return fit(support, self.config, unlabeled=unlabeled if self.config.backbone_learns else None)


class Instant(Distill):
    """``fit --instant``: the probe in closed form, attention and mixer as meta-trained; no gradient step."""

    name = "instant"

    def knobs(self, settings: MethodSettings, *, varied: bool) -> dict[str, Any]:
        return {"instant": True, "estimate": not varied}


class DistillNoTeacher(Distill):
    """The student trained on the support alone, from the same start, for the same time."""

    name = "distill-no-teacher"

    def knobs(self, settings: MethodSettings, *, varied: bool) -> dict[str, Any]:
        return {"use_teacher": False, "effort": settings.effort * TIME_OF_TRANSFER}
