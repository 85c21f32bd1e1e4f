"""Progress on standard error: bars with the time left on a terminal, a few plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from distillfss.cli.running import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL = 10.0


class Display:
    """Shows one phase after the other; a phase starts without a length and may get one.

    Phases that count the same steps on are one piece of work: they share a bar, and the time left is that of the whole.
    This class prints plain lines: one when a phase starts, then at most one every ten seconds, less often in long runs.
    """

    def __init__(self) -> None:
        self._phase = ""
        self._started = 0.0
        self._told = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bars away; the last state stays readable."""

    def note(self, text: str) -> None:
        """Something the user should know, on a line of its own."""
        print(one_line(text), file=sys.stderr, flush=True)

    def update(self, phase: str, step: int = 0, steps: int = 0, message: str = "") -> None:
        """The work is in ``phase``, at ``step`` of ``steps`` (0: length unknown)."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._started, self._told, self._first = phase, now, now, step
            print(phase, file=sys.stderr, flush=True)
        elif steps and now - self._told >= max(PLAIN_INTERVAL, (now - self._started) / 10):
            self._told = now
            said = f", {message}" if message else ""
            print(f"{phase}: {step} of {steps}{self._left(now, step, steps)}{said}", file=sys.stderr, flush=True)

    def _left(self, now: float, step: int, steps: int) -> str:
        done = step - self._first
        return f", {(now - self._started) / done * (steps - step):.0f} s left" if done > 0 else ""


class Bars(Display):
    """The same with rich's bars, for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False)
        self._bars: Progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False, style="cyan"),
            TextColumn("{task.fields[message]}", markup=False, style="dim"),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._bars.start()

    def close(self) -> None:
        self._finish(failed=sys.exc_info()[0] is not None)
        self._bars.stop()

    def note(self, text: str) -> None:
        self._console.print(one_line(text), markup=False, style="yellow", soft_wrap=True)

    def update(self, phase: str, step: int = 0, steps: int = 0, message: str = "") -> None:
        now = time.monotonic()
        if phase != self._phase:
            if not (self._task is not None and steps and steps == self._bars.tasks[self._task].total and step):
                self._finish()
                self._task = self._bars.add_task(phase, total=None, count="", left="", message="")
            self._phase, self._started, self._first = phase, now, step
        if self._task is None:
            return
        self._bars.update(
            self._task,
            description=phase,
            completed=step,
            total=steps or None,
            count=f"{step}/{steps}" if steps else "",
            left=self._left(now, step, steps).removeprefix(", ") if steps and step < steps else "",
            message=message,
        )

    def _finish(self, failed: bool = False) -> None:
        """Tick off the present phase."""
        if self._task is None or failed:
            return
        task = self._bars.tasks[self._task]
        self._bars.update(self._task, completed=task.total or 1, total=task.total or 1, left="", message="")
        self._task = None


def display() -> Display:
    """Bars if standard error is a terminal, plain lines if not."""
    return Bars() if sys.stderr.isatty() else Display()
