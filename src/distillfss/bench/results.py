"""The folder of results: rows as JSON lines, masks, what failing cells printed, and the commands that were run.

A row is appended in one go and forced to disk, so a run may be killed at any moment. What a kill can leave is a last
line that is cut off; it is passed over, and the next row begins on a line of its own. Other lines that are no rows are
passed over as well, and told (``ResultsFolder.passed_over``).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from distillfss.bench.row_faults import fault_of
from distillfss.errors import DataError, OutputError, UsageError
from distillfss.io.files import check_writable

Row = dict[str, Any]
DONE, FAILED = "done", "failed"


class ResultsFolder:
    """Where a run writes and a report reads.

    Attributes
    ----------
    rows_file, runs_file
        ``results.jsonl``, one row per computed cell, and ``runs.jsonl``, one per run.
    contents_file
        What is known of the data sets' files (see ``contents``).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows_file = root / "results.jsonl"
        self.runs_file = root / "runs.jsonl"
        self.contents_file = root / "contents.json"

    def make(self) -> None:
        """Make the folder and prove that it can be written to."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"this folder cannot be made ({error.strerror})"
            raise OutputError(problem, cure="Choose another folder", path=self.root) from None
        check_writable(self.rows_file)

    def rows(self) -> dict[str, Row]:
        """The last row of every cell, by the cell's key, in the order in which they were written."""
        return self._read()[0]

    def passed_over(self) -> str:
        """What to say of lines that are no rows, if no later row is of the same cell; empty if there are none.

        A last line that a kill has cut off is none of them.
        """
        faults = self._read()[1]
        if not faults:
            return ""
        lines = "1 line is" if len(faults) == 1 else f"{len(faults)} lines are"
        first = "" if len(faults) == 1 else "the first, "
        return (
            f"{self.rows_file}: {lines} passed over ({first}{faults[0]}); 'distillfss bench run' computes such cells "
            "again"
        )

    def _read(self) -> tuple[dict[str, Row], list[str]]:
        """The rows, and what is wrong with every line that is none: ``line 3: seed is missing``."""
        found: dict[str, Row] = {}
        faults: list[tuple[str | None, str]] = []
        for number, line, row in _numbered(self.rows_file):
            fault = "it is cut off" if row is None else fault_of(row)
            if fault:
                key = _key_of(line) if row is None else row.get("key")
                faults.append((key, f"line {number}: {fault}"))
            elif row is not None:
                # what this row takes the place of is nobody's loss
                faults = [each for each in faults if each[0] != row["key"]]
                found.pop(row["key"], None)
                found[row["key"]] = row
        return found, [text for _, text in faults]

    def add(self, row: Row, masks: Mapping[str, bytes], log: str) -> None:
        """Keep what came of a cell. The row comes last: what it speaks of is there when it can be read."""
        key = row["key"]
        with _telling(self.root):
            if masks:
                self._write_masks(key, masks)
            if log:
                path = self.log_file(key)
                path.parent.mkdir(exist_ok=True)
                path.write_text(log, encoding="utf-8")
            append_line(self.rows_file, row)

    def add_run(self, run: Row) -> None:
        """Keep what was asked for."""
        with _telling(self.root):
            append_line(self.runs_file, run)

    def runs(self) -> list[Row]:
        """Every run of this folder, oldest first; lines without a command and cells are passed over."""
        return [run for run in read_lines(self.runs_file) if _is_run(run)]

    def masks_folder(self, key: str) -> Path:
        return self.root / "masks" / key

    def log_file(self, key: str) -> Path:
        return self.root / "logs" / f"{key}.txt"

    def _write_masks(self, key: str, masks: Mapping[str, bytes]) -> None:
        """All masks of a cell or none: they take their place in one step."""
        folder = self.masks_folder(key)
        temporary = folder.with_name(f".{key}-{secrets.token_hex(4)}")
        temporary.mkdir(parents=True)
        try:
            for name, data in masks.items():
                (temporary / f"{name}.png").write_bytes(data)
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second run out, where the system has locks; a killed run leaves none behind."""
        try:
            import fcntl
        except ImportError:
            yield
            return
        with (self.root / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                cure = "Wait for it, or write to another folder with --out"
                raise UsageError(f"another run is writing to {self.root}", cure=cure) from None
            for left in (self.root / "masks").glob(".*"):  # by a run that was killed
                shutil.rmtree(left, ignore_errors=True)
            yield


class Gathered:
    """Several folders of results as one, to report on a measurement that was made in parts.

    Parameters
    ----------
    folders
        At least one.
    """

    def __init__(self, folders: Sequence[ResultsFolder]) -> None:
        self.folders = tuple(folders)

    def rows(self) -> dict[str, Row]:
        """The newest row of every cell by its key, in the order in which they were written."""
        found: dict[str, Row] = {}
        for row, _ in self._dated():
            found.pop(row["key"], None)
            found[row["key"]] = row
        return found

    def runs(self) -> list[Row]:
        """Every run, oldest first."""
        return sorted((run for folder in self.folders for run in folder.runs()), key=lambda run: str(run.get("when")))

    def masks_folder(self, key: str) -> Path:
        """Where the masks of the row of this key are."""
        return {row["key"]: folder for row, folder in self._dated()}[key].masks_folder(key)

    def _dated(self) -> list[tuple[Row, ResultsFolder]]:
        found = [(row, folder) for folder in self.folders for row in folder.rows().values()]
        return sorted(found, key=lambda each: str(each[0].get("when")))


def read_lines(path: Path) -> Iterator[Row]:
    """The JSON objects of a file, one per line; lines that are none (cut off by a kill) are passed over."""
    yield from (row for _, _, row in _numbered(path) if row is not None)


def _numbered(path: Path) -> Iterator[tuple[int, bytes, Row | None]]:
    """Number, from 1 on, bytes and JSON object of every line that is not empty; None instead of one that is none.

    Without the last line if it is cut off: that is what a kill leaves.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", cure="Check its permissions", path=path) from error
    lines = text.split(b"\n")
    for number, line in enumerate(lines, start=1):
        row = _object(line)
        if row is not None or (line.strip() and number < len(lines)):
            yield number, line, row


def _object(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _key_of(line: bytes) -> str | None:
    """The cell of a line that is cut off: the key is what a row begins with."""
    found = re.match(rb'\{"key": "([^"\\]+)"', line)
    return found[1].decode(errors="replace") if found else None


def _is_run(run: Row) -> bool:
    cells = run.get("cells")
    return isinstance(run.get("command"), str) and isinstance(cells, list) and all(isinstance(c, str) for c in cells)


def append_line(path: Path, row: Row) -> None:
    """Append a JSON object as a line of its own, also where the last line was cut off, and force it to disk."""
    with path.open("ab+") as file:
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        file.write(b"\n" + line if _is_cut_off(file) else line)
        file.flush()
        os.fsync(file.fileno())


def _is_cut_off(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


@contextlib.contextmanager
def _telling(root: Path) -> Iterator[None]:
    """An error of the disk as one that names the cure."""
    try:
        yield
    except OSError as error:
        cure = "Free some space or check the permissions, then run the same command again: what is there is kept"
        raise OutputError(f"cannot be written to ({error.strerror})", cure=cure, path=root) from error
