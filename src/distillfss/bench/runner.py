"""Compute the cells that are missing, keep every one as soon as it is done."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillfss.bench.cells import Cell
from distillfss.bench.executors import Executor
from distillfss.bench.process import Outcome, Task
from distillfss.bench.results import DONE, FAILED, ResultsFolder, Row
from distillfss.errors import FitInterrupted


@dataclass(frozen=True)
class Summary:
    """What became of the cells that were asked for."""

    asked: int
    cached: int
    computed: int
    failed: tuple[Row, ...]


def missing(cells: Sequence[Cell], rows: dict[str, Row], *, retry: bool = False, fresh: bool = False) -> list[Cell]:
    """The cells to compute: all with ``fresh``; else those without a row, and failed ones with ``retry``."""

    def wanted(cell: Cell) -> bool:
        row = rows.get(cell.key)
        return fresh or row is None or (retry and row["status"] == FAILED)

    return [cell for cell in cells if wanted(cell)]


def run(
    cells: Sequence[Cell],
    folder: ResultsFolder,
    executor: Executor,
    data: Path,
    *,
    masks: bool = True,
    retry: bool = False,
    fresh: bool = False,
    progress: Callable[[int, int], None] = lambda done, number: None,
    note: Callable[[Row], None] = lambda row: None,
) -> Summary:
    """Compute what is missing.

    Parameters
    ----------
    data
        The folder of data sets.
    masks
        Whether to keep the predicted masks.
    progress
        Called with (cells computed, cells to compute), first with 0.
    note
        Told every new row.

    Raises
    ------
    FitInterrupted
        On Ctrl-C or SIGTERM; what was done is kept.
    OutputError
        If a result cannot be written.
    """
    rows = folder.rows()
    todo = {cell.key: cell for cell in missing(cells, rows, retry=retry, fresh=fresh)}
    here = os.getcwd()  # noqa: PTH109 (crosses to other processes as text)
    tasks = [Task(key, cell.to_dict(), str(data.resolve()), here, 1, masks) for key, cell in todo.items()]
    done = 0
    progress(0, len(tasks))
    try:
        with closing(executor.run(tasks)) as outcomes:
            for task, outcome in outcomes:
                row = row_of(todo[task.key], outcome)
                folder.add(row, outcome.masks, outcome.log)
                rows[task.key] = row
                done += 1
                note(row)
                progress(done, len(tasks))
    except KeyboardInterrupt:
        kept = len(cells) - len(tasks) + done
        problem = f"stopped with {kept} of {len(cells)} cells done"
        raise FitInterrupted(problem, cure="Run the same command again to go on") from None
    failed = tuple(rows[cell.key] for cell in cells if rows[cell.key]["status"] != DONE)
    return Summary(len(cells), len(cells) - len(tasks), len(tasks), failed)


def row_of(cell: Cell, outcome: Outcome) -> Row:
    """A line of ``results.jsonl``: the cell, what came of it, when, and with how many masks."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"key": cell.key, **cell.to_dict(), **outcome.row, "masks": len(outcome.masks), "when": when}


def manifest(command: str, data: Path, cells: Sequence[Cell], **more: Any) -> Row:
    """A line of ``runs.jsonl``."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"when": when, "command": command, "data": str(data), "cells": [cell.key for cell in cells], **more}
