"""What cross-validation says, as an expectation: bounded, monotone, drawn to the usual by few images."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from distillfss.quality import calibration as c
from distillfss.quality.calibration import FROZEN, INSTANT, LEARNING, Expected, Gain, expected, expected_mean
from distillfss.quality.estimate import estimate, stored_mean
from distillfss.quality.outcomes import Outcome


def seen(validated: float, images: int = 5, error: float = 0.05, start: float = 0.3, trivial: float = 0.1) -> Outcome:
    return Outcome(images=images, start=start, validated=validated, error=error, trivial=trivial)


def test_it_is_the_mean_of_a_normal_posterior_in_logits():
    """Against numerical integration of prior times likelihood."""
    outcome = seen(0.42, images=7, error=0.06)
    grid = np.linspace(-8, 8, 160_001)
    measured = math.log(0.42 / 0.58) + 0.5 * 5 / 7 + 0.1
    error = math.hypot(0.06 / (0.42 * 0.58), c.NOISE / math.sqrt(7))
    log = -((grid - c.TYPICAL) ** 2) / (2 * c.SPREAD**2) - (grid - measured) ** 2 / (2 * error**2)
    density = np.exp(log - log.max())
    mean = float((density * grid).sum() / density.sum())
    assert expected(outcome, Gain(0.5, backbone=0.1)).iou == pytest.approx(1 / (1 + math.exp(-mean)), abs=1e-6)


@pytest.mark.parametrize("images", [2, 5, 80])
def test_more_found_is_more_expected_and_nothing_is_certain(images):
    found = [expected(seen(value, images), LEARNING) for value in np.linspace(0, 1, 21)]
    for few, more in itertools.pairwise(found):
        assert few.iou <= more.iou + 1e-9
    assert all(0 < each.low < each.iou < each.high < 1 for each in found)


def test_steps_are_a_gain_and_a_backbone_that_learns_is_another():
    for v in np.linspace(0.05, 0.95, 10):
        assert expected(seen(v), INSTANT).iou < expected(seen(v), FROZEN).iou < expected(seen(v), LEARNING).iou
    found = estimate(["a"], [seen(0.4)], images=5, gain=INSTANT, seconds=0)
    assert found.classes[0].expected == expected(seen(0.4), INSTANT)
    assert found.instant is None  # it is what is estimated


def test_what_a_fold_lacks_is_worth_less_with_more_images():
    """With hardly any prior left, the expectation is what was found plus the gain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c, "SPREAD", 1e6)
        gains = [
            math.log(found.iou / (1 - found.iou)) - math.log(0.6 / 0.4)
            for found in (expected(seen(0.6, images), Gain(0.6, backbone=0.25)) for images in (2, 5, 10, 25, 50))
        ]
    assert gains == pytest.approx([0.85, 0.85, 0.55, 0.37, 0.31], abs=1e-6)


def test_few_images_say_less():
    few, many = expected(seen(0.9, 2), LEARNING), expected(seen(0.9, 50), LEARNING)
    assert few.iou < many.iou
    assert few.high - few.low > many.high - many.low
    alike, apart = (expected(seen(0.9, 10, error=error), LEARNING) for error in (0.02, 0.09))
    assert apart.iou < alike.iou


def test_a_class_of_one_image_gets_what_is_usual():
    assert expected(seen(0.0, 1), LEARNING) == expected(seen(0.9, 1), LEARNING)
    assert expected(seen(0.0, 1), LEARNING).iou == c.UNSEEN


def test_the_mean_of_classes_whose_errors_are_partly_shared():
    each = [Expected.around(0.4, 0.1), Expected.around(0.6, 0.05)]
    mean = expected_mean(each)
    variance = (0.1**2 + 0.05**2 + 2 * c.SHARED * 0.1 * 0.05) / 4
    assert mean.iou == pytest.approx(0.5)
    assert mean.high == pytest.approx(0.5 + c.QUANTILE * math.sqrt(variance))
    assert expected_mean(each[:1]).high == pytest.approx(each[0].high)


def test_better_than_trivial_only_if_the_whole_interval_is():
    low = expected(seen(0.4), FROZEN).low
    found = estimate(
        ["a", "b"],
        [seen(0.4, trivial=low - 0.01), seen(0.4, trivial=low + 0.01)],
        images=5,
        gain=FROZEN,
        seconds=1.25,
    )
    assert [each.better_than_trivial for each in found.classes] == [True, False]
    assert found.trivial == pytest.approx((low + 0.01) / 2)
    written = found.to_dict()
    assert written["classes"]["b"]["validated"] == 0.4
    assert written["instant"] == 0.3
    assert written["seconds"] == 1.25
    assert stored_mean({"estimate": written}).iou == written["iou"]


@pytest.mark.parametrize(
    "summary", [{}, {"estimate": 3}, {"estimate": {"iou": 0.5}}, {"estimate": {"iou": "a", "low": 0.1, "high": 7}}]
)
def test_a_model_file_that_says_nonsense_expects_nothing(summary):
    assert stored_mean(summary) is None
