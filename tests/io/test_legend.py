"""Class names and the meaning of 255."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distillfss.errors import DataError
from distillfss.io.legend import Legend, foreground_names, is_binary, made_names, read_legend, unnamed_value


def write(folder: Path, meta: object) -> Path:
    (folder / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(meta), encoding="utf-8")
    return folder


def test_names_without_background(tmp_path: Path) -> None:
    meta = {"classes": ["background", "crop", "weed"], "ignore_index": None, "licence": "any other key"}
    assert read_legend(write(tmp_path, meta)) == Legend(("crop", "weed"), False)
    assert read_legend(write(tmp_path, {"classes": ["Background", "Äpfel"], "ignore_index": 255})) == Legend(
        ("Äpfel",), True
    )
    assert read_legend(write(tmp_path, {"n": 5})) == Legend(None, False)
    (tmp_path / "meta.json").write_bytes(
        b"\xef\xbb\xbf" + b'{"classes": ["background", "a"]}'
    )  # as Windows' Notepad saves
    assert read_legend(tmp_path) == Legend(("a",), False)


def test_no_meta(tmp_path: Path) -> None:
    assert read_legend(tmp_path) == Legend(None, False)


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "no JSON object"),
        ({"classes": "polyp"}, "no list of names"),
        ({"classes": ["background", 3]}, "no list of names"),
        ({"classes": []}, "do not begin with background"),
        ({"classes": ["polyp", "weed"]}, "do not begin with background"),
        ({"classes": ["background"]}, "no class besides the background"),
        ({"classes": ["background", "a", "a"]}, "stands there twice"),
        ({"classes": ["background", "O\u0308l", "\u00d6l"]}, "stands there twice"),
        ({"classes": ["background", "a", "background"]}, "another place"),
        ({"classes": ["background", ""]}, "cannot be shown"),
        ({"classes": ["background", "a"], "ignore_index": 0}, "ignore_index 0"),
        ({"classes": ["background", "a"], "ignore_index": True}, "ignore_index True"),
    ],
)
def test_bad_meta_names_the_file(tmp_path: Path, meta: object, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        read_legend(write(tmp_path, meta))
    assert caught.value.path == tmp_path / "meta.json"
    assert problem in caught.value.problem
    assert caught.value.cure


def test_meta_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not valid JSON"):
        read_legend(tmp_path)
    (tmp_path / "meta.json").unlink()
    (tmp_path / "meta.json").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_legend(tmp_path)


def test_names_from_the_user() -> None:
    assert foreground_names(["background", "polyp"]) == ("polyp",)
    assert foreground_names([" crop ", "weed"]) == ("crop", "weed")
    assert foreground_names(["O\u0308lfleck"]) == ("\u00d6lfleck",)
    with pytest.raises(DataError, match="Pass a list"):
        foreground_names("polyp")


def test_made_names() -> None:
    assert made_names([0, 2, 255]) == ("class_1", "class_2")
    assert made_names([0, 255]) == ()


@pytest.mark.parametrize(
    ("values", "legend", "binary"),
    [
        ([[0, 255], [0]], Legend(), True),
        ([[0, 255], [255]], Legend(("polyp",)), True),
        ([[0, 255], [0, 1]], Legend(), False),
        ([[0, 255], [0, 1, 255]], Legend(("polyp",)), False),
        ([[0, 255]], Legend(("polyp",), ignore_declared=True), False),
        ([[0, 255]], Legend(None, ignore_declared=True), False),
        ([[0, 255]], Legend(("crop", "weed")), False),
        ([[0], [0]], Legend(), False),
        ([], Legend(), False),
    ],
)
def test_when_255_is_the_class(values: list[list[int]], legend: Legend, binary: bool) -> None:
    assert is_binary(values, legend) is binary


def test_one_stray_mask_does_not_turn_the_others_into_ignore() -> None:
    """Ten black-and-white masks and one with another value: neither reading is safe, so the user is asked."""
    values, places = [[0, 255], [0, 255], [0, 1]], [Path("masks/a.png"), Path("masks/b.png"), Path("masks/c.png")]
    with pytest.raises(DataError, match=r"masks/a\.png: it holds 255 and no class, while masks/c\.png.*ignore_index"):
        is_binary(values, Legend(), places)
    assert is_binary([[0, 255], [0, 255], [0, 7, 255]], Legend(("polyp",)))  # 7 has no name and no say
    assert not is_binary(values, Legend(None, ignore_declared=True), places)


def test_values_without_a_name() -> None:
    path = Path("masks/a.png")
    assert unnamed_value([0, 1, 2, 255], ["crop", "weed"], path) is None
    fault = unnamed_value([0, 1, 3], ["crop", "weed"], path)
    assert str(fault) == (
        "masks/a.png: mask value 3 without a class name. 2 classes are named (crop, weed): correct the mask, "
        "or name the class in meta.json or classes"
    )
    many = unnamed_value(range(0, 200, 3), ["crop"], path)
    assert many is not None
    assert "mask values 3, 6, 9, 12, 15, ..." in many.problem
    assert "without resampling" in many.cure
    made = unnamed_value([0, 128], ["class_1"], path, made=True)
    assert made is not None
    assert "Number the classes 1, 2, ... (at most 20)" in made.cure
