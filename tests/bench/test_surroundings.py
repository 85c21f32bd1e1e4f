"""What else the machine did while something was measured, by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distillfss.bench import surroundings
from distillfss.bench.executors import LocalExecutor
from distillfss.bench.process import Outcome, Task
from distillfss.bench.surroundings import Beside, seconds_of_others

TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "stat")
    monkeypatch.setattr(surroundings, "STAT", made.path)
    monkeypatch.setattr(surroundings.time, "perf_counter", lambda: made.clock)
    monkeypatch.setattr(surroundings.os, "times", lambda: (made.own, 0.0, 0.0, 0.0, made.clock))
    return made


class Machine:
    """A clock, our own processor seconds, and those of everybody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock, self.own = 100.0, 5.0
        self.count(48)

    def count(self, seconds: float) -> None:
        """User, nice, system, idle, iowait, irq, softirq, steal, guest; idling and waiting are no work."""
        shares = [0.5, 0.125, 0.25, 7.0, 3.0, 0.0, 0.0625, 0.0625, 0.5]
        ticks = " ".join(str(round(share * seconds * TICK)) for share in shares)
        self.path.write_text(f"cpu  {ticks} 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n")


def test_other_work_is_all_work_but_ours(machine: Machine):
    assert seconds_of_others() == pytest.approx(43)
    beside = Beside()
    machine.clock, machine.own = 110.0, 13.0
    machine.count(48 + 8 + 16)  # ours, and 1.6 cores of others
    assert beside.load() == 1.6
    machine.count(48 + 7)  # counted a little late
    assert beside.load() == 0


def test_where_nobody_counts_or_too_short_nothing_is_said(machine: Machine):
    beside = Beside()
    machine.clock = 100.9
    assert beside.load() is None
    machine.clock = 101.1
    assert beside.load() is not None
    for text in ("cpu  0 0 0 0 0 0 0 0 0 0\n", "cpu 1 2\n", "", "cpu a b c d e f g h\n"):
        machine.path.write_text(text)
        assert beside.load() is None
    machine.path.unlink()
    assert Beside().load() is None


@pytest.mark.parametrize(("jobs", "tasks", "together"), [(2, 3, 2), (4, 1, 1)])
def test_a_task_knows_how_many_run_side_by_side(monkeypatch: pytest.MonkeyPatch, jobs: int, tasks: int, together: int):
    monkeypatch.setattr("distillfss.bench.executors.run_fresh", lambda task, started: Outcome({"jobs": task.jobs}, {}))
    asked = [Task(str(number), {}, "data", "here", 1, False) for number in range(tasks)]
    assert [outcome.row for _, outcome in LocalExecutor(jobs).run(asked)] == [{"jobs": together}] * tasks
