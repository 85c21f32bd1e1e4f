"""Medians, ranges and ranks, by hand."""

from __future__ import annotations

import math

import pytest
from bench_helpers import make_row

from distillfss.bench.report.tables import rank_table
from distillfss.bench.summary import Arena, Spread, rank, shown_images, summarise


def arena_of(*rows: dict) -> Arena:
    (arena,) = summarise(rows).arenas
    return arena


def test_spread_is_median_minimum_maximum():
    assert Spread((0.594, 0.424, 0.556)).text(100) == "55.6 (42.4 to 59.4)"
    assert Spread((0.2, 0.4, 0.8, 0.6)).text(100, 0) == "50 (20 to 80)"
    assert Spread((91.6,)).text() == "91.6"


def test_entries_gather_the_seeds_of_a_cell():
    arena = arena_of(*(make_row(seed=seed, iou=iou) for seed, iou in ((2, 0.7), (0, 0.5), (1, 0.4))))
    entry = arena.entry("discs", 5, "bright")
    assert entry is not None
    assert [row["seed"] for row in entry.done] == [0, 1, 2]
    assert entry.iou == Spread((0.5, 0.4, 0.7))
    assert entry.spread("seconds", "fit") == Spread((10.0, 20.0, 30.0))
    own = entry.spread("result", "classes", "disc", "iou")
    assert own is not None
    assert own.values == pytest.approx((0.51, 0.41, 0.71))
    assert entry.spread("result", "classes", "square", "iou") is None
    assert entry.score == 0.5
    assert arena.entry("discs", 1, "bright") is None


def test_a_seed_that_failed_counts_as_below_everything():
    one = arena_of(make_row(seed=0, iou=0.5), make_row(seed=1, iou=None), make_row(seed=2, iou=0.7))
    entry = one.entries["discs", 5, "bright"]
    assert (entry.iou, entry.score, entry.seeds) == (Spread((0.5, 0.7)), 0.5, {0, 1, 2})
    two = arena_of(make_row(seed=0, iou=None), make_row(seed=1, iou=None), make_row(seed=2, iou=0.7))
    assert two.entries["discs", 5, "bright"].score == -math.inf
    assert len(summarise([make_row(iou=None), make_row(seed=1)]).failed) == 1


def test_equal_scores_share_the_mean_of_their_ranks():
    assert rank({"a": 0.5, "b": 0.9, "c": 0.5, "d": 0.1}) == {"a": 2.5, "b": 1.0, "c": 2.5, "d": 4.0}
    assert rank({"a": -math.inf, "b": -math.inf, "c": 0.0}) == {"a": 2.5, "b": 2.5, "c": 1.0}


def test_mean_ranks_by_hand():
    # one: a, b, c are 1, 2, 3; two: 2, 1, 3; three: c failed, so 1.5, 1.5, 3
    scores = {("one", 1): (0.9, 0.8, 0.7), ("one", 5): (0.6, 0.9, 0.5), ("two", 1): (0.4, 0.4, None)}
    rows = [
        make_row(dataset, method, shots, iou=iou)
        for (dataset, shots), ious in scores.items()
        for method, iou in zip("abc", ious, strict=True)
    ]
    ranks = arena_of(*rows).ranks
    assert ranks.overall == pytest.approx({"a": 1.5, "b": 1.5, "c": 3.0})
    assert ranks.by_shots[1] == pytest.approx({"a": 1.25, "b": 1.75, "c": 3.0})
    assert ranks.by_shots[5] == pytest.approx({"a": 2.0, "b": 1.0, "c": 3.0})
    assert set(ranks.contests) == {("one", 1), ("one", 5), ("two", 1)}
    assert ranks.left_out == ()
    assert arena_of(*rows).labels == ["a", "b", "c"]


def test_only_contests_with_every_method_and_the_same_seeds_are_ranked():
    rows = [
        make_row("whole", "a", iou=0.2),
        make_row("whole", "b", iou=0.3),
        make_row("lacking", "a", iou=0.9),
        make_row("uneven", "a", iou=0.9),
        make_row("uneven", "a", seed=1, iou=0.9),
        make_row("uneven", "b", iou=0.1),
    ]
    ranks = arena_of(*rows).ranks
    assert ranks.contests == (("whole", 5),)
    assert ranks.left_out == (("lacking", 5), ("uneven", 5))
    assert ranks.overall == {"a": 2.0, "b": 1.0}
    assert arena_of(*rows).labels == ["b", "a"]


def test_a_method_that_few_data_sets_have_seen_leaves_the_others_their_ranks():
    rows = [
        make_row(dataset, method, iou=iou)
        for dataset in ("one", "two", "three")
        for method, iou in (("a", 0.2), ("b", 0.3))
    ]
    arena = arena_of(*rows, make_row("one", "c", iou=0.9))
    assert arena.ranks.overall == {"a": 2.0, "b": 1.0}
    assert arena.ranks.partial == ("c",)
    assert arena.labels == ["b", "a", "c"]
    table = rank_table(arena)
    assert table is not None
    assert [row[0] for row in table.rows] == ["b", "a"]
    assert "among 2 methods" in table.note
    assert "Without a rank, since run on few of the data sets: c." in table.note


