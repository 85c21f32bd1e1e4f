"""Results of several folders as one, of rows alone: small enough to be published with a report, enough to go on from.

The masks, the figures of single images and the names of test images stay behind, which are nearly all of the bytes. A
run into such a folder computes nothing again, and a report of it says the same as one of the folders it was made of,
but for pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from distillfss.bench.current import Current, current, test_set, unlabeled_given
from distillfss.bench.results import Gathered, ResultsFolder, Row
from distillfss.errors import DataError
from distillfss.io.files import atomic_write


def merge(folders: Sequence[ResultsFolder], out: ResultsFolder) -> Current:
    """Write what a report of ``folders`` would show to ``out``, in place of what is there; returns what that is.

    Raises
    ------
    DataError
        If there are no results.
    OutputError
        If ``out`` cannot be written.
    """
    for folder in folders:
        if not folder.rows():
            raise DataError("holds no results", cure="Make some with 'distillfss bench run'", path=folder.rows_file)
    gathered = Gathered(folders)
    kept = current(gathered.rows().values())
    keys = {row["key"] for row in kept.rows}
    runs = [_without_place(run) for run in gathered.runs() if keys & set(run.get("cells", ()))]
    out.make()
    with out.locked():
        _write_lines(out.runs_file, runs)
        _write_lines(out.rows_file, [shortened(row) for row in kept.rows])
    return kept


def is_merged(folder: ResultsFolder) -> bool:
    """Whether all rows of a folder are such as ``merge`` writes."""
    return all("tested" in row for row in folder.rows().values())


def shortened(row: Row) -> Row:
    """A row without what is said of single images."""
    images, digest = test_set(row)
    kept = {name: value for name, value in row.items() if name not in ("test_names", "unlabeled_names")}
    if "result" in row:
        kept["result"] = {name: value for name, value in row["result"].items() if name != "images"}
    kept |= {"tested": {"images": images, "digest": digest}, "masks": 0}
    given = unlabeled_given(row)
    return kept if given is None else kept | {"unlabeled_given": given}


def _without_place(run: Row) -> Row:
    """A run without where its data was: a folder of somebody's machine."""
    return {name: value for name, value in run.items() if name != "data"}


def _write_lines(path: Path, rows: Sequence[Row]) -> None:
    atomic_write(path, b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows))
