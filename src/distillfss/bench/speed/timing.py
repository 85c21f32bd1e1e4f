"""Stopwatch: several subjects in turn, so that whatever disturbs the machine disturbs them alike."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def interleaved(
    subjects: Mapping[Name, Callable[[], object]],
    *,
    repeats: int,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, tuple[float, ...]]:
    """Seconds of every call, the subjects taking turns: one call of each, then again.

    Parameters
    ----------
    subjects
        What to time, by name.
    repeats
        Rounds that count.
    warm_up
        Rounds before them that do not.
    clock
        Seconds since any moment.

    Returns
    -------
    dict
        Per subject, one duration per round. Rounds are the same for all, so durations may be compared pair by pair.
    """
    for _ in range(warm_up):
        for call in subjects.values():
            call()
    seconds: dict[Name, list[float]] = {name: [] for name in subjects}
    with no_collection():
        for _ in range(repeats):
            for name, call in subjects.items():
                started = clock()
                call()
                seconds[name].append(clock() - started)
    return {name: tuple(found) for name, found in seconds.items()}


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's garbage collector from running inside somebody's turn."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of the values lie, interpolated between its neighbours."""
    ordered = sorted(values)
    place = percent / 100 * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def ratio(seconds: Sequence[float], floor: Sequence[float]) -> float:
    """How many times as long as the floor: the median over rounds, each against the floor's turn in the same round."""
    return statistics.median(own / other for own, other in zip(seconds, floor, strict=True))
