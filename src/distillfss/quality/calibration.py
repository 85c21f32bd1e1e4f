"""From cross-validated IoU to the IoU to be expected on new images, with an interval.

What cross-validation finds in a few images differs from what the model will reach on others: the whole fit has more
steps and more images than a fold of it, the few images stand for all others only so far, and new images may be of
another kind. The first is a gain on average, the others are chance. All of it is a normal model of the classes' IoU in
logits: what a class reaches is the sum of what fits reach as a rule, of what this task is like (shared by its classes)
and of what the class is like; cross-validation measures it with noise. The posterior says what to expect, and how far
off it may be. Of a class of which nothing was measured, the others still tell what the task is like.

The constants were fitted on tasks whose IoU on other images is known (``docs/estimate.md``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillfss.quality.outcomes import Outcome

COVERAGE = 0.8
"""Share of intervals that hold what is found later."""
QUANTILE = 1.2816
"""Of the normal distribution, for that share."""
TYPICAL = 0.0
"""What fits reach as a rule, in logits."""
OF_TASK, OF_CLASS = 0.4, 0.9
"""How far tasks lie about it, and the classes of a task about what the task is like (standard deviations, logits)."""
NOISE = 1.3
"""Standard deviation, in logits, of what one image says, beside what the jackknife sees."""
NEW_FOR_ALL, NEW_FOR_ONE = 0.2, 0.3
"""Standard deviations, in logits, of what is left when much is known, since new images are never quite like the old: of
all classes together, and of each."""
WHOLE_GAIN_UP_TO = 5
"""Images of a class. With more, what a fold lacks is worth less, in proportion: with 25 images next to nothing."""
ONE_IMAGE = -0.5
"""What a class of a single image reaches beside what is usual, in logits."""
LEAST_ERROR = 0.02
"""Few images may agree by chance: their standard error is taken for no smaller."""
LEAST_SLOPE = 0.13
"""IoU per logit at an IoU of 15 or 85 %."""
LEAST_IOU = 0.03
"""Nothing that was seen is said to be worse than this, or better than 1 minus this."""


@dataclass(frozen=True)
class Gain:
    """What a model has that a fold of its cross-validation lacked, in logits of IoU.

    Attributes
    ----------
    more
        From steps and images.
    backbone
        From a backbone that learnt: worth as much with many images.
    longer
        From its learning longer with many images: worth all of it with endlessly many.
    """

    more: float
    backbone: float = 0.0
    longer: float = 0.0

    def of(self, images: int) -> float:
        """For a class that this many images show."""
        few = min(1.0, WHOLE_GAIN_UP_TO / images)
        return self.more * few + self.backbone + self.longer * (1 - few)


INSTANT, FROZEN, LEARNING = Gain(0.0), Gain(0.6), Gain(0.6, backbone=0.3, longer=0.15)
"""Of a model without steps (its folds are the teacher that it is made of); of whole fits, on a backbone that stays as
it is and on one that learns."""


@dataclass(frozen=True)
class Expected:
    """IoU to be expected on new images, and the interval that holds it in 8 cases of 10. All from 0 to 1."""

    iou: float
    low: float
    high: float

    @classmethod
    def of_logit(cls, mean: float, deviation: float) -> Expected:
        """With mean and standard deviation of the logit of IoU."""
        low, high = mean - QUANTILE * deviation, mean + QUANTILE * deviation
        return cls(*(_bounded(_iou(value)) for value in (mean, low, high)))

    @classmethod
    def around(cls, iou: float, deviation: float) -> Expected:
        """With mean and standard deviation of the IoU itself."""
        low, high = iou - QUANTILE * deviation, iou + QUANTILE * deviation
        return cls(*(_bounded(value) for value in (iou, low, high)))


NOTHING = Expected(0.0, 0.0, 0.0)
"""Of a class that no image shows: nobody has told the model what it is."""


@dataclass(frozen=True)
class Expectation:
    """What every class of a model will reach, and their mean, in which a class that no image shows has no part."""

    classes: tuple[Expected, ...]
    mean: Expected


def expected(found: Sequence[Outcome], gain: Gain) -> Expectation:
    """What the classes of one model will reach.

    Parameters
    ----------
    found
        By cross-validation, one per class.
    gain
        By what kind of model.
    """
    shown = [outcome for outcome in found if outcome.images > 0]
    if not shown:
        return Expectation((NOTHING,) * len(found), NOTHING)
    mean, covariance = posterior(shown, gain)
    deviations = np.sqrt(np.diag(covariance))
    of_shown = [Expected.of_logit(float(m), float(d)) for m, d in zip(mean, deviations, strict=True)]
    each = iter(of_shown)
    classes = tuple(next(each) if outcome.images else NOTHING for outcome in found)
    if len(shown) == 1:
        return Expectation(classes, of_shown[0])
    iou = 1 / (1 + np.exp(-mean))
    slope = iou * (1 - iou) / len(shown)
    return Expectation(classes, Expected.around(float(iou.mean()), math.sqrt(float(slope @ covariance @ slope))))


def posterior(shown: Sequence[Outcome], gain: Gain) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (n,) and covariance (n, n) of the logits that classes which an image shows will reach on new images."""
    usual = np.array([TYPICAL + (ONE_IMAGE if outcome.apart == 1 else 0) for outcome in shown])
    own = np.eye(len(shown))
    prior, new = OF_TASK**2 + OF_CLASS**2 * own, NEW_FOR_ALL**2 + NEW_FOR_ONE**2 * own
    measured = [place for place, outcome in enumerate(shown) if outcome.apart > 1]
    if not measured:
        return usual, prior + new
    logits, variances = zip(*(_measured(shown[place], gain) for place in measured), strict=True)
    # few groups are much like few images, except that a group that is unlike others is so for all classes
    few = np.array([NOISE * math.sqrt(1 / shown[place].apart - 1 / shown[place].images) for place in measured])
    noise = np.diag(variances) + np.outer(few, few)
    weights = np.linalg.solve(prior[np.ix_(measured, measured)] + noise, prior[measured]).T
    return usual + weights @ (np.array(logits) - usual[measured]), prior - weights @ prior[measured] + new


def _measured(outcome: Outcome, gain: Gain) -> tuple[float, float]:
    """The logit that cross-validation says a class will reach, and its variance."""
    found = _bounded(outcome.validated)
    # the slope of the logit, which near 0 and 1 would make any error endless
    error = max(outcome.error, LEAST_ERROR) / max(found * (1 - found), LEAST_SLOPE)
    return math.log(found / (1 - found)) + gain.of(outcome.apart), error**2 + NOISE**2 / outcome.images


def _bounded(iou: float) -> float:
    return min(max(iou, LEAST_IOU), 1 - LEAST_IOU)


def _iou(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
