"""How far a probe is trusted: tried on images it has not seen, counted pixel by pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scenes import square_support

from distillfss import FitConfig
from distillfss.fit_run import FitRun
from distillfss.models.probe import probe_map, probe_weights
from distillfss.training.scoring import pixel_counts
from distillfss.training.targets import class_masks
from distillfss.training.weighing import GAINS, INSTANT_GAINS, best_gain

CONFIG = FitConfig(size=96, pool_views=6)


def test_answers_counted_pixel_by_pixel():
    random = torch.Generator().manual_seed(0)
    merged = torch.randn(1, 3, 6, 8, generator=random)
    mask = torch.randint(0, 3, (1, 24, 32), generator=random).to(torch.uint8)
    mask[0, :8, :8] = 255
    wanted = np.zeros((2, 3))
    for i, j in np.ndindex(6, 8):
        truth, found = int(mask[0, 4 * i + 2, 4 * j + 2]), int(merged[0, :, i, j].argmax())
        for c in (1, 2):
            if truth != 255:
                wanted[c - 1] += [truth == c == found, truth != c == found, truth == c != found]
    assert pixel_counts(merged, mask).tolist() == wanted.tolist()


def whole_probe(run: FitRun) -> torch.Tensor:
    features = [torch.cat(layer) for layer in zip(*(view.features for view in run.ready.plain), strict=True)]
    masks = class_masks(torch.cat([view.mask for view in run.ready.plain]), 1)
    return probe_weights(features, masks, run.ready.backbone.layers)


def test_a_good_probe_is_trusted_and_a_misleading_one_is_not():
    support = square_support(4)
    run = FitRun(support, CONFIG, lambda _: None)
    # of the very images it is tried on, so as good as a probe can be
    views, whole = run.ready.plain, whole_probe(run)
    good = {view.source: whole for view in views}
    chosen = best_gain(run.teacher, views, good, 1, gains=GAINS, shots=3, seed=0)
    assert chosen in GAINS[1:]
    misleading = {source: -weights for source, weights in good.items()}
    for weights in misleading.values():
        weights[:, -1] += 1  # the mirror image of the map: 1 - score
    assert best_gain(run.teacher, views, misleading, 1, gains=GAINS, shots=3, seed=0) == 0.0


def test_a_probe_that_misleads_is_not_heard_at_all(monkeypatch):
    monkeypatch.setattr("distillfss.fit_preparation.best_gain", lambda *_, **__: 0.0)
    run = FitRun(square_support(3), CONFIG, lambda _: None)
    assert float(probe_map(run.ready.plain[0].features, run.ready.probe, run.ready.backbone.layers).abs().max()) == 0
    assert float(run.teacher.mixer.probe_gain.detach()) == 0


def test_a_fit_starts_with_the_gain_that_was_best():
    run = FitRun(square_support(4), CONFIG, lambda _: None)
    assert float(run.teacher.mixer.probe_gain.detach()) in GAINS
    alone = FitRun(square_support(1), CONFIG, lambda _: None)
    assert float(alone.teacher.mixer.probe_gain.detach()) == 3.0  # nothing to try it on, and nothing to trust


def test_only_where_no_step_follows_may_the_probe_be_as_loud_as_it_likes(monkeypatch):
    tried = []
    monkeypatch.setattr(
        "distillfss.fit_preparation.best_gain", lambda *_, gains, **__: tried.append(gains) or gains[-1]
    )
    run = FitRun(square_support(3), replace(CONFIG, instant=True), lambda _: None)
    assert float(run.teacher.mixer.probe_gain.detach()) == 12.0
    FitRun(square_support(3), CONFIG, lambda _: None)
    assert tried == [INSTANT_GAINS, GAINS]
    assert max(GAINS) == 5.0
