"""Scores of held-back images, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from distillfss.quality.outcomes import class_shares, iou, jackknife, outcomes


def test_iou_is_over_all_pixels_and_its_error_by_leaving_out_each_image():
    counts = np.array([[30.0, 10, 10], [5, 0, 45], [60, 30, 0]])
    assert iou(counts) == pytest.approx(95 / 190)
    without = [65 / 140, 90 / 140, 35 / 100]  # of the other two images
    middle = sum(without) / 3
    assert jackknife(counts) == pytest.approx((2 / 3 * sum((w - middle) ** 2 for w in without)) ** 0.5)
    assert jackknife(counts[:1]) == 0.0
    assert iou(np.zeros((2, 3))) == 0.0


def test_the_jackknife_is_near_the_spread_over_other_draws_of_images():
    random = np.random.default_rng(0)

    def drawn() -> np.ndarray:
        share = random.uniform(0.2, 0.9, 20)
        return np.stack([100 * share, 50 * (1 - share), 50 * (1 - share)], axis=1)

    spread = np.std([iou(drawn()) for _ in range(2000)])
    assert np.mean([jackknife(drawn()) for _ in range(200)]) == pytest.approx(spread, rel=0.1)


def test_what_is_said_of_every_class():
    masks = [np.array([[0, 1, 1, 255]], np.uint8), np.array([[2, 0, 0, 0]], np.uint8)]
    before = np.array([[[1.0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 2, 1]]])
    after = np.array([[[2.0, 0, 0], [0, 0, 0]], [[0, 1, 0], [1, 0, 0]]])
    one, two = outcomes(before, after, masks)
    assert (one.images, one.start, one.validated) == (1, 0.5, pytest.approx(2 / 3))
    assert (two.images, two.start, two.validated) == (1, 0.0, 1.0)
    assert one.trivial == pytest.approx((2 / 3 + 0) / 2)
    assert two.trivial == pytest.approx((0 + 1 / 4) / 2)
    assert class_shares(masks, 2).tolist() == [[pytest.approx(2 / 3), 0], [0, 0.25]]


def test_of_groups_each_is_left_out_as_a_whole():
    masks = [np.array([[value, 0]], np.uint8) for value in (1, 1, 0, 1)]
    after = np.array([[[30.0, 10, 10]], [[5, 0, 45]], [[0, 20, 0]], [[60, 30, 0]]])
    (found,) = outcomes(after, after, masks, groups=[7, 2, 7, 4])
    assert (found.images, found.groups, found.apart) == (3, 3, 3)
    assert found.validated == pytest.approx(95 / 210)
    without = [65 / 140, 90 / 160, 35 / 120]  # groups 7, 2 and 4
    middle = sum(without) / 3
    assert found.error == pytest.approx((2 / 3 * sum((w - middle) ** 2 for w in without)) ** 0.5)
    (alone,) = outcomes(after, after, masks, groups=[0, 0, 1, 0])
    assert (alone.images, alone.groups) == (3, 1)
    (apart,) = outcomes(after, after, masks)
    assert (apart.images, apart.groups, apart.apart) == (3, None, 3)
    assert apart.error == pytest.approx(jackknife(after[:, 0]))
