"""The estimate that every fit ends with: what to expect on new images, and whether that is worth anything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from distillfss.quality.calibration import INSTANT, Expected, Gain, expected
from distillfss.quality.outcomes import Outcome

HELD_BACK = 2
"""Images, or groups, of a class from which on some can be held back."""


@dataclass(frozen=True)
class ClassEstimate:
    """What to expect of one class; ``outcome`` is what cross-validation found."""

    name: str
    expected: Expected
    outcome: Outcome

    @property
    def better_than_trivial(self) -> bool:
        """Whether the whole interval lies above "everything is this class", and so does what was found for sure.

        What fits reach as a rule lifts the interval above a class of 2 % of the pixels, whatever was found of it: masks
        of nothing in particular would pass.
        """
        found = self.outcome
        clearly = found.validated - found.error > found.trivial
        return self.expected.low > found.trivial and (clearly or found.apart < HELD_BACK)


@dataclass(frozen=True)
class Estimate:
    """What to expect of a model.

    Attributes
    ----------
    classes
        Every class on its own.
    mean
        Mean IoU over the classes that an image shows.
    trivial
        The same of the best constant answer, "everything is" whichever class is largest.
    instant
        Mean IoU of the teacher before any step on held-back images: what ``fit --instant`` would have given. None
        where no image could be held back, and of an instant model itself.
    seconds
        Time the cross-validation took.
    """

    classes: tuple[ClassEstimate, ...]
    mean: Expected
    trivial: float
    instant: float | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, fractions from 0 to 1; what a model file holds."""
        return {
            **_rounded(asdict(self.mean)),
            "trivial": round(self.trivial, 4),
            "instant": None if self.instant is None else round(self.instant, 4),
            "seconds": round(self.seconds, 2),
            "classes": {each.name: _rounded(asdict(each.expected) | asdict(each.outcome)) for each in self.classes},
        }


def estimate(names: Sequence[str], found: Sequence[Outcome], *, images: int, gain: Gain, seconds: float) -> Estimate:
    """What to expect of a model, from what cross-validation found for its classes.

    Parameters
    ----------
    images
        Size of the support.
    gain
        What kind of model it is.
    seconds
        Time the cross-validation took.
    """
    told = expected(found, gain)
    shown = max(1, sum(outcome.images > 0 for outcome in found))
    return Estimate(
        classes=tuple(itertools.starmap(ClassEstimate, zip(names, told.classes, found, strict=True))),
        mean=told.mean,
        trivial=max(outcome.trivial for outcome in found) / shown,
        instant=math.fsum(outcome.start for outcome in found) / shown if images > 1 and gain != INSTANT else None,
        seconds=seconds,
    )


def stored_mean(summary: Mapping[str, Any]) -> Expected | None:
    """What a model file's summary, which may say anything, expects of the mean over classes; None if nothing."""
    found = summary.get("estimate")
    values = [found.get(name) for name in ("iou", "low", "high")] if isinstance(found, dict) else []
    numbers = [float(value) for value in values if isinstance(value, int | float) and 0 <= value <= 1]
    return Expected(*numbers) if len(numbers) == 3 else None


def _rounded(values: Mapping[str, float | None]) -> dict[str, float]:
    told = {name: value for name, value in values.items() if value is not None}
    return {name: value if isinstance(value, int) else round(value, 4) for name, value in told.items()}
