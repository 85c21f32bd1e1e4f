"""Told what belongs together, a fit estimates what it will find in other groups; what it learns is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import square_pair

from distillfss import FitConfig, SupportSet
from distillfss.errors import DataError, UsageError
from distillfss.fit_run import FitRun
from distillfss.models.probe import RIDGE, Moments, class_weights, rows_and_columns, sample, shrunk
from distillfss.support import Sample
from distillfss.training.targets import class_masks
from distillfss.training.transfer import leave_one_out_tokens

NAMES = ("p07_001", "q1_001", "p07_002", "p7_001", "q1_002", "q1_copy")
PATTERN = r"^[a-z]\d+"
TOGETHER = (0, 1, 0, 3, 1, 1)
QUICK = FitConfig(effort=0.05, pool_views=8, distill_batch=3)


def some(names: tuple[str, ...] = NAMES) -> SupportSet:
    """One picture per name; a copy is the mirror image of the one before it."""
    pairs = [square_pair(seed) for seed in range(len(names))]
    for place, name in enumerate(names):
        if name.endswith("copy"):
            pairs[place] = tuple(each[:, ::-1].copy() for each in pairs[place - 1])
    return SupportSet([Sample(name, *pair) for name, pair in zip(names, pairs, strict=True)], ["square"])


def begun(support: SupportSet) -> FitRun:
    return FitRun(support, QUICK, lambda _: None)


def test_groups_are_what_the_pattern_finds() -> None:
    support = some().grouped(PATTERN)
    assert support.groups == ("p07", "q1", "p07", "p7", "q1", "q1")
    assert (support.together, support.scenes) == (TOGETHER, (0, 1, 2, 3, 4, 4))
    assert some().together == (0, 1, 2, 3, 4, 4)
    assert some().grouped(r"^([a-z])0?(\d)").groups == ("p/7", "q/1", "p/7", "p/7", "q/1", "q/1")
    assert some().grouped(r"^p|q(?:1)").groups == ("p", "q1", "p", "p", "q1", "q1")
    assert support.subset([3, 2, 0]).groups == ("p7", "p07", "p07")
    assert support.subset([3, 2, 0]).together == (0, 1, 1)
    assert some().subset([0, 1]).groups == ()


def test_names_may_occur_twice() -> None:
    """As those of images in folders of their own do."""
    support = some(("p1_001", "p2_001", "p1_001", "p2_002")).grouped(PATTERN)
    assert support.groups == ("p1", "p2", "p1", "p2")
    assert support.together == (0, 1, 0, 1)


def test_copies_bring_groups_together() -> None:
    """What is learnt from a copy in another group is no news."""
    assert some(("a_1", "b_1", "b_copy", "c_1")).grouped("^.").together == (0, 1, 1, 3)
    assert some(("a_1", "b_1", "c_copy", "c_1")).grouped("^.").together == (0, 1, 1, 1)


@pytest.mark.parametrize(
    ("pattern", "problem", "kind"),
    [
        ("^p[", "'^p[' is no regular expression: unterminated", UsageError),
        (r"^p\d+", "the group of q1_001, q1_002, q1_copy is unknown", DataError),
        ("^z", "the group of p07_001, q1_001, p07_002 and 3 more is unknown", DataError),
        ("_", "all 6 images are of one group, '_'", UsageError),
    ],
)
def test_patterns_that_make_no_groups(pattern: str, problem: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        some().grouped(pattern)
    assert str(raised.value).startswith(problem)


def test_no_group_is_judged_by_who_has_seen_some_of_it() -> None:
    ready, validation = (run := begun(some().grouped(PATTERN))).ready, run.validation
    assert validation is not None
    assert validation.judged == [0, 1, 2, 3, 4]  # all but the copy
    held_back = [{validation.judged[place] for place in part} for part in validation.held_back]
    assert sorted(map(sorted, held_back)) == [[0, 2], [1, 4], [3]]
    for places, sources in zip(validation.held_back, held_back, strict=True):
        groups = {TOGETHER[source] for source in sources}
        learnt_from = {view.source for view in validation._without(places).phase.pool.advance(0)}
        assert learnt_from == {place for place in range(6) if TOGETHER[place] not in groups}

    # probes: by brute force, from the views of all other groups
    seen = [*ready.plain, *ready.first_views]
    per_side = rows_and_columns(len(seen))
    sampled = [sample(v.features, class_masks(v.mask, 1), ready.backbone.layers, per_side)[0] for v in seen]
    weights = class_weights(torch.cat([shares for _, shares in sampled]))
    for source, group in enumerate(TOGETHER):
        others = [part for part, view in zip(sampled, seen, strict=True) if TOGETHER[view.source] != group]
        pixels, shares = (torch.cat(each) for each in zip(*others, strict=True))
        different = len({scene for scene, other in zip((0, 1, 2, 3, 4, 4), TOGETHER, strict=True) if other != group})
        wanted = shrunk(Moments.of(pixels, shares, weights).solve(RIDGE), different)
        torch.testing.assert_close(ready._probes()[2][source], wanted, rtol=1e-3, atol=1e-4)

    assert validation.probes is ready.probes_of_groups

    class Shown:
        def support_tokens(self, features, masks, probe):
            self.features = features
            return probe

    teacher = Shown()
    for source, group in enumerate(TOGETHER):
        leave_one_out_tokens(teacher, validation.plain, validation.probes, source, 1, np.random.default_rng(0), 8)
        others = [view for view in ready.plain if TOGETHER[view.source] != group]
        assert len(teacher.features[0]) == len(others)
        for shown in teacher.features[0]:
            assert any(torch.equal(shown, view.features[0][0]) for view in others)


def test_what_is_learnt_is_the_same_and_a_stopped_fit_of_other_groups_is_another() -> None:
    plain, grouped = begun(some()), begun(some().grouped(PATTERN))
    assert plain.fingerprint() != grouped.fingerprint()
    assert grouped.fingerprint() != begun(some().grouped("^.")).fingerprint()
    for run in (plain, grouped):
        while not run.done:
            run.advance()
    one, other = (run.segmenter().parts[2].state_dict() for run in (plain, grouped))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (plain.segmenter().summary["groups"], grouped.segmenter().summary["groups"]) == (None, 3)
    (apart,), (together,) = (found.classes for run in (plain, grouped) if (found := run.estimate()) is not None)
    assert (apart.outcome.images, apart.outcome.groups) == (5, None)
    assert (together.outcome.images, together.outcome.groups) == (5, 3)
    assert apart.outcome.validated != together.outcome.validated
