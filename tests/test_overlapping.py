"""Reading, working and writing at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from distillfss.overlapping import AHEAD_BYTES, overlap


def run(
    items: list[int],
    read: Callable[[int], int] = lambda item: item,
    work: Callable[[int, int], int] = lambda item, content: content,
    write: Callable[[int, int], int] = lambda item, made: made,
    size: Callable[[int], int] = lambda content: 1,
    told: list[Any] | None = None,
) -> list[Any]:
    results: list[Any] = [] if told is None else told
    overlap(
        items,
        read,
        work,
        write,
        lambda item, result: results.append((item, result)),
        readers=3,
        writers=2,
        size=size,
    )
    return results


def test_everything_in_order_whatever_takes_how_long() -> None:
    worked: list[int] = []

    def read(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * 10

    def work(item: int, content: int) -> int:
        worked.append(item)
        return content + 1

    def write(item: int, made: int) -> int:
        time.sleep(0.002 * (item % 2))
        return made * 2

    assert run(list(range(40)), read, work, write) == [(item, (item * 10 + 1) * 2) for item in range(40)]
    assert worked == list(range(40))
    assert run([]) == []


def test_the_three_really_overlap() -> None:
    """The first item is still being written and the third already read while the second is worked on."""
    written, read = threading.Event(), threading.Event()

    def reading(item: int) -> int:
        if item == 2:
            read.set()
        return item

    def working(item: int, content: int) -> int:
        if item == 1:
            assert read.wait(30)
            written.set()
        return item

    def writing(item: int, made: int) -> int:
        if item == 0:
            assert written.wait(30)
        return made

    assert run([0, 1, 2], reading, working, writing) == [(0, 0), (1, 1), (2, 2)]


def test_an_error_of_any_stage_belongs_to_its_item() -> None:
    def failing(stage: int) -> Callable[..., int]:
        def step(item: int, *_: int) -> int:
            if item == stage:
                raise ValueError(f"stage {stage}")
            return item

        return step

    results = run([0, 1, 2, 3], failing(1), failing(2), failing(3))
    assert results[0] == (0, 0)
    assert [(item, str(error)) for item, error in results[1:]] == [(1, "stage 1"), (2, "stage 2"), (3, "stage 3")]


def test_little_is_in_memory() -> None:
    """Never more than read-ahead, one at work, and the queue of the writers; of large items fewer."""
    lock, alive, most = threading.Lock(), 0, 0

    def read(item: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return item

    def write(item: int, made: int) -> int:
        nonlocal alive
        time.sleep(0.003)
        with lock:
            alive -= 1
        return made

    run(list(range(60)), read, write=write)
    assert 3 < most <= 4 + 1 + 3 + 1
    most = 0
    run(list(range(20)), read, write=write, size=lambda content: AHEAD_BYTES)
    assert most <= 4 + 1 + 1  # the first ones were read before their size was known
    most = 0


@pytest.mark.parametrize("where", ["work", "done"])
def test_interrupted_what_is_being_written_is_completed_and_told(where: str) -> None:
    written: list[int] = []
    told: list[Any] = []
    begun = threading.Event()

    def write(item: int, made: int) -> int:
        begun.set()
        time.sleep(0.05)
        written.append(item)
        return made

    def work(item: int, content: int) -> int:
        if item == 2 and where == "work":
            assert begun.wait(30)
            raise KeyboardInterrupt
        return content

    def done(item: int, result: Any) -> None:
        told.append(item)
        if where == "done":
            raise OSError("the disk is full")

    with pytest.raises(KeyboardInterrupt if where == "work" else OSError):
        overlap(range(9), lambda item: item, work, write, done, readers=2, writers=1, size=lambda content: 1)
    if where == "work":
        assert written == told == [0, 1]
    assert threading.active_count() < 20
