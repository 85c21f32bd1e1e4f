"""One cell in one fresh process: nothing of the cell before it is in its memory, and its crash is its own.

The process gets the task as JSON on standard input and answers with one line of JSON, followed by the masks' bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillfss.bench.worker import WATCH

POSIX = os.name == "posix"
SOURCES = str(Path(__file__).resolve().parents[2])
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Child = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Task:
    """What a process is told.

    Attributes
    ----------
    key
        The cell's.
    cell
        As ``Cell.to_dict`` makes it.
    data
        The folder of data sets.
    here
        The working directory of the run: methods are imported from it, and relative paths in settings start there.
    masks
        Whether to hand back the predicted masks.
    jobs
        How many tasks run side by side on the machine, this one included.
    """

    key: str
    cell: dict[str, Any]
    data: str
    here: str
    threads: int
    masks: bool
    jobs: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of a task: the row without the cell, the masks as PNG, and what was printed if it failed."""

    row: dict[str, Any]
    masks: dict[str, bytes]
    log: str = ""


def run_fresh(task: Task, started: Callable[[Child], None] = lambda child: None) -> Outcome:
    """Compute a task in a fresh process; whatever happens to it, there is an outcome.

    Parameters
    ----------
    started
        Told the process, so that it can be stopped.
    """
    watched, held = os.pipe() if POSIX else (-1, -1)
    paths = [SOURCES, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(task.threads))
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "distillfss.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment | ({WATCH: str(watched)} if POSIX else {}),
            cwd=task.here if Path(task.here).is_dir() else None,
            pass_fds=(watched,) if POSIX else (),
            # Ctrl-C is for whoever started the run, who then stops this process and those it started
            process_group=0 if POSIX else None,
        )
        if POSIX:
            os.close(watched)
            watched = -1
        started(child)
        answer, said = child.communicate(json.dumps(vars(task)).encode())
    finally:
        for pipe in (watched, held):
            if pipe >= 0:
                os.close(pipe)
    log = said.decode(errors="replace")
    try:
        outcome = _read(answer)
    except ValueError:
        row = {"status": "failed", "error": {"kind": "Crash", "message": _ending(child.returncode)}}
        return Outcome(row | {"threads": task.threads}, {}, log)
    return Outcome(outcome.row, outcome.masks, log if outcome.row["status"] == "failed" else "")


def stop(child: Child) -> None:
    """End a process and those it started, at once: it holds nothing worth keeping."""
    with contextlib.suppress(OSError):
        if POSIX:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def _read(answer: bytes) -> Outcome:
    """Raises ``ValueError`` if the answer is not complete."""
    line, newline, rest = answer.partition(b"\n")
    if not newline:
        raise ValueError("no answer")
    header = json.loads(line)
    masks, place = {}, 0
    for name, length in header["masks"]:
        masks[name] = rest[place : place + length]
        place += length
    if place != len(rest):
        raise ValueError("the answer is cut off")
    return Outcome(header["row"], masks)


def _ending(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; it may have run out of memory" if -code == getattr(signal, "SIGKILL", 0) else ""
        return f"the process was ended by {name}{hint}"
    return f"the process ended with exit code {code} and no result"
