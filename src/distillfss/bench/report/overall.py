"""Tables over all data sets of an arena."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from distillfss.bench.report.tables import NOTHING, Table, best_places, shots_text
from distillfss.bench.summary import Arena, on_common_seeds

OURS = "distill"
"""The method others are compared with."""


def mean_table(arena: Arena) -> Table | None:
    """Mean IoU over the data sets, of every method that was run on all of them; None where no two can be compared.

    With a number of shots, data sets and seeds are those of the method with the most cells.
    """
    grounds = {k: _ground(arena, k) for k in arena.shots()}
    means = {label: {k: _mean_on(arena, k, label, ground) for k, ground in grounds.items()} for label in arena.labels}
    shots = [
        k
        for k, ground in grounds.items()
        if len(ground) > 1 and sum(found[k] is not None for found in means.values()) > 1
    ]
    if not shots:
        return None
    shown = {label: [found[k] for k in shots] for label, found in means.items()}
    rows = [(label, *map(_percent, values)) for label, values in shown.items()]
    over = {k: ", ".join(sorted(grounds[k])) for k in shots}
    same = len(set(over.values())) == 1
    where = over[shots[0]] if same else "; ".join(f"{shots_text(k)}: {names}" for k, names in over.items())
    note = f"Mean over the data sets of the median foreground IoU over the seeds, in per cent at 384×384 ({where})."
    if any(value is None for values in shown.values() for value in values):
        note += f" {NOTHING}: not run on all of them with all of the seeds."
    figures = [[-math.inf if value is None else value for value in values] for values in shown.values()]
    return Table("Mean over data sets", note, ("method", *map(shots_text, shots)), tuple(rows), best_places(figures))


def _ground(arena: Arena, shots: int) -> dict[str, frozenset[int]]:
    """Data sets, each with its seeds, of the method that was run most with so many shots."""
    found: list[dict[str, frozenset[int]]] = []
    for label in arena.labels:
        entries = {dataset: arena.entry(dataset, shots, label) for dataset in arena.datasets}
        found.append({dataset: entry.seeds for dataset, entry in entries.items() if entry})
    return max(found, key=lambda ground: sum(map(len, ground.values())))


def _mean_on(arena: Arena, shots: int, label: str, ground: Mapping[str, frozenset[int]]) -> float | None:
    """Mean score of a method; None unless it was run on these data sets with these seeds."""
    entries = [arena.entry(dataset, shots, label) for dataset in ground]
    scores = [e.score for e, seeds in zip(entries, ground.values(), strict=True) if e and e.seeds == seeds]
    return statistics.fmean(scores) if len(scores) == len(ground) else None


def _percent(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{100 * value:.1f}" if math.isfinite(value) else "failed"


def difference_table(arena: Arena, ours: str = OURS) -> Table | None:
    """How far our method is ahead of every other, on average and where least; None without anything to compare."""
    shots = arena.shots()
    rows = []
    for label in arena.labels:
        cells = [_ahead(arena, k, ours, label) for k in shots]
        if label != ours and any(cells):
            rows.append((label, *(cell or NOTHING for cell in cells)))
    if not rows:
        return None
    note = (
        f"Median IoU of {ours} minus that of the method over the seeds that both have, in points at 384×384, mean over "
        f"the data sets; in brackets their number, the seeds where they are not all of {ours}, and the lowest "
        "difference."
    )
    return Table(f"How far {ours} is ahead", note, ("of", *map(shots_text, shots)), tuple(rows))


def _ahead(arena: Arena, shots: int, ours: str, other: str) -> str:
    found, seeds, fewer = {}, set[int](), False
    for dataset in arena.datasets:
        mine = arena.entry(dataset, shots, ours)
        both = on_common_seeds(mine, arena.entry(dataset, shots, other))
        if mine is None or both is None:
            continue
        one, two = both
        found[dataset] = 100 * (one.score - two.score)
        seeds |= one.seeds
        fewer |= one.seeds != mine.seeds
    if not found:
        return ""
    lowest = min(found, key=lambda dataset: found[dataset])
    which = f", seed {', '.join(map(str, sorted(seeds)))}" if fewer else ""
    return f"{statistics.fmean(found.values()):+.1f} ({len(found)}{which}; {found[lowest]:+.1f} on {lowest})"
