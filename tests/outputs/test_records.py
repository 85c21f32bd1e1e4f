"""Records of images that are done, kept over runs and shared between processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillfss.errors import UsageError
from distillfss.outputs import records as module
from distillfss.outputs.records import FOLDER, Records
from distillfss.places import Folder


def opened(folder: Path, names: tuple[str, ...] = ("crack",), forget: bool = False) -> Records:
    made = Records(Folder(folder), names)
    made.load(forget=forget)
    return made


def test_what_is_flushed_is_there_in_the_next_run(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.add("a.jpg", {"areas": [1, 2]})
    first.add("b.jpg", {})
    assert not opened(tmp_path).any
    first.flush()
    second = opened(tmp_path)
    assert (second.has("a.jpg", "areas"), second.has("a.jpg", "coco"), second.has("b.jpg", "areas")) == (
        True,
        False,
        False,
    )
    second.add("a.jpg", {"coco": {"x": "é"}})
    second.flush()
    third = opened(tmp_path)
    assert (third.of("areas"), third.of("coco")) == ({"a.jpg": [1, 2]}, {"a.jpg": {"x": "é"}})


def test_the_newest_counts_and_many_become_one(tmp_path: Path) -> None:
    for value in range(3):
        run = opened(tmp_path)
        run.add("a.jpg", {"areas": value})
        run.add(f"{value}.jpg", {"areas": value})
        run.flush()
    last = opened(tmp_path)
    assert len(list((tmp_path / FOLDER).iterdir())) == 3
    last.compact()
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
    assert opened(tmp_path).of("areas") == {"a.jpg": 2, "0.jpg": 0, "1.jpg": 1, "2.jpg": 2}


def test_two_processes_at_a_time(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    one.add("a.jpg", {"areas": 1})
    other.add("b.jpg", {"areas": 2})
    one.flush()
    other.flush()
    assert opened(tmp_path).of("areas") == {"a.jpg": 1, "b.jpg": 2}


def test_many_are_written_without_being_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 2)
    run = opened(tmp_path)
    for name in "abc":
        run.add(name, {"areas": 1})
    assert set(opened(tmp_path).of("areas")) == {"a", "b"}


def test_another_models_records_are_refused_or_dropped(tmp_path: Path) -> None:
    run = opened(tmp_path)
    run.add("a.jpg", {"areas": 1})
    run.flush()
    with pytest.raises(UsageError, match=r"a model with other classes \(crack\)"):
        opened(tmp_path, ("hole", "crack"))
    other = opened(tmp_path, ("hole", "crack"), forget=True)
    assert not other.any
    other.add("a.jpg", {"areas": 2})
    other.compact()
    assert opened(tmp_path, ("hole", "crack")).of("areas") == {"a.jpg": 2}
