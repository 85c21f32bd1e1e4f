"""What is wrong with a row of results: a file that was edited, or written by another version, must not end a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Holds = Callable[[Any], bool]
MOST = 1e300
"""Above every number that is measured; also says no to infinite ones and to those that are none."""


def fault_of(row: Mapping[str, Any]) -> str:
    """The first thing wrong with a row that a run wrote, or merged: ``seed is not a whole number``. Empty if none is.

    Only what a run or a report reads is looked at, so rows of older versions pass.
    """
    if fault := _first(row, CELL):
        return fault
    given = "tested" if "tested" in row else "test_names"  # a row without the names, see ``merging``
    if fault := _first(row, {given: TESTED[given]}):
        return fault
    if row["status"] == "failed":
        return _first(row, {"error": ERROR})
    if fault := _first(row, DONE):
        return fault
    if fault := _first(row["result"], RESULT):
        return f"result: {fault}"
    if row.get("masks") and "images" not in row["result"]:
        return "result: images is missing"
    fault = _first(row["result"]["baseline"], BASELINE)
    return f"result: baseline: {fault}" if fault else ""


def _first(row: Mapping[str, Any], wanted: Mapping[str, tuple[str, Holds]]) -> str:
    for name, (what, holds) in wanted.items():
        bare = name.removesuffix("?")
        if bare not in row:
            if bare == name:
                return f"{name} is missing"
        elif not holds(row[bare]):
            return f"{bare} is not {what}"
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST


def _is_score(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_tested(value: Any) -> bool:
    return _is_table(value) and _is_whole(value.get("images")) and _is_text(value.get("digest"))


def _is_error(value: Any) -> bool:
    return _is_table(value) and _is_text(value.get("message"))


def _are_texts_by_name(value: Any) -> bool:
    return _is_table(value) and all(map(_is_text, value.values()))


def _are_numbers_by_name(value: Any) -> bool:
    return _is_table(value) and all(map(_is_score, value.values()))


def _are_classes(value: Any) -> bool:
    return _is_table(value) and all(map(_are_numbers_by_name, value.values()))


def _are_images(value: Any) -> bool:
    return isinstance(value, list) and all(
        _is_table(each) and _is_text(each.get("image")) and "iou_384" in each and _is_score(each["iou_384"])
        for each in value
    )


TEXT = ("a text", _is_text)
TEXTS = ("a list of texts", _is_texts)
TABLE = ("a table", _is_table)
WHOLE = ("a whole number", _is_whole)
NUMBER = ("a number", _is_number)
SCORE = ("a number or null", _is_score)
BY_NAME = ("a table of numbers", _are_numbers_by_name)
VERSIONS = ("a table of texts", _are_texts_by_name)
ERROR = ("a table with a message", _is_error)

# a name that ends in "?" may be missing
CELL: dict[str, tuple[str, Holds]] = {
    "key": TEXT,
    "status": ("done or failed", lambda value: value in ("done", "failed")),
    "dataset": TEXT,
    "fingerprint": TEXT,
    "method": TEXT,
    "settings": TABLE,
    "identity": TABLE,
    "protocol": TEXT,
    "support": TEXT,
    "shots": ("a whole number from 1 on", lambda value: _is_whole(value, 1)),
    "seed": WHOLE,
    "unlabeled": WHOLE,
    "support_names": TEXTS,
    "unlabeled_names?": TEXTS,
    "unlabeled_given?": WHOLE,
    "versions": VERSIONS,
    "versions_all?": VERSIONS,
    "masks?": WHOLE,
    "when": TEXT,
}
TESTED = {"test_names": TEXTS, "tested": ("a table of images and digest", _is_tested)}
DONE: dict[str, tuple[str, Holds]] = {
    "result": TABLE,
    "seconds": BY_NAME,
    "peak_mb": NUMBER,
    "machine": TEXT,
    "threads": WHOLE,
    "jobs?": WHOLE,
    "load?": SCORE,
}
RESULT: dict[str, tuple[str, Holds]] = {
    "foreground_iou_384": SCORE,
    "foreground_iou": SCORE,
    "baseline": TABLE,
    "classes": ("a table of classes", _are_classes),
    "skipped?": ("a list", lambda value: isinstance(value, list)),
    "unseen?": TEXTS,
    "unlearnt?": TEXTS,
    "images?": ("a list of images with scores", _are_images),
}
BASELINE = {"prediction": TEXT, "foreground_iou_384": SCORE, "foreground_iou": SCORE}
