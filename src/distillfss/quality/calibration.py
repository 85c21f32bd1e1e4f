"""From cross-validated IoU to the IoU to be expected on new images, with an interval.

Three things lie between the two: the whole fit has more steps than the fine-tuning of a fold, it has all images, and
few images say little about all others. The first two are a gain on average; for the third the estimate is drawn
towards what fits reach as a rule, the more so the fewer images there are and the less they agree (a normal prior in
logits of IoU). The constants were fitted on tasks whose IoU on other images is known (``docs/estimate.md``).
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
WHOLE_GAIN_UP_TO = 5
"""Images of a class. With more, what a fold lacks is worth less, in proportion: with 25 images next to nothing."""
TYPICAL, SPREAD = 0.0, 0.9
"""What fits reach as a rule, in logits, and how far they lie about it: what few images say is drawn towards it. Taken
wide, since the next data set may be like none of those that the rest was fitted on."""
NOISE = 1.0
"""Standard deviation, in logits, of one image's worth of evidence, beside what the jackknife sees."""
LEAST_ERROR = 0.02
"""Few images may agree by chance: their standard error is taken for no smaller."""
LEAST_SLOPE = 0.13
"""That at an IoU of 15 or 85 %."""
DEVIATION, DEVIATION_OF_ONE = 0.075, 0.15
"""Standard deviation of what is found later about what was expected: a part that stays, and one per image."""
UNSEEN, UNSEEN_DEVIATION = 0.38, 0.18
"""The same for a class of a single image, which cannot be held back: what fits reach with one image."""
SHARED = 0.5
"""Correlation of the errors of two classes of one fit."""
LEAST_IOU = 0.03
"""Nothing is said to be worse than this, or better than 1 minus this."""


@dataclass(frozen=True)
class Gain:
    """What a model has that a fold of its cross-validation lacked, in logits of IoU.

    Attributes
    ----------
    more
        From steps and images.
    backbone
        From a backbone that learnt: worth as much with many images.
    """

    more: float
    backbone: float = 0.0

    def of(self, images: int) -> float:
        """For a class that this many images show."""
        return self.more * min(1.0, WHOLE_GAIN_UP_TO / images) + self.backbone


INSTANT, FROZEN, LEARNING = Gain(0.2), Gain(0.6), Gain(0.6, backbone=0.3)
"""Of a model without steps (its folds are the teacher that it is made of); of whole fits, on a backbone that stays as
it is and on one that learns."""


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
        return cls(*(min(max(value, LEAST_IOU), 1 - LEAST_IOU) for value in (iou, low, high)))

    @property
    def deviation(self) -> float:
        """Standard deviation that the interval stands for."""
        return max(self.high - self.iou, self.iou - self.low) / QUANTILE


def expected(outcome: Outcome, gain: Gain) -> Expected:
    """What one class will reach.

    Parameters
    ----------
    outcome
        Of cross-validation.
    gain
        By what kind of model.
    """
    if outcome.images < 2:
        return Expected.around(UNSEEN, UNSEEN_DEVIATION)
    deviation = math.hypot(DEVIATION, DEVIATION_OF_ONE / math.sqrt(outcome.images))
    found = min(max(outcome.validated, LEAST_IOU), 1 - LEAST_IOU)
    # the slope of the logit, which near 0 and 1 would make any error endless
    error = max(outcome.error, LEAST_ERROR) / max(found * (1 - found), LEAST_SLOPE)
    weight = SPREAD**2 / (SPREAD**2 + error**2 + NOISE**2 / outcome.images)
    measured = _logit(found) + gain.of(outcome.images)
    return Expected.around(_iou(TYPICAL + weight * (measured - TYPICAL)), deviation)


def _logit(iou: float) -> float:
    return math.log(iou / (1 - iou))


def _iou(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def expected_mean(classes: Sequence[Expected]) -> Expected:
    """What the mean over classes will reach, whose errors go together by ``SHARED``."""
    number = len(classes)
    deviations = [each.deviation for each in classes]
    total = math.fsum(deviations)
    variance = (SHARED * total**2 + (1 - SHARED) * math.fsum(d * d for d in deviations)) / number**2
    return Expected.around(math.fsum(each.iou for each in classes) / number, math.sqrt(variance))
