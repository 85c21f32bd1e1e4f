"""No image is judged, in any part of a fit, by what was learnt from its copy; and copies are not counted."""

from __future__ import annotations

import numpy as np
import torch
from scenes import square_pair

from distillfss import FitConfig, SupportSet
from distillfss.fit_outcome import estimate_of
from distillfss.fit_run import FitRun
from distillfss.models.probe import RIDGE, Moments, class_weights, rows_and_columns, sample, shrunk
from distillfss.training.targets import class_masks
from distillfss.training.transfer import episode, leave_one_out_tokens

QUICK = FitConfig(effort=0.05, pool_views=8, distill_batch=3)


def with_copies(count: int, copies: int = 1) -> SupportSet:
    """``count`` pictures, and after all of them their mirror images, in reverse order: (0, 1, 2, 2, 1, 0)."""
    pairs = [square_pair(seed) for seed in range(count)]
    mirrored = [(image[:, ::-1].copy(), mask[:, ::-1].copy()) for image, mask in reversed(pairs)]
    pairs += copies * mirrored
    return SupportSet.from_arrays([image for image, _ in pairs], [mask for _, mask in pairs], ["square"])


def begun(support: SupportSet) -> FitRun:
    return FitRun(support, QUICK, lambda _: None)


def test_nothing_is_left_out_without_its_copy() -> None:
    support = with_copies(4)
    run = begun(support)
    ready, scenes = run.ready, (0, 1, 2, 3, 3, 2, 1, 0)
    assert support.scenes == scenes
    assert [view.scene for view in ready.plain] == list(scenes)
    assert {(view.source, view.scene) for view in ready.first_views} <= set(enumerate(scenes))

    # probes: by brute force, from the views of all other scenes
    seen = [*ready.plain, *ready.first_views]
    per_side = rows_and_columns(len(seen))
    sampled = [sample(v.features, class_masks(v.mask, 1), ready.backbone.layers, per_side)[0] for v in seen]
    weights = class_weights(torch.cat([shares for _, shares in sampled]))
    probes = ready._probes()[1]
    assert sorted(probes) == list(range(8))
    for source, scene in enumerate(scenes):
        others = [part for part, view in zip(sampled, seen, strict=True) if scenes[view.source] != scene]
        pixels, shares = (torch.cat(each) for each in zip(*others, strict=True))
        wanted = shrunk(Moments.of(pixels, shares, weights).solve(RIDGE), 3)
        torch.testing.assert_close(probes[source], wanted, rtol=1e-3, atol=1e-4)

    # cross-validation: the first of every scene is judged once, by who has seen none of the scene
    assert run.validation is not None
    assert run.validation.judged == [0, 1, 2, 3]
    assert sorted(place for part in run.validation.held_back for place in part) == [0, 1, 2, 3]
    assert len(run.validation.held_back) == 3
    for part in run.validation.held_back:
        learnt_from = run.validation._without(part).phase.pool.advance(0)
        assert {view.scene for view in learnt_from} == {0, 1, 2, 3} - set(part)

    # episodes
    for seed in range(20):
        queries, shown = episode(ready.first_views, np.random.default_rng(seed), 4, 3)
        assert {view.scene for view in queries}.isdisjoint(view.scene for view in shown)

    # what answers an image
    class Shown:
        def support_tokens(self, features, masks, probe):
            self.features = features
            return probe

    teacher = Shown()
    for source, scene in enumerate(scenes):
        leave_one_out_tokens(teacher, ready.plain, ready.probes, source, 1, np.random.default_rng(0), 8)
        others = [view for view in ready.plain if view.scene != scene]
        assert len(teacher.features[0]) == len(others) == 6
        for shown in teacher.features[0]:
            assert any(torch.equal(shown, view.features[0][0]) for view in others)


def test_copies_are_not_counted() -> None:
    """Steps but those of adaptation, how much of it is kept, and the estimate are those of the different images."""
    alone, copied = begun(with_copies(4, 0)), begun(with_copies(4, 2))
    assert (len(alone.support), len(copied.support)) == (4, 12)
    *first, last = zip(alone._phases, copied._phases, strict=True)
    assert all(one.steps == other.steps for one, other in first)
    assert [phase.steps for phase in last] == [QUICK.adapt_steps(4), QUICK.adapt_steps(12, 4)]
    while not copied.done:
        copied.advance()
    assert copied.share == QUICK.adapt_share(4)
    found = estimate_of(copied)
    assert found is not None
    assert found.classes[0].outcome.images == 4
    summary = copied.segmenter().summary
    assert (summary["images"], summary["different"], summary["shots"]) == (12, 4, {"square": 12})


def test_an_image_and_its_copies_are_one_image() -> None:
    """There is nothing to judge it by: no cross-validation, no limit of strangeness, as with one image."""
    one, many = begun(with_copies(1, 0)), begun(with_copies(1, 3))
    assert many.support.different == 1
    assert many.validation is not None
    assert many.validation.held_back == []
    assert many.ready.strangeness_limit is None
    assert [phase.steps for phase in many._phases[:2]] == [phase.steps for phase in one._phases[:2]]
    while not many.done:
        many.advance()
    assert many.segmenter().predict(np.zeros((40, 50, 3), np.uint8), [(40, 50)])[0].shape == (40, 50)
