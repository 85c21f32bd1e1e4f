"""What surrounds every verb: errors in one line, exit codes, JSON on standard output, Ctrl-C.

Exit codes: 0 done, 2 wrong usage, 3 data, 4 model file, 5 output, 6 export (see ``errors.py``), 7 no better than
trivial (``fit --strict``), 70 a bug of ours, 130 stopped by Ctrl-C, 141 the reader of our output went away, 143 stopped
by SIGTERM.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import click

from distillfss.errors import DistillFSSError, FitInterrupted
from distillfss.wording import counted

BUG, INTERRUPTED, PIPE_CLOSED, TERMINATED = 70, 130, 141, 143

SHOWN = 10
"""Further faults of the same run that are printed."""

_terminated = False


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, met by a verb that can say how to go on."""


def run(group: click.Group, args: list[str]) -> int:
    """Run the verb named by ``args`` and return the exit code."""
    debug = "--debug" in args
    as_json = "--json" in args and not {"-h", "--help"} & set(args)
    if not debug:
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        # A file name that is no valid text must not turn a message about it into a crash.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if "_DISTILLFSS_COMPLETE" in os.environ:
        group.main(args, prog_name="distillfss", standalone_mode=True)
    stdout = sys.stdout
    # With --json, standard output belongs to the one document; whatever else prints goes to standard error.
    redirected = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    try:
        with redirected, _sigterm_as_ctrl_c():
            code, document = _guarded(group, args, debug)
        if as_json and document is not None:
            stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
        stdout.flush()
        return code
    except BrokenPipeError:
        return _pipe_closed(stdout)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _output_full(stdout)


def _output_full(stdout: TextIO) -> int:
    """What was to be printed does not fit on the disk that standard output goes to."""
    # or the interpreter would try once more, and complain, when it ends
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
    return tell("standard output: the disk is full. Free some space; files were written as usual", "OutputError", 5)[0]


def _guarded(group: click.Group, args: list[str], debug: bool) -> tuple[int, Any]:
    """(exit code, document for --json) of one run; every error is told here."""
    try:
        with group.make_context("distillfss", args or ["--help"]) as context:
            return 0, group.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code, None
    except Finished as finished:
        return finished.code, finished.document
    except click.ClickException as error:
        shown = getattr(error, "ctx", None)
        cure = f"See '{shown.command_path if shown else 'distillfss'} --help'"
        problem = _unquoted(error, args) or error.format_message().rstrip(".")
        return tell(f"{problem}. {cure}", "UsageError", error.exit_code)
    except FitInterrupted as stop:
        return tell(f"{stop.problem}. {stop.cure}", "FitInterrupted", _stop_code(stop.terminated), word="")
    except DistillFSSError as error:
        if debug:
            traceback.print_exc()
        return tell(_headline(error), type(error).__name__, error.exit_code, error)
    except (KeyboardInterrupt, click.Abort) as stop:
        return tell(str(stop) or "stopped. Nothing was lost", "Interrupted", _stop_code(), word="")
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise BrokenPipeError from None
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # files are written through atomic_write, which tells: this is standard output
        if debug:
            traceback.print_exc()
        cure = "This is a bug: run it again with --debug and report what it prints"
        return tell(f"unexpected {type(error).__name__}: {error}. {cure}", type(error).__name__, BUG)


def _unquoted(error: click.ClickException, args: list[str]) -> str | None:
    """What to say where the shell has made many files of a pattern for one argument; None of other errors."""
    context, told = getattr(error, "ctx", None), error.format_message()
    if context is None or "unexpected extra argument" not in told:
        return None
    if not any(parameter.name == "images" for parameter in context.command.params):
        return None
    listed = told[told.find("(") + 1 : told.rfind(")")]  # nothing else says which they are
    extra = [word for word in dict.fromkeys(args) if f" {word} " in f" {listed} " and Path(word).is_file()]
    if " ".join(extra) != listed:
        return None
    files = [Path(word) for word in (context.params.get("images") or extra[0], *extra)]
    folders, suffixes = {file.parent for file in files}, {file.suffix for file in files}
    folder = folders.pop() if len(folders) == 1 else Path("FOLDER")
    pattern = f"*{suffixes.pop() if len(suffixes) == 1 else ''}"
    pattern = pattern if folder == Path() else f"{glob.escape(str(folder))}/{pattern}"
    etc = ", ..." * (len(extra) > 1)
    return (
        f"IMAGES is one folder, file or pattern, and {counted(len(extra), 'more file')} came after it "
        f"({extra[0]}{etc}). Quote the pattern: {shlex.quote(pattern)}"
    )


class Finished(Exception):  # noqa: N818  (a way to end a verb, not a fault)
    """Ends a verb with an exit code of its own, still with its document."""

    def __init__(self, code: int, document: Any = None) -> None:
        super().__init__(code)
        self.code = code
        self.document = document


def tell(
    text: str, kind: str, code: int, error: DistillFSSError | None = None, *, word: str = "error: "
) -> tuple[int, dict[str, Any]]:
    """Print one line to standard error; return the exit code and the same as a document for --json."""
    line = one_line(text)
    faults = getattr(error, "faults", ())[1:]
    others = [one_line(str(fault)) for fault in faults]
    with contextlib.suppress(BrokenPipeError):
        print(f"{word}{line}", file=sys.stderr)
        for fault in faults[:SHOWN]:
            # the same cure once is enough for people
            again = error is not None and fault.cure == error.cure
            print(f"  also: {one_line(fault.found if again else str(fault))}", file=sys.stderr)
        if len(others) > SHOWN:
            print(f"  and {len(others) - SHOWN} more", file=sys.stderr)
        sys.stderr.flush()
    details: dict[str, Any] = {"kind": kind, "message": line, "exit_code": code}
    if others:
        details["also"] = others
    if error is not None:
        details |= {"problem": error.problem, "cure": error.cure, "path": str(error.path) if error.path else None}
    return code, {"error": details}


def _headline(error: DistillFSSError) -> str:
    """Its message; of an error that holds several faults the first, the others follow on lines of their own."""
    return str(error.faults[0]) if getattr(error, "faults", ()) else str(error)  # type: ignore[attr-defined]


def one_line(text: str) -> str:
    """The text without line breaks and control characters (a file name may hold anything)."""
    folded = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in folded)


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM stops a run the way Ctrl-C does: what can be kept is kept."""
    global _terminated
    _terminated = False

    def stop(number: int, frame: FrameType | None) -> None:
        global _terminated
        _terminated = True
        raise Stopped

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop_code(terminated: bool = False) -> int:
    return TERMINATED if terminated or _terminated else INTERRUPTED


def _pipe_closed(stdout: TextIO) -> int:
    """Whoever read our output went away: leave quietly, also when Python flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
    return PIPE_CLOSED
