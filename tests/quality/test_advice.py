"""Why a class may be no better than trivial, and what would help."""

from __future__ import annotations

import numpy as np
import pytest

from distillfss.quality.advice import advice
from distillfss.quality.calibration import FROZEN
from distillfss.quality.estimate import estimate
from distillfss.quality.outcomes import outcomes

BLOCK = np.zeros((96, 96), np.uint8)
BLOCK[20:60, 20:60] = 1
LINE = np.zeros((96, 96), np.uint8)
LINE[::12, 5:90] = 1
EMPTY = np.zeros((96, 96), np.uint8)


def said(masks: list[np.ndarray], rows: list[list[float]], size: int = 96) -> list[str]:
    after = np.array(rows)[:, None]
    found = outcomes(after, after, masks)
    names = [f"image_{place}" for place in range(len(masks))]
    return advice(estimate(["crack"], found, images=len(masks), gain=FROZEN, seconds=0), after, names, masks, size)


LOST, FOUND = [0.0, 300, 1600], [1600.0, 10, 10]


@pytest.mark.parametrize(
    ("masks", "rows", "wanted"),
    [
        ([BLOCK], [LOST], "only one image shows it; annotate 4 more of crack"),
        ([EMPTY, BLOCK, EMPTY], [FOUND, LOST, LOST], "only one image shows it; annotate 4 more of crack"),
        ([BLOCK] * 3, [LOST] * 3, "only 3 images show it; annotate 3 more of crack"),
        ([LINE] * 6, [LOST] * 6, "thinner than 8 pixels at size 96; try --size 192"),
        (
            [BLOCK] * 6,
            [LOST] * 4 + [[600.0, 1500, 1000]] * 2,
            "4 of 6 images were not understood from the others (image_0, ",
        ),
        ([BLOCK] * 6, [[600.0, 1500, 1000]] * 6, "looks much like its surroundings; annotate 6 more of crack"),
    ],
)
def test_the_likely_reason_and_the_next_step(monkeypatch, masks, rows, wanted):
    # of a class that fills half of the image, so that little is better than marking everything
    monkeypatch.setattr("distillfss.quality.estimate.ClassEstimate.better_than_trivial", property(lambda self: False))
    (sentence,) = said(masks, rows)
    assert sentence.startswith("crack may be found no better than by marking everything: ")
    assert wanted in sentence


@pytest.mark.parametrize(("size", "cure"), [(608, "try --size 1216"), (640, "cut the images into smaller ones")])
def test_no_resolution_is_advised_that_takes_many_times_as_long(monkeypatch, size, cure):
    monkeypatch.setattr("distillfss.quality.estimate.ClassEstimate.better_than_trivial", property(lambda self: False))
    thread = np.zeros((640, 640), np.uint8)
    thread[::40, 20:600] = 1
    (sentence,) = said([thread] * 6, [LOST] * 6, size)
    assert sentence.endswith(f"thinner than 8 pixels at size {size}; {cure}")


def test_nothing_is_said_of_what_is_found():
    assert said([BLOCK] * 5, [FOUND] * 5) == []
