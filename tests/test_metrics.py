"""Counts and scores against values computed by hand and by brute force."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from distillfss.metrics import Scores, best_constant, confusion, constant_scores, resize_mask

TRUTH = np.array([[0, 0, 1, 1], [0, 2, 1, 255]], np.uint8)
PREDICTED = np.array([[0, 1, 1, 1], [2, 2, 0, 1]], np.uint8)


def test_confusion_by_hand() -> None:
    # background: right, →1, →2; class 1: right twice, →0; class 2: right; the ignored pixel counts nowhere.
    assert confusion(TRUTH, PREDICTED, 2).tolist() == [[1, 1, 1], [1, 2, 0], [0, 0, 1]]


def test_scores_by_hand() -> None:
    scores = Scores.of(("a", "b"), confusion(TRUTH, PREDICTED, 2))
    assert (scores.tp.tolist(), scores.fp.tolist(), scores.fn.tolist()) == ([2, 1], [1, 1], [1, 0])
    assert scores.iou.tolist() == [2 / 4, 1 / 2]
    assert scores.dice.tolist() == [4 / 6, 2 / 3]
    assert scores.precision.tolist() == [2 / 3, 1 / 2]
    assert scores.recall.tolist() == [2 / 3, 1 / 1]
    assert scores.mean("recall") == pytest.approx((2 / 3 + 1) / 2)
    assert scores.wrong == 3


def test_absent_class_has_no_score_and_does_not_count() -> None:
    scores = Scores.of(("a", "b"), confusion(np.array([[1, 0]], np.uint8), np.array([[1, 1]], np.uint8), 2))
    assert scores.iou[0] == 0.5
    assert math.isnan(scores.iou[1])
    assert scores.mean("iou") == 0.5
    assert scores.absent == ("b",)
    assert scores.to_dict()["per_class"]["b"]["iou"] is None
    assert scores.to_dict()["mean"]["iou"] == 0.5


def test_missed_class_scores_zero_and_has_no_precision() -> None:
    scores = Scores.of(("a",), confusion(np.array([[1, 0]], np.uint8), np.array([[0, 0]], np.uint8), 1))
    assert (scores.iou[0], scores.recall[0], scores.dice[0]) == (0, 0, 0)
    assert math.isnan(scores.precision[0])


def test_invented_class_scores_zero_and_has_no_recall() -> None:
    scores = Scores.of(("a",), confusion(np.array([[0, 0]], np.uint8), np.array([[0, 1]], np.uint8), 1))
    assert (scores.iou[0], scores.precision[0]) == (0, 0)
    assert math.isnan(scores.recall[0])
    assert scores.absent == ()


def test_all_ignored_gives_no_score() -> None:
    scores = Scores.of(("a",), confusion(np.full((2, 2), 255, np.uint8), np.ones((2, 2), np.uint8), 1))
    assert math.isnan(scores.mean("iou"))


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3))),
        (np.full((1, 1), 2), np.zeros((1, 1))),
        (np.zeros((1, 1)), np.full((1, 1), 2)),
    ],
)
def test_confusion_refuses_what_does_not_fit(truth: np.ndarray, predicted: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"truth is|holds class 2"):
        confusion(truth.astype(np.uint8), predicted.astype(np.uint8), 1)


def test_probabilities_are_no_mask() -> None:
    with pytest.raises(ValueError, match="a mask of float64: class indices are whole numbers"):
        confusion(np.ones((2, 2), np.uint8), np.full((2, 2), 0.7), 1)
    assert confusion(np.ones((2, 2), np.uint8), np.full((2, 2), True), 1).tolist() == [[0, 0], [0, 4]]


@given(st.data())
def test_confusion_equals_counting_one_by_one(data: st.DataObject) -> None:
    classes = data.draw(st.integers(1, 20))
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    pixels = shape[0] * shape[1]
    values = st.integers(0, classes)
    truth = data.draw(st.lists(values | st.just(255), min_size=pixels, max_size=pixels))
    predicted = data.draw(st.lists(values, min_size=pixels, max_size=pixels))
    expected = np.zeros((classes + 1, classes + 1), int)
    for t, p in zip(truth, predicted, strict=True):
        if t != 255:
            expected[t, p] += 1
    arrays = [np.array(flat, np.uint8).reshape(shape) for flat in (truth, predicted)]
    counts = confusion(*arrays, classes)
    np.testing.assert_array_equal(counts, expected)
    for index, iou in enumerate(Scores.of([str(i) for i in range(classes)], counts).iou, start=1):
        there = {i for i, t in enumerate(truth) if t == index}
        found = {i for i, (t, p) in enumerate(zip(truth, predicted, strict=True)) if p == index and t != 255}
        union = len(there | found)
        assert math.isnan(iou) if union == 0 else iou == pytest.approx(len(there & found) / union)


def test_trivial_prediction_is_the_most_frequent_class() -> None:
    counts = confusion(np.array([[0, 0, 0, 1, 2, 2]], np.uint8), np.zeros((1, 6), np.uint8), 2)
    value, scores = best_constant(("a", "b"), counts)
    assert value == 2
    assert scores.iou.tolist() == [0, 2 / 6]
    assert scores.mean("iou") == pytest.approx(1 / 6)


def test_trivial_prediction_of_one_class_is_its_share() -> None:
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    value, scores = best_constant(("a",), confusion(truth, np.zeros_like(truth), 1))
    assert (value, scores.mean("iou")) == (1, pytest.approx(2 / 3))


def test_all_background_finds_nothing() -> None:
    counts = confusion(np.array([[0, 1]], np.uint8), np.array([[1, 1]], np.uint8), 1)
    assert constant_scores(("a",), counts, 0).mean("iou") == 0


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_resize_mask_takes_the_pixel_under_the_centre(h: int, w: int, new_h: int, new_w: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 256, (h, w)).astype(np.uint8)
    rows = [math.floor(Fraction(2 * i + 1, 2) * Fraction(h, new_h)) for i in range(new_h)]
    columns = [math.floor(Fraction(2 * i + 1, 2) * Fraction(w, new_w)) for i in range(new_w)]
    expected = np.array([[mask[r, c] for c in columns] for r in rows], np.uint8)
    np.testing.assert_array_equal(resize_mask(mask, (new_h, new_w)), expected)


# Even sizes: at an odd one the middle centre can lie exactly between two pixels, and Pillow, which adds up
# floating-point steps, may land a hair on the other side.
@pytest.mark.parametrize("size", [(384, 384), (98, 210), (530, 640), (2, 2), (38, 1500)])
def test_resize_mask_agrees_with_pillow(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (531, 622)).astype(np.uint8)
    expected = np.array(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(resize_mask(mask, size), expected)
