"""Confidence and strangeness of single images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distillfss import FitConfig, Segmenter, fit
from distillfss.backbones.base import Layer
from distillfss.models.standardize import Standardize
from distillfss.outputs import OUTPUTS, OutputSettings, Segmented
from distillfss.quality.judging import LEAST_SHARE, Judged, confidence
from distillfss.quality.strangeness import MARGIN, MARGINS, limit, middle, strangeness, widened

LAYERS = [Layer("fine", 4, 3), Layer("middle", 16, 5), Layer("coarse", 32, 7)]


def pyramids(count: int, shift: float = 0.0, seed: int = 0) -> list[list[torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    sides = {4: 8, 16: 4, 32: 2}
    found = []
    for _ in range(count):
        own = torch.randn(1, generator=random)  # what tells images of one kind apart
        found.append(
            [
                torch.randn(1, la.channels, sides[la.stride], sides[la.stride], generator=random) + shift + 0.3 * own
                for la in LAYERS
            ]
        )
    return found


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_limit_is_that_of_each_image_against_the_others(count):
    support = pyramids(count)
    farthest = 0.0
    for place, own in enumerate(support):
        standardize = Standardize(LAYERS)
        standardize.calibrate([pyramid for other, pyramid in enumerate(support) if other != place])
        farthest = max(farthest, strangeness(standardize(own), LAYERS))
    assert limit(support, LAYERS) == pytest.approx(MARGINS.get(count, MARGIN) * farthest, rel=1e-4)
    assert limit(support[:1], LAYERS) is None


def test_images_of_another_kind_are_strange_and_others_of_the_same_are_not():
    support = pyramids(6)
    standardize = Standardize(LAYERS)
    standardize.calibrate(support)
    most = limit(support, LAYERS)
    assert all(strangeness(standardize(own), LAYERS) < most for own in pyramids(20, seed=1))
    assert all(strangeness(standardize(own), LAYERS) > most for own in pyramids(20, shift=3.0, seed=2))


def test_what_a_model_was_extended_with_is_not_strange_to_it():
    support, others = pyramids(6), pyramids(4, shift=3.0, seed=2)
    standardize = Standardize(LAYERS)
    standardize.calibrate(support)
    most, seen = limit(support, LAYERS), [standardize(own) for own in others]
    farthest = max(strangeness(own, LAYERS) for own in seen)
    assert farthest > most
    assert widened(most, seen, LAYERS) == pytest.approx(MARGIN * farthest)
    assert widened(2 * MARGIN * farthest, seen, LAYERS) == pytest.approx(2 * MARGIN * farthest)
    assert widened(None, seen, LAYERS) is None


def test_strangeness_around_a_middle():
    """By hand: a shifted middle and a shifted image are as far apart as before."""
    support, shift = pyramids(5), 0.7
    moved = [[layer + shift for layer in pyramid] for pyramid in support]
    around = middle(moved, LAYERS)
    assert [tuple(each.shape) for each in around] == [(5,), (7,)]
    standardize = Standardize(LAYERS)
    standardize.calibrate(support)
    for one, two in zip(support, moved, strict=True):
        wanted = sum(
            float(((layer.mean((0, 2, 3)) - torch.stack([p[i].mean((0, 2, 3)) for p in support]).mean(0)) ** 2).mean())
            for i, layer in enumerate(one)
            if LAYERS[i].stride >= 16
        )
        assert strangeness(two, LAYERS, around) == pytest.approx(wanted, rel=1e-4)
    farthest = max(
        strangeness(own, LAYERS, middle([other for other in moved if other is not own], LAYERS)) for own in moved
    )
    assert limit(moved, LAYERS, standardised=True) == pytest.approx(MARGIN * farthest, rel=1e-4)
    assert widened(1e-3, moved, LAYERS, around) == pytest.approx(
        MARGIN * max(strangeness(own, LAYERS, around) for own in moved)
    )


def test_confidence_is_the_expected_iou():
    """Against drawing truths from the probabilities."""
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 40, 50, generator=random, dtype=torch.float64)
    probabilities = logits.softmax(0)
    found = (logits.argmax(0) > 0).numpy()
    foreground = (1 - probabilities[0]).numpy()
    draws = np.random.default_rng(0)
    ious = []
    for _ in range(400):
        truth = draws.random(foreground.shape) < foreground
        ious.append((found & truth).sum() / (found | truth).sum())
    assert confidence(logits) == pytest.approx(np.mean(ious), abs=LEAST_SHARE)
    sure_of_nothing = torch.full((2, 40, 50), -12.0)
    sure_of_nothing[0] = 12.0
    assert confidence(sure_of_nothing) > 0.99
    unsure_of_nothing = torch.zeros(2, 40, 50)
    unsure_of_nothing[0] = 0.1
    assert confidence(unsure_of_nothing) < 0.02


def test_an_answer_is_the_mask_with_what_is_said_of_it(tmp_path):
    from scenes import square_support

    model = fit(square_support(3), FitConfig(size=96, effort=0.02, pool_views=6))
    image = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    model.save(tmp_path / "m.safetensors")
    for segmenter in (model, Segmenter.load(tmp_path / "m.safetensors")):
        answer = segmenter.answer(image, probabilities=True)
        mask, likely = segmenter(image, probabilities=True)
        assert np.array_equal(answer.mask, mask)
        assert np.array_equal(answer.probabilities, likely)
        assert segmenter.answer(image).probabilities is None
        assert answer.judged.confidence == pytest.approx(confidence(segmenter.logits(image)[0]))
        assert answer.judged.unlike_support  # noise is like no square
    own = square_support(3).samples[0].image
    assert not model.answer(own).judged.unlike_support
    for nonsense in (None, "1", -1, float("inf"), float("nan")):
        model.summary["strangeness_limit"] = nonsense
        assert model.answer(image).judged.strangeness is None
    assert [len(each) for each in model.strangeness_middle] == [80, 112, 192, 320]
    for nonsense in (None, "1", [1, 2], [[0.0] * 80] * 4, {"a": 1}, [["a"] * c for c in (80, 112, 192, 320)], 3.5):
        model.summary["strangeness_middle"] = nonsense
        assert model.strangeness_middle is None


def test_the_table_puts_the_least_certain_first():
    output = OUTPUTS["confidence"](OutputSettings(["a"]))
    pixels, mask = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)
    seen = {
        "sure": Judged(0.9, 0.2),
        "odd": Judged(0.4, 1.25),
        "alone": Judged(0.6),
        "tiled": None,
    }
    records = {name: output.record(Segmented(name, pixels, mask, judged=each)) for name, each in seen.items()}
    assert output.collect(records)["confidence.csv"].decode().splitlines() == [
        "image,confidence,strangeness,unlike_support",
        "odd,0.4,1.25,yes",
        "alone,0.6,,",
        "sure,0.9,0.2,no",
        "tiled,,,",
    ]
