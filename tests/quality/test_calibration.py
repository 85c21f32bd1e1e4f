"""What cross-validation says, as an expectation: bounded, monotone, drawn to the usual by few images."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from distillfss.quality import calibration as c
from distillfss.quality.calibration import FROZEN, INSTANT, LEARNING, NOTHING, Expected, Gain, expected
from distillfss.quality.estimate import estimate, stored_mean
from distillfss.quality.outcomes import Outcome


def seen(validated: float, images: int = 5, error: float = 0.05, start: float = 0.3, trivial: float = 0.1) -> Outcome:
    return Outcome(images=images, start=start, validated=validated, error=error, trivial=trivial)


def one(outcome: Outcome, gain: Gain) -> Expected:
    """Of a model of one class."""
    found = expected([outcome], gain)
    assert found.mean == found.classes[0]
    return found.classes[0]


NEW = math.hypot(c.NEW_FOR_ALL, c.NEW_FOR_ONE)


def logit(iou: float) -> float:
    return math.log(iou / (1 - iou))


def test_it_is_a_normal_posterior_in_logits():
    """Against numerical integration of prior times likelihood."""
    outcome = seen(0.42, images=7, error=0.06)
    grid = np.linspace(-8, 8, 160_001)
    measured = logit(0.42) + 0.5 * 5 / 7 + 0.1 + 0.2 * 2 / 7
    error = math.hypot(0.06 / (0.42 * 0.58), c.NOISE / math.sqrt(7))
    prior = math.hypot(c.OF_TASK, c.OF_CLASS)
    log = -((grid - c.TYPICAL) ** 2) / (2 * prior**2) - (grid - measured) ** 2 / (2 * error**2)
    density = np.exp(log - log.max())
    mean = float((density * grid).sum() / density.sum())
    deviation = math.hypot(math.sqrt(float((density * (grid - mean) ** 2).sum() / density.sum())), NEW)
    found = one(outcome, Gain(0.5, backbone=0.1, longer=0.2))
    assert logit(found.iou) == pytest.approx(mean, abs=1e-6)
    assert logit(found.high) == pytest.approx(mean + c.QUANTILE * deviation, abs=1e-4)
    assert logit(found.low) == pytest.approx(mean - c.QUANTILE * deviation, abs=1e-4)


def test_classes_say_something_of_each_other():
    """Two classes, against integration over task and classes by chance draws."""
    random = np.random.default_rng(0)
    count = 400_000
    task = random.normal(c.TYPICAL, c.OF_TASK, count)
    reached = task[:, None] + random.normal(0, c.OF_CLASS, (count, 2))
    first = seen(0.3, images=6, error=0.05)
    deviation = math.hypot(0.05 / 0.21, c.NOISE / math.sqrt(6))
    weight = np.exp(-((logit(0.3) - reached[:, 0]) ** 2) / (2 * deviation**2))
    mean = (weight[:, None] * reached).sum(0) / weight.sum()
    spread = np.sqrt((weight[:, None] * (reached - mean) ** 2).sum(0) / weight.sum())
    found = expected([first, seen(0.9, images=1)], Gain(0.0)).classes
    assert logit(found[0].iou) == pytest.approx(mean[0], abs=0.01)
    assert logit(found[1].iou) == pytest.approx(mean[1] + c.ONE_IMAGE, abs=0.01)
    assert logit(found[1].high) == pytest.approx(
        mean[1] + c.ONE_IMAGE + c.QUANTILE * math.hypot(spread[1], NEW), abs=0.01
    )


def test_a_class_of_one_image_is_as_hard_as_the_others_and_harder():
    for reached in (0.1, 0.5, 0.9):
        apart, single = expected([seen(reached, 10), seen(0.0, 1)], LEARNING).classes
        assert single == expected([seen(reached, 10), seen(0.9, 1)], LEARNING).classes[1]  # nothing was measured
        assert single.high - single.low > apart.high - apart.low
    hard, easy = (expected([seen(v, 10)] * 5 + [seen(0.0, 1)], LEARNING).classes[-1] for v in (0.05, 0.9))
    assert hard.iou < one(seen(0.0, 1), LEARNING).iou < easy.iou


def test_a_class_that_no_image_shows_will_not_be_found_and_is_not_in_the_mean():
    absent = Outcome(images=0, start=0.0, validated=0.0, error=0.0, trivial=0.0)
    found = expected([seen(0.4), absent, seen(0.6)], LEARNING)
    without = expected([seen(0.4), seen(0.6)], LEARNING)
    assert found.classes == (without.classes[0], NOTHING, without.classes[1])
    assert found.mean == without.mean
    told = estimate(["a", "b", "c"], [seen(0.4), absent, seen(0.6)], images=5, gain=LEARNING, seconds=0)
    assert [each.better_than_trivial for each in told.classes] == [True, False, True]
    assert told.trivial == pytest.approx(0.1 / 2)
    assert told.instant == pytest.approx(0.3)
    assert expected([absent], LEARNING).mean == NOTHING


@pytest.mark.parametrize("images", [2, 5, 80])
def test_more_found_is_more_expected_and_nothing_is_certain(images):
    found = [one(seen(value, images), LEARNING) for value in np.linspace(0, 1, 21)]
    for few, more in itertools.pairwise(found):
        assert few.iou <= more.iou + 1e-9
    assert all(0 < each.low < each.iou < each.high < 1 for each in found)


def test_steps_are_a_gain_and_a_backbone_that_learns_is_another():
    for v in np.linspace(0.05, 0.95, 10):
        assert one(seen(v), INSTANT).iou < one(seen(v), FROZEN).iou < one(seen(v), LEARNING).iou
    found = estimate(["a"], [seen(0.4)], images=5, gain=INSTANT, seconds=0)
    assert found.classes[0].expected == one(seen(0.4), INSTANT)
    assert found.instant is None  # it is what is estimated


def test_what_a_fold_lacks_is_worth_less_with_more_images():
    """With hardly any prior left, the expectation is what was found plus the gain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c, "OF_CLASS", 1e4)
        gains = [
            logit(one(seen(0.6, images), Gain(0.6, backbone=0.25)).iou) - logit(0.6) for images in (2, 5, 10, 25, 50)
        ]
    assert gains == pytest.approx([0.85, 0.85, 0.55, 0.37, 0.31], abs=1e-6)


