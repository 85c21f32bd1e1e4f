"""The report's two forms: the figures that were put in come out, failures are seen, nothing is loaded from outside."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import make_arena, make_row

from distillfss.bench.merging import merge
from distillfss.bench.published import PUBLISHED
from distillfss.bench.releases import RELEASES
from distillfss.bench.report import overall, tables
from distillfss.bench.report.content import Content, commands_of, content_of
from distillfss.bench.report.markdown import escape, markdown_report
from distillfss.bench.report.page import report_page
from distillfss.bench.report.plots import Drawing, round_ticks
from distillfss.bench.results import Gathered, ResultsFolder
from distillfss.bench.summary import Arena, summarise
from distillfss.bench.worker import encode_mask
from distillfss.cli import main
from distillfss.errors import DataError

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects text, pictures and links; fails on a tag that is closed in the wrong order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag == "img":
            self.sources.append(values["src"])
            self.alts.append(values["alt"])
        if tag == "svg":
            self.alts.append(values["aria-label"])
        self.links += [values[name] for name in ("href", "xlink:href") if name in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += " ".join(data.split()) + "\n"


ROWS = [
    *(make_row(method="good", seed=seed, iou=iou) for seed, iou in ((0, 0.5), (1, 0.4), (2, 0.7))),
    *(make_row(method="bad", seed=seed, iou=iou) for seed, iou in ((0, 0.3), (1, 0.2), (2, None))),
    *(make_row(method="broken", seed=seed, iou=None) for seed in range(3)),
    make_row(method="good", iou=0.65, support="picked"),
]


def folder_of(root: Path, rows: list[dict], data: str = "data") -> ResultsFolder:
    folder = ResultsFolder(root / "results")
    folder.make()
    for row in rows:
        folder.add(row, {}, "")
    command = "distillfss bench run --data DATA --datasets discs --out RESULTS"
    folder.add_run({"command": command, "data": data, "cells": [row["key"] for row in rows]})
    return folder


@pytest.fixture
def content(tmp_path: Path) -> Content:
    return content_of([folder_of(tmp_path, ROWS)])


def test_accuracy_by_hand(content: Content):
    table = content.arenas[0].datasets[0].accuracy
    assert table.header == ("method", "5 shots")
    assert table.rows == (
        ("good", "50.0 (40.0 to 70.0)"),
        ("bad", "25.0 (20.0 to 30.0), failed for 1 of 3 seeds"),
        ("broken", "failed"),
        ("trivial: every pixel disc", "10.0"),
    )
    assert table.best == {(0, 1)}
    assert "median (minimum to maximum) over seeds 0, 1, 2" in table.note
    assert content.arenas[0].datasets[0].own_size.rows[0] == ("good", "51.0 (41.0 to 71.0)")


def test_a_class_that_no_test_image_shows_is_told(tmp_path: Path):
    row = make_row(method="good")
    row["result"]["unseen"] = ["ring"]
    table = content_of([folder_of(tmp_path, [row, make_row(method="good", seed=1)])]).arenas[0].datasets[0].accuracy
    assert "No test image shows ring: 0 in the mean of whoever marks any of it" in table.note


def test_a_class_that_no_support_image_shows_is_told():
    def note_of(*unlearnt: list[str] | None) -> str:
        rows = [make_row(seed=seed) for seed in range(len(unlearnt))]
        for row, names in zip(rows, unlearnt, strict=True):
            if names is not None:
                row["result"]["unlearnt"] = names
        return tables.accuracy_table(summarise(rows).arenas[0], "discs").note

    plain = "Foreground IoU in per cent at 384×384: median (minimum to maximum) over seeds 0, 1, 2."
    assert note_of(None, None, []) == plain
    # a row of before this was kept says nothing of it
    assert note_of(None, ["ring"], ["ring"]) == (
        f"{plain} Test images show ring, no support image does: 0 in the mean of every method."
    )
    assert note_of(["cross"], ["ring", "cross"], ["cross"]) == (
        f"{plain} Test images show cross, no support image does: 0 in the mean of every method."
        " Test images show ring, not every support does: 0 in the mean where it does not."
    )


def test_fewer_images_without_annotation_than_asked_for_are_told(tmp_path: Path):
    def title_of(name: str, *rows: dict) -> str:
        folder = folder_of(tmp_path / name, [row | {"key": f"{name}{place}"} for place, row in enumerate(rows)])
        merged = ResultsFolder(tmp_path / name / "merged")
        merge([folder], merged)
        title, same = (content_of([each]).arenas[0].title for each in (folder, merged))
        assert title == same
        merge([merged], merged)
        assert content_of([merged]).arenas[0].title == title
        return title

    few, two = make_row(unlabeled=2, unlabeled_names=["u0"]), make_row(unlabeled=2, unlabeled_names=["u0", "u1"])
    start = "Protocol “locked”, random support, "
    assert title_of("enough", two, two | {"seed": 1}) == f"{start}2 images without annotation"
    assert title_of("few", two, few | {"seed": 1}) == f"{start}up to 2 images without annotation"
    old = {name: value for name, value in few.items() if name != "unlabeled_names"} | {
        "tested": {"images": 3, "digest": "0"}
    }
    assert title_of("old", old) == f"{start}2 images without annotation"


def test_seconds_that_were_measured_beside_other_work_are_told(tmp_path: Path):
    old, quiet = make_row(), make_row(seed=1, jobs=1, load=0.49)
    plain = tables.cost_table(summarise([old, quiet]).arenas[0]).note
    assert "other work" not in plain
    busy, both = make_row(seed=2, jobs=1, load=0.5), make_row(seed=3, jobs=2, load=1.26)
    unknown = make_row(seed=4, jobs=3, load=None)
    failed = make_row(seed=5, jobs=2, iou=None)
    arena = summarise([old, quiet, busy, failed]).arenas[0]
    told = " 1 of 3 cells were timed beside other work (other processes kept up to 0.5 cores busy): their seconds are"
    assert f"{told} too high." in tables.cost_table(arena).note
    arena = summarise([old, quiet, busy, both, unknown]).arenas[0]
    told = "3 of 5 cells were timed beside other work (up to 3 cells at a time, other processes kept up to 1.3 cores"
    assert told in tables.cost_table(arena).note
    for rows, title in (
        ([old, quiet], "IoU over seconds of fit"),
        ([old, unknown], "IoU over seconds of fit, some timed beside other work"),
    ):
        content = content_of([folder_of(tmp_path / str(len(title)), rows)], pictures=False)
        assert content.arenas[0].plots[1].title == title


def test_what_is_said_of_methods_is_said_of_ours(tmp_path: Path):
    ours = content_of([folder_of(tmp_path / "a", [make_row(method="distill")])]).methods_text
    own = content_of(
        [folder_of(tmp_path / "b", [make_row(method="distill"), make_row(method="mine:Dark")])]
    ).methods_text
    assert own == f"{ours} What becomes of them in mine:Dark, and how long it takes, is up to that code."
    assert "Those that come with distillfss" in ours


def test_ranks_costs_and_support_by_hand(content: Content):
    (ranks,) = content.arenas[0].overall
    assert ranks.rows == (("good", "1.00", "1.00"), ("bad", "2.00", "2.00"), ("broken", "3.00", "3.00"))
    assert content.arenas[0].cost.rows[0] == ("good", "20.0 (10.0 to 30.0)", "20 (20 to 20)", "500")
    assert content.arenas[0].cost.rows[2] == ("broken", "failed", "–", "–")
    (part,) = content.supports
    assert part.table.rows == (("discs", "5", "good", "50.0 (40.0 to 70.0)", "65.0", "+15.0"),)
    assert content.arenas[1].title == "Protocol “locked”, picked support"
    assert content.arenas[1].overall == ()


def arena_of_two_sets() -> Arena:
    """One and two at 5 shots for three methods; at 25 shots the second set lacks a method."""
    figures = {
        ("one", 5): {"distill": 0.60, "decoder": 0.55, "unet": 0.62},
        ("two", 5): {"distill": 0.40, "decoder": 0.41, "unet": None},
        ("one", 25): {"distill": 0.70, "decoder": 0.60, "unet": 0.50},
        ("two", 25): {"distill": 0.50, "decoder": 0.20},
    }
    rows = [
        make_row(dataset, method, shots, iou=iou)
        for (dataset, shots), methods in figures.items()
        for method, iou in methods.items()
    ]
    (arena,) = summarise(rows).arenas
    return arena


def test_means_over_data_sets_by_hand():
    table = overall.mean_table(arena_of_two_sets())
    assert table is not None
    assert table.header == ("method", "5 shots", "25 shots")
    assert set(table.rows) == {("distill", "50.0", "60.0"), ("decoder", "48.0", "40.0"), ("unet", "failed", "–")}
    assert [(table.rows[row][0], column) for row, column in sorted(table.best)] == [("distill", 1), ("distill", 2)]
    assert "(one, two). –: not run on all" in table.note
    (alone,) = summarise([make_row(), make_row(method="other")]).arenas
    assert overall.mean_table(alone) is None


def test_means_are_over_the_same_seeds_by_hand():
    rows = [make_row(dataset, "distill", seed=seed, iou=0.5) for dataset in ("one", "two") for seed in (0, 1)]
    rows += [make_row(dataset, "decoder", seed=seed, iou=0.4) for dataset in ("one", "two") for seed in (0, 1)]
    rows += [make_row(dataset, "unet", iou=0.9) for dataset in ("one", "two", "three")]
    table = overall.mean_table(summarise(rows).arenas[0])
    assert table is not None
    assert set(table.rows) == {("distill", "50.0"), ("decoder", "40.0"), ("unet", "–")}


def test_differences_to_our_method_by_hand():
    table = overall.difference_table(arena_of_two_sets())
    assert table is not None
    assert table.header == ("of", "5 shots", "25 shots")
    assert set(table.rows) == {
        ("decoder", "+2.0 (2; -1.0 on two)", "+20.0 (2; +10.0 on one)"),
        ("unet", "-2.0 (1; -2.0 on one)", "+20.0 (1; +20.0 on one)"),
    }


def test_methods_are_compared_on_the_seeds_that_both_have():
    ours = [make_row(method="distill", iou=0.6), make_row(method="distill", seed=1, iou=0.9)]
    uneven = overall.difference_table(summarise([*ours, make_row(method="decoder")]).arenas[0])
    assert uneven is not None
    assert uneven.rows == (("decoder", "+10.0 (1, seed 0; +10.0 on discs)"),)
    apart = [*ours, make_row(method="decoder", seed=2)]
    assert overall.difference_table(summarise(apart).arenas[0]) is None


def test_what_parts_add_by_hand(tmp_path: Path):
    rows = [
        make_row("one", "distill", seed=0, iou=0.60),
        make_row("one", "distill", seed=1, iou=0.99),
        make_row("two", "distill", seed=0, iou=0.50),
        make_row("one", "distill@jitter=0", seed=0, iou=0.57, seconds={"fit": 9.0}),
        make_row("two", "distill@jitter=0", seed=0, iou=0.52, seconds={"fit": 11.0}),
        make_row("two", "distill@jitter=0,crop=1", seed=0, iou=0.45, seconds={"fit": 15.0}),
        make_row("two", "distill@map_weight=0", seed=0, iou=None),
    ]
    content = content_of([folder_of(tmp_path, rows)], pictures=False)
    (arena,) = content.arenas
    (table,) = arena.ablations
    assert table.header == ("changed", "mean", "seconds", "one", "two")
    assert table.rows == (
        ("jitter=0", "-0.5", "+0 %", "-3.0", "+2.0"),
        ("jitter=0, crop=1", "-5.0", "+50 %", "–", "-5.0"),
        ("map_weight=0", "–", "–", "–", "–"),
    )
    assert "seeds 0." in table.note  # of seed 1 there is only the whole method
    # variants are no methods to be ranked
    assert content.methods == ("distill",)
    assert [row[0] for row in arena.cost.rows] == ["distill"]
    assert "### What the parts of distill add" in markdown_report(content)
    assert "What the parts of distill add" in report_page(content)
    # alone, they are what there is to compare
    (alone,) = summarise(rows[3:5]).arenas
    assert alone.labels == ["distill@jitter=0"]


def test_published_figures_stand_beside_the_papers_protocol_alone(tmp_path: Path):
    rows = [
        make_row("kvasir_seg", "distill", 50, protocol="paper", support="even", iou=0.6),
        make_row("discs", "distill", 50, protocol="paper", support="even", iou=0.6),
        make_row("kvasir_seg", "distill", 50, iou=0.6),
    ]
    content = content_of([folder_of(tmp_path, rows)])
    locked, paper = content.arenas
    assert [part.published for part in locked.datasets] == [None]
    of_discs, of_kvasir = (part.published for part in paper.datasets)
    assert of_discs is None
    assert of_kvasir is not None
    assert of_kvasir.header == ("method", "50 images")
    assert of_kvasir.rows == (
        ("BAM, ResNet-50", "23.0"),
        ("TransferFSS, Swin-B", "60.0"),
        ("DistillFSS, Swin-B", "57.1"),
    )
    assert "\n#### Kvasir-SEG, as published\n\nNot measured here" in markdown_report(content)
    assert "Kvasir-SEG, as published" in Page(report_page(content)).text
    assert {item.name for item in PUBLISHED} <= set(RELEASES)


def test_classes_are_told_apart():
    row = make_row(shots=50)
    row["result"]["classes"] = {"crop": {"iou_384": 0.8, "iou": 0.8}, "weed": {"iou_384": None, "iou": None}}
    table = tables.class_table(summarise([row, make_row(shots=1)]).arenas[0], "discs")
    assert table is not None
    assert (table.header, table.rows) == (("method", "crop", "weed"), (("bright", "80.0", "–"),))
    assert tables.class_table(summarise([make_row()]).arenas[0], "discs") is None


def test_seeds_that_are_not_all_there_are_told():
    rows = [make_row(method="a"), make_row(method="a", seed=1), make_row(method="b")]
    (arena,) = summarise(rows).arenas
    assert tables.seeds_text(arena.of()) == "median (minimum to maximum) over seeds 0, 1, as far as computed"
    assert tables.rank_table(arena) is None


def test_support_images_are_told_where_they_differ_from_shots():
    rows = [make_row(shots=5), make_row(shots=25, support_names=["a", "b"]), make_row("other")]
    table = tables.dataset_table(summarise(rows))
    assert [row[4] for row in table.rows] == ["2 for 25 shots", "as many as shots"]
    assert table.rows[0] == ("discs", "locked", "disc", "3", "2 for 25 shots", "f" * 12)


def test_test_images_that_could_not_be_read_are_told():
    row = make_row()
    row["result"]["skipped"] = [["t1", "images/t1.png: the picture is truncated"]]
    (line,) = tables.dataset_table(summarise([row, make_row(method="bad", iou=None)])).rows
    assert line[3] == "2 of 3, the others cannot be read"


def test_failures_and_published_figures_stand_apart(content: Content):
    assert content.failed is not None
    assert content.failed.rows[0] == ("discs", "bad", "5", "2", "the method is broken")
    assert len(content.failed.rows) == 4
    assert ("Kvasir-SEG", "DistillFSS, Swin-B", "37.3 (5), 57.1 (50)") in content.published.rows
    assert "arXiv 2512.05613" in content.published.note
    measured = {label for arena in content.arenas for part in arena.datasets for label, *_ in part.accuracy.rows}
    assert measured.isdisjoint(item.method for item in PUBLISHED)


def test_markdown_is_a_table_and_names_protocol_and_commands(content: Content):
    text = markdown_report(content)
    assert text.startswith("<!-- Generated by `distillfss bench report`, never edited by hand. -->\n")
    assert text.index("All methods have the same support images") < text.index("## Protocol")
    assert "\n| method | 5 shots |\n|---|---|\n| good | **50.0 (40.0 to 70.0)** |\n" in text
    assert "| broken | failed |" in text
    assert "The test set is locked: a fifth of the images" in text
    assert "\ndistillfss bench run --data DATA --datasets discs --out RESULTS\n" in text
    assert "- **commits**: abcdef0123" in text
    assert "- **machines**: x86\\_64, 2 cores, 1 thread per cell" in text
    assert set(re.findall(r"\]\(plots/(.*?)\.svg\)", text)) == {plot.name for plot in content.plots}
    assert escape("a|b*c_d<e[f\\") == "a\\|b\\*c\\_d\\<e\\[f\\\\"


def test_the_page_holds_everything_and_asks_for_nothing(content: Content):
    text = report_page(content)
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert "#failed" in page.links
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text).replace("https", "http").replace("http-equiv", "")
    assert "50.0 (40.0 to 70.0)" in page.text
    assert "4 of 10 cells failed" in page.text
    assert "The test set is locked" in page.text
    assert page.text.index("All methods have the same support images") < page.text.index("The test set is locked")
    assert "Mean ranks: good 1.00, bad 2.00, broken 3.00" in page.alts
    assert "#010203" not in text
    assert text.count("<svg") == len(content.plots) == 6
    # identifiers of several drawings on one page must not meet
    identifiers = re.findall(r'<clipPath id="(\w+)"', text)
    assert len(identifiers) == len(set(identifiers)) > 0


def test_a_drawing_follows_the_page_and_stands_on_white_in_a_file(content: Content):
    plot = content.plots[0]
    assert "currentColor" in plot.on_page()
    assert "var(--line)" in plot.on_page()
    assert "<style" not in plot.on_page()
    assert "#ffffff" in plot.on_white()
    assert "var(" not in plot.on_white()


def test_ticks_are_round_and_enough():
    assert round_ticks(3, 80) == [2, 5, 10, 20, 50, 100]
    assert round_ticks(2, 900) == [1, 10, 100, 1000]
    assert round_ticks(7, 7) == [5, 10]


def test_a_method_looks_the_same_in_every_plot():
    first, second = Drawing(1, ["a", "b"], ["a", "b"]), Drawing(1, ["b"], ["a", "b"])
    assert first.style("b") == second.style("b") != first.style("a")


def test_names_of_others_are_escaped(tmp_path: Path):
    rows = [make_row(method="<b>&'\""), make_row(method="other|one", iou=0.2)]
    content = content_of([folder_of(tmp_path, rows)])
    text = report_page(content)
    Page(text)
    assert "<b>&'" not in text
    assert "| other\\|one | 20.0 |" in markdown_report(content)


def test_pictures_of_the_median_and_the_worst_image(tmp_path: Path):
    make_arena(tmp_path)
    names = ["disc000", "disc001", "disc005"]
    row = make_row(iou=0.5, test_names=names)
    row["result"]["images"] = [
        {"image": n, "iou_384": i, "iou": i} for n, i in zip(names, (0.9, 0.1, 0.6), strict=True)
    ]
    folder = folder_of(tmp_path, [], str(tmp_path / "data"))
    masks = {name: encode_mask(np.ones((384, 384), np.uint8)) for name in names}
    folder.add(row | {"masks": 3}, masks, "")
    gallery = content_of([folder]).arenas[0].datasets[0].gallery
    assert gallery is not None
    assert [shelf.title for shelf in gallery.shelves] == ["Median image: disc005", "Worst image: disc001"]
    assert [caption for caption, _ in gallery.shelves[1].pictures] == ["image", "annotation", "bright: 10.0 %"]
    assert all((item.width, item.height) == (300, 225) for _, item in gallery.shelves[0].pictures)
    page = Page(report_page(content_of([folder])))
    assert len(page.sources) == 6
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "disc001: what bright marked" in page.alts

    hidden = content_of([folder], pictures=False)
    assert Page(report_page(hidden)).sources == []
    gone = content_of([folder], tmp_path / "elsewhere").arenas[0].datasets[0].gallery
    assert gone is not None
    assert gone.note.startswith("Pictures could not be made: there is no data set 'discs'")


def test_commands_are_those_of_the_rows_each_once():
    runs = [{"command": command, "cells": [key]} for command, key in (("a", "1"), ("b", "2"), ("a", "1"), ("c", "3"))]
    assert commands_of(runs, [{"key": "1"}, {"key": "3"}]) == ("a", "c")


def test_verb_writes_both_forms_again_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = folder_of(tmp_path, ROWS)
    out = tmp_path / "report"
    for _ in range(2):
        assert main(["bench", "report", str(folder.root), "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out.split("\n{")[0])
    assert (report["cells"], report["failed"]) == (10, 4)
    assert sorted(path.name for path in out.iterdir()) == ["plots", "report.html", "report.md"]
    assert len(list((out / "plots").glob("*.svg"))) == 6
    (out / "thesis.tex").touch()
    assert main(["bench", "report", str(folder.root), "--out", str(out)]) == 5
    assert "holds other files (thesis.tex). Choose another folder" in capsys.readouterr().err


def test_markdown_to_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """As ``docs/results.md``: plots beside it, from several folders, again and again, but not over other work."""
    monkeypatch.chdir(tmp_path)
    one = folder_of(tmp_path / "one", ROWS[:3])
    two = folder_of(tmp_path / "two", [*ROWS[3:], make_row(method="good", iou=0.9, when="2026-11-24T00:00:00+00:00")])
    words = ["bench", "report", str(one.root), str(two.root), "--markdown", "docs/results.md"]
    assert main(words) == 0
    text = Path("docs/results.md").read_text()
    assert "| good | **70.0 (40.0 to 90.0)** |" in text  # the newer seed 0, from the second folder
    assert "\ndistillfss bench report RESULTS1 RESULTS2 --markdown docs/results.md\n```" in text
    linked = set(re.findall(r"\]\((.*?\.svg)\)", text))
    assert linked
    assert {f"results-plots/{path.name}" for path in Path("docs/results-plots").iterdir()} == linked
    Path("docs/results-plots/old.svg").touch()
    assert main(words) == 0
    assert Path("docs/results.md").read_text() == text
    assert not Path("docs/results-plots/old.svg").exists()
    assert str(tmp_path) not in text
    Path("docs/results.md").write_text("# Written by hand\n")
    capsys.readouterr()
    assert main(words) == 5
    assert "was not written by this command. Choose another name or add --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert main(["bench", "report", str(one.root)]) == 2
    assert "Add --out FOLDER, --markdown FILE or both" in capsys.readouterr().err
    assert main(["bench", "report"]) == 2


def test_masks_are_taken_from_the_folder_of_the_newest_row(tmp_path: Path):
    one, two = folder_of(tmp_path / "one", []), folder_of(tmp_path / "two", [])
    one.add(make_row(when="2026-11-25T00:00:00+00:00"), {}, "")
    two.add(make_row(when="2026-11-24T00:00:00+00:00"), {}, "")
    two.add(make_row(seed=1, when="2026-11-24T00:00:00+00:00"), {}, "")
    gathered = Gathered([one, two])
    assert [row["seed"] for row in gathered.rows().values()] == [1, 0]
    keys = {row["seed"]: key for key, row in gathered.rows().items()}
    assert gathered.masks_folder(keys[0]).parent.parent == one.root
    assert gathered.masks_folder(keys[1]).parent.parent == two.root


def test_no_results_are_told(tmp_path: Path):
    with pytest.raises(DataError, match=r"holds no results. Make some with 'distillfss bench run'"):
        content_of([ResultsFolder(tmp_path)])
