"""Merged results: the same report, nothing computed again, nothing of this machine, nothing lost by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_helpers import calls, make_arena, make_row, rows_of

from distillfss.bench.report.content import content_of
from distillfss.bench.report.markdown import markdown_report
from distillfss.bench.results import ResultsFolder, append_line
from distillfss.cli import main
from distillfss.errors import DataError, OutputError, UsageError


def folder_of(path: Path, *rows: dict[str, object]) -> Path:
    path.mkdir()
    for row in rows:
        append_line(path / "results.jsonl", row)
    run = {"when": "2026-01-01", "command": "the command", "data": str(path), "cells": [row["key"] for row in rows]}
    append_line(path / "runs.jsonl", run)
    return path


def text_of(*folders: Path) -> str:
    return markdown_report(content_of([ResultsFolder(f) for f in folders], pictures=False), "plots", "command")


def test_a_report_of_the_merged_folder_is_the_report_of_its_parts(tmp_path: Path):
    one = folder_of(
        tmp_path / "one", make_row(seed=0, iou=0.5), make_row(seed=1, iou=0.75), make_row(shots=1, iou=None)
    )
    two = folder_of(
        tmp_path / "two", make_row(method="dark", seed=0, iou=0.25), make_row(method="dark", seed=1, iou=0.5)
    )
    assert main(["bench", "merge", str(one), str(two), "--out", str(tmp_path / "both")]) == 0
    assert text_of(tmp_path / "both") == text_of(one, two)
    assert "62.5 (50.0 to 75.0)" in text_of(tmp_path / "both")


def test_what_is_said_of_single_images_and_of_the_machine_stays_behind(tmp_path: Path):
    row = make_row() | {"masks": 3}
    row["result"]["images"] = [{"image": "secret_name", "iou": 0.5, "iou_384": 0.5}]
    row["test_names"] = ["secret_name", "t1"]
    one = folder_of(tmp_path / "one", row)
    main(["bench", "merge", str(one), "--out", str(tmp_path / "small")])
    (short,) = rows_of(tmp_path / "small")
    assert short["tested"]["images"] == 2
    assert short["masks"] == 0
    written = "".join(path.read_text() for path in (tmp_path / "small").glob("*.jsonl"))
    assert "secret_name" not in written
    assert str(tmp_path) not in written
    assert main(["bench", "report", str(tmp_path / "small"), "--out", str(tmp_path / "report")]) == 0
    assert "&#39;bench merge&#39; leaves them out" in (tmp_path / "report" / "report.html").read_text()
    assert json.loads((tmp_path / "small" / "runs.jsonl").read_text())["command"] == "the command"


def test_rows_on_other_test_images_are_told_apart_by_their_digest(tmp_path: Path):
    """An older row on another split must not be averaged with new ones, whether or not it still has its names."""
    old = folder_of(tmp_path / "old", make_row(seed=0, iou=0.1) | {"key": "old", "test_names": ["t0", "t9", "t2"]})
    new = folder_of(tmp_path / "new", make_row(seed=1, iou=0.5))
    main(["bench", "merge", str(old), "--out", str(tmp_path / "small")])
    kept = content_of([ResultsFolder(tmp_path / "small"), ResultsFolder(new)], pictures=False)
    assert kept.cells == 1
    main(["bench", "merge", str(tmp_path / "small"), str(new), "--out", str(tmp_path / "small")])
    assert [row["result"]["foreground_iou_384"] for row in rows_of(tmp_path / "small")] == [0.5]


def test_a_run_goes_on_from_a_merged_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_arena(tmp_path)
    monkeypatch.chdir(tmp_path)
    common = ["bench", "run", "--data", "data", "--datasets", "discs", "--methods", "mine:Bright", "--shots", "1"]
    assert main([*common, "--seeds", "0", "1", "--out", "first"]) == 0
    assert main(["bench", "merge", "first", "--out", "kept"]) == 0
    assert main([*common, "--seeds", "0", "1", "2", "--out", "kept"]) == 0
    assert [row["seed"] for row in rows_of(tmp_path / "kept")] == [0, 1, 2]
    assert len(calls(tmp_path)) == 3


def test_details_are_not_lost_by_accident(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    one, two = folder_of(tmp_path / "one", make_row()), folder_of(tmp_path / "two", make_row(seed=1))
    for arguments, code, problem in (
        (["one", "two", "--out", "two"], OutputError.exit_code, "all their details"),
        (["one", "--out", "two"], OutputError.exit_code, "other results"),
        (["--out", "three"], UsageError.exit_code, "no results are named"),
        (["three", "--out", "four"], DataError.exit_code, "holds no results"),
    ):
        words = [str(tmp_path / word) if word in ("one", "two", "three", "four") else word for word in arguments]
        assert main(["bench", "merge", *words]) == code
        assert problem in capsys.readouterr().err
    assert len(rows_of(two)) == 1
    assert "test_names" in rows_of(two)[0]
    assert main(["bench", "merge", str(one), str(two), "--out", str(two), "--overwrite"]) == 0
    assert len(rows_of(two)) == 2


def test_what_is_left_out_is_told_where_it_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Two data sets of one name are one that has changed: only the newer rows can be compared."""
    old = folder_of(tmp_path / "old", make_row(seed=0, when="2026-01-01"), make_row(seed=1, when="2026-01-01"))
    new = folder_of(tmp_path / "new", make_row(method="dark", fingerprint="e" * 64, when="2026-01-02"))
    told = "left out   2 older results, because the data set's files or split, or the method, have changed since"
    assert main(["bench", "report", str(old), str(new), "--out", str(tmp_path / "report")]) == 0
    assert told in capsys.readouterr().out.splitlines()
    assert main(["bench", "merge", str(old), str(new), "--out", str(tmp_path / "both")]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["cells      1", told]


def test_lines_that_are_no_rows_end_neither_report_nor_merge_nor_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    make_arena(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = ["bench", "run", "--data", "data", "--datasets", "discs", "--methods", "mine:Bright", "--shots", "1"]
    run += ["--seeds", "0", "1", "2", "3", "--out", "out"]
    assert main(run) == 0
    rows = rows_of(tmp_path / "out")
    lines = [json.dumps(row) for row in rows]
    lines[0] = json.dumps(rows[0] | {"seed": None})
    lines[1] = json.dumps({name: value for name, value in rows[1].items() if name != "result"})
    lines[2] = lines[2][:100]
    Path("out/results.jsonl").write_text("\n".join(lines) + "\n")
    told = "out/results.jsonl: 3 lines are passed over (the first, line 1: seed is not a whole number); 'distillfss"
    capsys.readouterr()
    assert main(["bench", "report", "out", "--out", "report", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.count(told) == said.err.count("passed over") == 1
    assert json.loads(said.out)["cells"] == 1
    assert main(["bench", "merge", "out", "--out", "merged"]) == 0
    assert capsys.readouterr().err.count(told) == 1
    assert len(rows_of(tmp_path / "merged")) == 1
    assert main([*run, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.count(told) == 1
    assert (json.loads(said.out)["computed"], json.loads(said.out)["cached"]) == (3, 1)
    assert main(["bench", "report", "out", "--out", "report", "--json"]) == 0
    said = capsys.readouterr()
    assert "passed over" not in said.err
    assert json.loads(said.out)["cells"] == 4
