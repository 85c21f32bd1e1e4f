"""Tiles and a real network (random weights): one tile is the whole image, several have no seams."""

from __future__ import annotations

import numpy as np
import pytest
from test_artifact import make_segmenter
from tile_models import picture

from distillfss.segmenter import Segmenter
from distillfss.tiles.engine import PROBABILITY_ONE, ArraySource, segment_array, segment_strips
from distillfss.tiles.plan import plan_axis
from distillfss.tiles.scores import scores_of, tile_side

SIDE = 128


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return make_segmenter(ways=2, size=64)


def test_an_image_of_one_tile_is_seen_as_the_model_itself_sees_it(segmenter: Segmenter) -> None:
    pixels = picture(SIDE, SIDE)
    mask = segment_array(pixels, scores_of(segmenter), 2, tile=SIDE, overlap=32)
    wanted, likely = segmenter(pixels, probabilities=True)
    ranked = np.sort(likely, axis=2)
    clear = ranked[:, :, -1] - ranked[:, :, -2] > 1e-4
    np.testing.assert_array_equal(mask[clear], wanted[clear])
    assert clear.mean() > 0.95
    (strip,) = segment_strips(ArraySource(pixels), scores_of(segmenter), 2, tile=SIDE, overlap=32, probabilities=True)
    assert strip.probabilities is not None
    np.testing.assert_allclose(np.moveaxis(strip.probabilities, 0, -1) / PROBABILITY_ONE, likely, atol=2e-5)
    assert tile_side(segmenter) == 64  # nobody said how large its images were: its working resolution


def test_no_seams(segmenter: Segmenter) -> None:
    """The largest step where tiles meet, over the usual large step elsewhere: about one, and not so if cut hard."""
    pixels = picture(SIDE, 4 * SIDE, seed=2)

    def seam(overlap: int) -> float:
        source, scores = ArraySource(pixels), scores_of(segmenter)
        strips = segment_strips(source, scores, 2, tile=SIDE, overlap=overlap, probabilities=True)
        # a strip's memory is used again, so its logarithm is taken at once
        logits = np.concatenate([np.log(strip.probabilities) for strip in strips if strip.probabilities is not None], 1)
        steps = np.abs(np.diff(logits - logits[:1], axis=2)).mean(axis=(0, 1))
        axis = plan_axis(4 * SIDE, SIDE, overlap)
        meet = np.zeros(steps.shape, bool)
        for span in axis.spans[1:]:
            meet[span.begin - 1 : span.begin + max(1, axis.fade)] = True
        return float(steps[meet].max() / np.quantile(steps[~meet], 0.99))

    assert seam(32) < 1.25
    assert seam(0) > 1.5
