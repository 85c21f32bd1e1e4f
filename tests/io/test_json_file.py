"""JSON of strangers: bounded, strict, refused by name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from distillfss.errors import DataError
from distillfss.io.json_file import read_json
from distillfss.io.legend import read_legend


def test_ordinary_json_with_and_without_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for start in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(start + '{"a": [1, 2.5, "é", null]}'.encode())
        assert read_json(path) == {"a": [1, 2.5, "é", None]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not valid JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' stands there twice"),
        (b"[NaN]", "NaN is not a number"),
        (b"[-Infinity]", "-Infinity is not a number"),
        (b"9" * 10_000, "is not valid JSON"),
        (b'"\xff\xfe"', "is not valid JSON"),
        (b"{} {}", "is not valid JSON"),
        (b"PK\x03\x04", "is not valid JSON"),
    ],
)
def test_no_json(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_json(path)
    assert problem in caught.value.problem
    assert caught.value.path == path
    assert len(str(caught.value)) < 500


def test_size_pipes_folders_and_circles(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + " " * 100 + "]")
    with pytest.raises(DataError, match="the limit for this JSON"):
        read_json(path, 50)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for bad in (tmp_path / "pipe", tmp_path, tmp_path / "circle", Path("/dev/zero")):
        with pytest.raises(DataError) as caught:
            read_json(bad)
        assert caught.value.path == bad
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing")


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\u202eb", "x" * 101, "", " "])
def test_class_names_that_cannot_be_shown(tmp_path: Path, name: str) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"classes": ["background", name]}))
    with pytest.raises(DataError, match="class name") as caught:
        read_legend(tmp_path)
    assert str(caught.value).isprintable()
