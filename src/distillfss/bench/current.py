"""Which rows of results a report may put side by side: the newest, on the same test images, of the same method."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from distillfss.bench.results import Row

PLACE = ("dataset", "method", "protocol", "support", "unlabeled", "shots")


@dataclass(frozen=True)
class Current:
    """Rows to report, in the order in which they were written.

    Attributes
    ----------
    superseded
        How many rows were left out because the same seed was computed again since.
    outdated
        How many were left out because the data set's files or split, or the method itself, have changed since.
    """

    rows: tuple[Row, ...]
    superseded: int
    outdated: int


def current(rows: Iterable[Row]) -> Current:
    """Sort out what newer rows, which come later, have made obsolete.

    Figures on different test images cannot be compared, and the median over seeds must not mix two forms of a method.
    """
    everything = list(rows)
    newest: dict[Hashable, Row] = {}
    for row in everything:
        slot = (_place(row), row["seed"])
        newest.pop(slot, None)
        newest[slot] = row
    kept = list(newest.values())
    same_data = _agreeing(kept, lambda row: (row["dataset"], row["protocol"]), _tested)
    same = _agreeing(same_data, _place, lambda row: _text(_without_seed(row["identity"])))
    return Current(tuple(same), len(everything) - len(kept), len(kept) - len(same))


def settings_of(row: Row) -> dict[str, Any]:
    """``MethodSettings`` of a row without its seed."""
    return {key: value for key, value in row["settings"].items() if key != "seed"}


def test_set(row: Row) -> tuple[int, str]:
    """How many test images a row is about, and 16 hex digits that stand for their names."""
    if "tested" in row:  # a row without the names, see ``merging``
        return row["tested"]["images"], row["tested"]["digest"]
    names = row["test_names"]
    return len(names), hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def unlabeled_given(row: Row) -> int | None:
    """How many images without annotation the method had; None of a row that was merged before this was kept."""
    if "unlabeled_names" in row:
        return len(row["unlabeled_names"])
    number: int | None = row.get("unlabeled_given")
    return number


def _agreeing(rows: list[Row], group: Callable[[Row], Hashable], trait: Callable[[Row], Hashable]) -> list[Row]:
    """The rows that share a trait with the last of their group."""
    last = {group(row): trait(row) for row in rows}
    return [row for row in rows if trait(row) == last[group(row)]]


def _place(row: Row) -> Hashable:
    return (*(row[key] for key in PLACE), _text(settings_of(row)))


def _tested(row: Row) -> Hashable:
    return row["fingerprint"], test_set(row)


def _without_seed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_seed(each) for key, each in value.items() if key != "seed"}
    return value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
