"""The folder of results and the runner, without processes: nothing twice, nothing lost, failures kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
from bench_helpers import make_row, rows_of

from distillfss.bench.cells import Cell
from distillfss.bench.merging import shortened
from distillfss.bench.process import Outcome, Task
from distillfss.bench.results import ResultsFolder, append_line, read_lines
from distillfss.bench.row_faults import fault_of
from distillfss.bench.runner import run
from distillfss.errors import FitInterrupted, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    made = ResultsFolder(tmp_path / "results")
    made.make()
    return made


def cell(number: int) -> Cell:
    row = make_row(seed=number)
    return Cell.from_dict({name: row[name] for name in Cell.__dataclass_fields__})


class Here:
    """Computes in this process: ``answer`` makes the outcome."""

    def __init__(self, answer: Callable[[Task], Outcome]) -> None:
        self.answer = answer
        self.computed: list[str] = []

    def run(self, tasks: Sequence[Task]) -> Generator[tuple[Task, Outcome], None, None]:
        for task in tasks:
            self.computed.append(task.key)
            yield task, self.answer(task)


def done(task: Task) -> Outcome:
    whole = make_row()
    found = {name: whole[name] for name in ("result", "seconds", "machine", "threads", "peak_mb")}
    return Outcome({"status": "done", **found}, {"t0": b"png"})


def failed(task: Task) -> Outcome:
    return Outcome({"status": "failed", "error": {"kind": "ValueError", "message": "no"}}, {}, "a long story")


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    append_line(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"b": 2, "half')
    assert list(read_lines(path)) == [{"a": 1}]
    append_line(path, {"c": "ü"})
    append_line(path, {"d": 4})
    assert list(read_lines(path)) == [{"a": 1}, {"c": "ü"}, {"d": 4}]
    assert path.read_text().count("\n") == 4
    # cut off exactly between the row and its line break: the row counts
    path.write_text('{"a": 1}')
    append_line(path, {"b": 2})
    assert list(read_lines(path)) == [{"a": 1}, {"b": 2}]


def test_a_row_is_a_row_whether_new_merged_old_or_failed():
    assert fault_of(make_row()) == ""
    assert fault_of(shortened(make_row(masks=3))) == ""
    assert fault_of(make_row(iou=None)) == ""
    published = Path(__file__).parents[2] / "docs" / "results" / "results.jsonl"
    assert {fault_of(row) for row in read_lines(published)} == {""}


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("seed", None, "seed is not a whole number"),
        ("seed", True, "seed is not a whole number"),
        ("shots", "one", "shots is not a whole number from 1 on"),
        ("shots", 0, "shots is not a whole number from 1 on"),
        ("test_names", ..., "test_names is missing"),
        ("test_names", ["t0", 3], "test_names is not a list of texts"),
        ("tested", {"images": 3}, "tested is not a table of images and digest"),
        ("settings", [], "settings is not a table"),
        ("when", ..., "when is missing"),
        ("result", ..., "result is missing"),
        ("result", {}, "result: foreground_iou_384 is missing"),
        ("result.foreground_iou_384", math.nan, "result: foreground_iou_384 is not a number or null"),
        ("result.classes", {"disc": 0.5}, "result: classes is not a table of classes"),
        ("result.baseline", {}, "result: baseline: prediction is missing"),
        ("result.unseen", "ring", "result: unseen is not a list of texts"),
        ("seconds", {"fit": "long"}, "seconds is not a table of numbers"),
        ("status", "half", "status is not done or failed"),
        ("status", "failed", "error is missing"),
    ],
)
def test_what_is_wrong_with_a_row_is_told(place: str, value: object, fault: str):
    row = make_row()
    *outer, name = place.split(".")
    target = row[outer[0]] if outer else row
    if value is ...:
        del target[name]
    else:
        target[name] = value
    assert fault_of(row) == fault


def test_pictures_need_the_scores_of_images():
    row = make_row(masks=3)
    del row["result"]["images"]
    assert fault_of(row) == "result: images is missing"


def test_lines_that_are_no_rows_are_passed_over_and_told(folder: ResultsFolder):
    lines = [json.dumps(make_row(seed=seed)) for seed in range(4)]
    lines[1] = lines[1][:300]
    lines[2] = json.dumps(make_row(seed=2) | {"shots": "one"})
    folder.rows_file.write_text("\n".join(lines) + "\n" + json.dumps(make_row(seed=4))[:300])
    assert [row["seed"] for row in folder.rows().values()] == [0, 3]
    assert folder.passed_over() == (
        f"{folder.rows_file}: 2 lines are passed over (the first, line 2: it is cut off); 'distillfss bench run' "
        "computes such cells again"
    )
    # one by one the cells are computed again
    folder.add(make_row(seed=1), {}, "")
    # the last line was cut off by a kill; now it is in the middle, and its cell is still lacking
    assert folder.passed_over().startswith(f"{folder.rows_file}: 2 lines are passed over (the first, line 3: shots is")
    folder.add(make_row(seed=2), {}, "")
    assert ": 1 line is passed over (line 5: it is cut off);" in folder.passed_over()
    folder.add(make_row(seed=4), {}, "")
    assert folder.passed_over() == ""
    # an older row stays where the newer one is bad, which is told
    folder.add(make_row(seed=0, iou=0.9) | {"when": None}, {}, "")
    assert folder.rows()[make_row(seed=0)["key"]]["result"]["foreground_iou"] == 0.51
    assert "line 9: when is not a text" in folder.passed_over()


def test_a_folder_with_nothing_but_a_cut_off_line_says_nothing(folder: ResultsFolder):
    assert folder.passed_over() == ""
    folder.rows_file.write_text('{"key": "half')
    assert (folder.rows(), folder.passed_over()) == ({}, "")


def test_runs_without_a_command_or_cells_are_passed_over(folder: ResultsFolder):
    good = {"command": "the command", "cells": ["a"]}
    for line in (
        good,
        {"cells": ["a"]},
        {"command": "c"},
        {"command": "c", "cells": None},
        {"command": "c", "cells": [[]]},
    ):
        append_line(folder.runs_file, line)
    assert folder.runs() == [good]


def test_the_last_row_of_a_cell_counts(folder: ResultsFolder):
    folder.add(make_row(seed=0, iou=None), {}, "what it printed")
    folder.add(make_row(seed=1), {}, "")
    folder.add(make_row(seed=0, iou=0.7), {"t0": b"one", "t1": b"two"}, "")
    rows = folder.rows()
    assert [row["seed"] for row in rows.values()] == [1, 0]
    assert rows[make_row(seed=0)["key"]]["status"] == "done"
    assert folder.log_file(make_row(seed=0)["key"]).read_text() == "what it printed"
    masks = folder.masks_folder(make_row(seed=0)["key"])
    assert {path.name: path.read_bytes() for path in masks.iterdir()} == {"t0.png": b"one", "t1.png": b"two"}


def test_two_runs_may_not_write_to_one_folder(folder: ResultsFolder):
    left = folder.root / "masks" / ".abc-left-by-a-killed-run"
    left.mkdir(parents=True)
    with folder.locked():
        assert not left.exists()
        with pytest.raises(UsageError, match="another run is writing"), folder.locked():
            pass
    with folder.locked():
        pass


def test_what_is_there_is_not_computed_again(folder: ResultsFolder, tmp_path: Path):
    cells = [cell(number) for number in range(4)]
    first = Here(done)
    summary = run(cells[:3], folder, first, tmp_path)
    assert (summary.asked, summary.cached, summary.computed, summary.failed) == (3, 0, 3, ())
    second = Here(done)
    summary = run(cells, folder, second, tmp_path)
    assert (summary.asked, summary.cached, summary.computed) == (4, 3, 1)
    assert (first.computed, second.computed) == ([c.key for c in cells[:3]], [cells[3].key])
    again = Here(done)
    run(cells, folder, again, tmp_path, fresh=True)
    assert again.computed == [c.key for c in cells]
    assert len(rows_of(folder.root)) == 8
    assert len(folder.rows()) == 4


def test_a_failure_is_kept_the_rest_goes_on_and_only_retry_tries_again(folder: ResultsFolder, tmp_path: Path):
    cells = [cell(number) for number in range(3)]
    ticks: list[tuple[int, int]] = []
    told: list[str] = []
    summary = run(
        cells,
        folder,
        Here(lambda task: failed(task) if task.key == cells[1].key else done(task)),
        tmp_path,
        progress=lambda *now: ticks.append(now),
        note=lambda row: told.append(row["status"]),
    )
    assert ticks == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told == ["done", "failed", "done"]
    assert [row["key"] for row in summary.failed] == [cells[1].key]
    assert folder.rows()[cells[1].key]["error"]["message"] == "no"
    assert folder.log_file(cells[1].key).read_text() == "a long story"

    other = Here(done)
    summary = run(cells, folder, other, tmp_path)
    assert (other.computed, len(summary.failed)) == ([], 1)
    summary = run(cells, folder, other, tmp_path, retry=True)
    assert (other.computed, summary.failed) == ([cells[1].key], ())


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(folder: ResultsFolder, tmp_path: Path):
    cells = [cell(number) for number in range(3)]

    def interrupted(task: Task) -> Outcome:
        if task.key == cells[1].key:
            raise KeyboardInterrupt
        return done(task)

    with pytest.raises(FitInterrupted, match=r"1 of 3 cells done. Run the same command again to go on"):
        run(cells, folder, Here(interrupted), tmp_path)
    rest = Here(done)
    run(cells, folder, rest, tmp_path)
    assert rest.computed == [cells[1].key, cells[2].key]


def test_a_row_holds_the_cell_and_what_came_of_it(folder: ResultsFolder, tmp_path: Path):
    run([cell(0)], folder, Here(done), tmp_path)
    (row,) = rows_of(folder.root)
    assert row["key"] == cell(0).key
    assert {name: row[name] for name in cell(0).to_dict()} == json.loads(json.dumps(cell(0).to_dict()))
    assert (row["status"], row["masks"]) == ("done", 1)
    assert row["when"].endswith("+00:00")
