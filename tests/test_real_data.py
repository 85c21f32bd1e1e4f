"""The main job on real images: polyps in endoscopy, support and test set of the protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distillfss import FitConfig, SupportSet, evaluate, fit
from distillfss.bench.protocol import draw_support, split
from distillfss.support import LabelledFolder

DATASETS = Path(__file__).parents[2] / "shared" / "datasets"
KVASIR = DATASETS / "kvasir_seg"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not KVASIR.is_dir(), reason="no shared/datasets/kvasir_seg beside the checkout"),
]


def test_five_polyps_are_enough_to_be_far_ahead_of_trivial(tmp_path):
    """A third of the usual effort, 30 test images: a clear lead is asked for, the figures are in docs/results.md."""
    folder = LabelledFolder.open(KVASIR)
    pool, test = split("kvasir_seg", folder.names)
    place = {name: index for index, name in enumerate(folder.names)}

    def chosen(names: list[str]) -> SupportSet:
        samples = [folder[place[name]] for name in names]
        return SupportSet.from_arrays([s.image for s in samples], [s.mask for s in samples], ["polyp"])

    support = chosen(draw_support({name: [1] for name in pool}, 5, seed=0))
    segmenter = fit(support, FitConfig(effort=0.35))
    result = evaluate(segmenter, chosen(test[:30]))
    assert result.foreground_iou_384 > 0.35
    assert result.foreground_iou_384 > result.baseline_paper.mean("iou") + 0.1

    path = tmp_path / "polyp.safetensors"
    segmenter.save(path)
    # the backbone has learnt too and travels along: what is asked of the rest is that it stays small
    tensors = segmenter.parts[0].state_dict().values()
    assert path.stat().st_size - sum(tensor.nbytes for tensor in tensors) < 1_000_000
    image = folder[place[test[0]]].image
    mask, probabilities = segmenter(image, probabilities=True)
    assert mask.shape == image.shape[:2]
    assert 0.0 < float(probabilities[..., 1].min()) < float(probabilities[..., 1].max()) < 1.0
    assert np.array_equal(mask, probabilities.argmax(-1))