def test_few_images_say_less():
    few, many = one(seen(0.9, 2), LEARNING), one(seen(0.9, 50), LEARNING)
    assert few.iou < many.iou
    assert few.high - few.low > many.high - many.low
    alike, apart = (one(seen(0.9, 10, error=error), LEARNING) for error in (0.02, 0.09))
    assert apart.iou < alike.iou
    assert apart.high - apart.low > alike.high - alike.low


def test_the_mean_of_classes_is_surer_than_each_and_not_as_sure_as_if_they_had_nothing_in_common():
    found = expected([seen(0.5, images) for images in (3, 5, 9)], Gain(0.0))
    widths = [each.high - each.low for each in found.classes]
    apart = math.sqrt(sum(width**2 for width in widths)) / 3
    assert found.mean.iou == pytest.approx(sum(each.iou for each in found.classes) / 3)
    assert apart < found.mean.high - found.mean.low < sum(widths) / 3


def test_better_than_trivial_only_if_the_whole_interval_is():
    low = expected([seen(0.4), seen(0.4)], FROZEN).classes[0].low
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


def test_a_small_class_of_which_next_to_nothing_was_found_is_not_better_than_trivial():
    # masks of nothing in particular: the interval is above 2 % since fits as a rule are
    given = [
        seen(0.021, error=0.019, trivial=0.02),
        seen(0.12, error=0.05, trivial=0.02),
        seen(0.0, images=1, trivial=0.02),
    ]
    found = estimate(["noise", "crack", "single"], given, images=5, gain=INSTANT, seconds=0)
    assert all(each.expected.low > 0.02 for each in found.classes)
    assert [each.better_than_trivial for each in found.classes] == [False, True, True]


def grouped(validated: float, groups: int, images: int = 12, error: float = 0.05) -> Outcome:
    return replace(seen(validated, images, error), groups=groups)


def test_of_one_class_groups_count_as_images_do():
    for groups in (1, 2, 3, 6):
        found, as_images = one(grouped(0.3, groups), LEARNING), one(seen(0.3, groups), LEARNING)
        assert vars(found) == pytest.approx(vars(as_images))
    assert expected([grouped(0.3, 12), grouped(0.8, 12)], FROZEN) == expected([seen(0.3, 12), seen(0.8, 12)], FROZEN)


def test_a_group_that_is_unlike_the_others_is_so_for_all_classes():
    """Against weighing chance draws of task, classes and groups."""
    random = np.random.default_rng(0)
    count = 400_000
    reached = random.normal(c.TYPICAL, c.OF_TASK, count)[:, None] + random.normal(0, c.OF_CLASS, (count, 2))
    few = [c.NOISE * math.sqrt(1 / 2 - 1 / 6), c.NOISE * math.sqrt(1 / 3 - 1 / 6)]
    measured = reached + random.normal(0, 1, count)[:, None] * few
    deviation = math.hypot(0.05 / 0.21, c.NOISE / math.sqrt(6))
    weight = np.exp(-np.square(logit(0.3) - measured).sum(1) / (2 * deviation**2))
    mean = (weight[:, None] * reached).sum(0) / weight.sum()
    spread = np.sqrt((weight[:, None] * (reached - mean) ** 2).sum(0) / weight.sum())
    found = expected([grouped(0.3, 2, 6), grouped(0.3, 3, 6)], Gain(0.0)).classes
    for each, middle, width in zip(found, mean, spread, strict=True):
        assert logit(each.iou) == pytest.approx(middle, abs=0.01)
        assert logit(each.high) == pytest.approx(middle + c.QUANTILE * math.hypot(width, NEW), abs=0.01)


def test_a_class_of_one_group_is_not_measured():
    """Those of other groups have not shown it, so that nothing of it was found says nothing."""
    found = estimate(["a", "b"], [grouped(0.6, 3), grouped(0.0, 1)], images=12, gain=LEARNING, seconds=0)
    assert found.classes[1].expected == expected([grouped(0.6, 3), grouped(0.9, 1)], LEARNING).classes[1]
    assert found.to_dict()["classes"]["b"]["groups"] == 1
    assert "groups" not in estimate(["a"], [seen(0.6)], images=5, gain=LEARNING, seconds=0).to_dict()["classes"]["a"]