def test_a_single_method_is_not_ranked():
    assert arena_of(make_row()).ranks.overall == {}


def test_only_what_is_comparable_shares_an_arena():
    rows = [
        make_row(support="picked"),
        make_row(protocol="paper", support="even"),
        make_row(),
        make_row(unlabeled=20),
    ]
    summary = summarise(rows)
    assert [(a.protocol, a.support, a.unlabeled) for a in summary.arenas] == [
        ("locked", "random", 0),
        ("locked", "random", 20),
        ("locked", "picked", 0),
        ("paper", "even", 0),
    ]


def test_settings_that_differ_are_part_of_the_label():
    rows = [make_row(settings={"effort": effort}) for effort in (0.5, 1.0)]
    summary = summarise(rows)
    assert summary.arenas[0].labels == ["bright (effort 0.5)", "bright"]
    assert summary.common == {"backbone": "efficientnet_lite0", "size": 384, "device": "auto"}
    assert summarise(rows[:1]).arenas[0].labels == ["bright"]
    files = [make_row(settings={"init": init}) for init in ("scratch", "/somewhere/teacher.safetensors")]
    assert summarise(files).arenas[0].labels == ["bright (init scratch)", "bright (init teacher.safetensors)"]


def test_the_newest_row_of_a_cell_counts_also_under_another_version():
    old = make_row(iou=0.1) | {"key": "old", "versions": {"torch": "2.6.0"}}
    summary = summarise([old, make_row(iou=0.6)])
    assert summary.superseded == 1
    assert summary.arenas[0].entries["discs", 5, "bright"].iou == Spread((0.6,))


def images(**scores: float | None) -> dict:
    row = make_row(masks=len(scores))
    row["result"]["images"] = [{"image": name, "iou_384": iou, "iou": iou} for name, iou in scores.items()]
    return row


def test_the_images_shown_are_the_middle_and_the_last_by_the_mean_over_methods():
    one = images(p=0.9, q=0.1, r=0.5, s=0.2, t=None)
    two = images(p=0.7, q=0.5, r=0.1, s=0.9, t=0.0) | {"method": "dark", "key": "other"}
    # means: p 0.8, q 0.3, r 0.3, s 0.55; t has no score with one of them
    shown = shown_images(arena_of(one, two), "discs")
    assert shown is not None
    assert (shown.worst, shown.median) == ("q", "r")
    assert set(shown.rows) == {"bright", "dark"}


def test_pictures_are_of_the_most_shots_that_most_methods_have_with_masks():
    rows = [
        make_row(method="a", shots=1, masks=3),
        make_row(method="b", shots=1, seed=1, masks=3),
        make_row(method="a", shots=5, seed=1, masks=3),
        make_row(method="b", shots=5, seed=1, masks=3),
        make_row(method="a", shots=50, masks=3),
        make_row(method="b", shots=50, masks=0),
    ]
    shown = shown_images(arena_of(*rows), "discs")
    assert shown is not None
    assert (shown.shots, shown.seed) == (5, 1)
    assert shown_images(arena_of(make_row(masks=0), make_row(method="b", iou=None)), "discs") is None


def test_rows_on_other_test_images_or_of_another_form_of_the_method_are_left_out():
    """What came first, before the split or the method changed, is not put beside what came after."""
    rows = [
        make_row(method="a", iou=0.1, test_names=["t0", "t1", "t2", "t3"]),
        make_row(method="b", iou=0.2, fingerprint="e" * 64),
        make_row("other", "a", iou=0.3, fingerprint="d" * 64),
        make_row(method="c", seed=0, iou=0.4, identity={"steps": 2, "config": {"seed": 0, "rate": 1}}),
        make_row(method="c", seed=1, iou=0.5, identity={"steps": 3, "config": {"seed": 1, "rate": 1}}),
        make_row(method="c", seed=2, iou=0.6, identity={"steps": 3, "config": {"seed": 2, "rate": 1}}),
        make_row(method="c", seed=2, iou=0.7, identity={"steps": 3, "config": {"seed": 2, "rate": 1}}),
        make_row(method="c", shots=1, iou=0.8, identity={"steps": 2}),
        make_row(method="a", iou=0.9, support="picked"),
        make_row(method="a", iou=0.05, protocol="paper", test_names=["t7"]),
    ]
    summary = summarise(rows)
    found = {(a.protocol, a.support, *place): e.iou.values for a in summary.arenas for place, e in a.entries.items()}  # type: ignore[union-attr]
    assert set(found) == {
        ("locked", "random", "other", 5, "a"),
        ("locked", "random", "discs", 5, "c"),
        ("locked", "random", "discs", 1, "c"),
        ("locked", "picked", "discs", 5, "a"),
        ("paper", "random", "discs", 5, "a"),
    }
    assert found["locked", "random", "discs", 5, "c"] == (0.5, 0.7)
    assert (summary.superseded, summary.outdated) == (1, 3)
