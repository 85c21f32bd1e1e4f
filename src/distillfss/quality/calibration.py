"""From cross-validated IoU to the IoU to be expected on new images, with an interval.

Three things lie between the two: the whole fit has more steps than the fine-tuning of a fold, it has all images, and
few images say little about all others. The constants make up for the first two on average and draw the estimate
towards what fits reach as a rule, the more so the fewer images there are. They were found by least squares on fits
whose IoU on other images is known (``docs/estimate.md``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distillfss.quality.outcomes import Outcome

COVERAGE = 0.8
"""Share of intervals that hold what is found later."""
QUANTILE = 1.2816
"""Of the normal distribution, for that share."""
BASE, SLOPE, PER_LOG_IMAGE = 0.20, 0.42, 0.08
"""IoU to be expected = base + slope * cross-validated IoU + per_log_image * log(images)."""
DEVIATION = 0.09
"""Standard deviation of what is found later about what was expected."""
UNSEEN, UNSEEN_DEVIATION = 0.35, 0.18
"""The same for a class of a single image, which cannot be held back: what fits reach with one image."""
INSTANT_BASE, INSTANT_SLOPE = 0.08, 0.80
"""Of a model without steps, from what the teacher found before any."""
SHARED = 0.5
"""Correlation of the errors of two classes of one fit."""
LEAST, MOST = 0.01, 0.99


@dataclass(frozen=True)
class Expected:
    """IoU to be expected on new images, and the interval that holds it in 8 cases of 10. All from 0 to 1."""

    iou: float
    low: float
    high: float

    @classmethod
    def around(cls, iou: float, deviation: float) -> Expected:
        """With an interval for a standard deviation."""
        low, high = iou - QUANTILE * deviation, iou + QUANTILE * deviation
        return cls(*(min(max(value, LEAST), MOST) for value in (iou, low, high)))

    @property
    def deviation(self) -> float:
        """Standard deviation that the interval stands for."""
        return max(self.high - self.iou, self.iou - self.low) / QUANTILE


def expected(outcome: Outcome, *, instant: bool = False) -> Expected:
    """What one class will reach.

    Parameters
    ----------
    outcome
        Of cross-validation.
    instant
        Whether the model is what the teacher was before any step.
    """
    if outcome.images < 2:
        return Expected.around(UNSEEN, UNSEEN_DEVIATION)
    if instant:
        return Expected.around(INSTANT_BASE + INSTANT_SLOPE * outcome.start, DEVIATION)
    iou = BASE + SLOPE * outcome.validated + PER_LOG_IMAGE * math.log(outcome.images)
    return Expected.around(iou, DEVIATION)


def expected_mean(classes: Sequence[Expected]) -> Expected:
    """What the mean over classes will reach, whose errors go together by ``SHARED``."""
    number = len(classes)
    deviations = [each.deviation for each in classes]
    total = math.fsum(deviations)
    variance = (SHARED * total**2 + (1 - SHARED) * math.fsum(d * d for d in deviations)) / number**2
    return Expected.around(math.fsum(each.iou for each in classes) / number, math.sqrt(variance))
