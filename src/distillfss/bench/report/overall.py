"""Tables over all data sets of an arena."""

from __future__ import annotations

import math
import statistics

from distillfss.bench.report.tables import NOTHING, Table, best_places, shots_text
from distillfss.bench.summary import Arena, Entry

OURS = "distill"
"""The method others are compared with."""


def mean_table(arena: Arena) -> Table | None:
    """Mean IoU over the data sets; None where no two of them can be averaged."""
    contests = {k: sorted(d for d, shots in arena.ranks.contests if shots == k) for k in arena.ranks.by_shots}
    contests = {k: datasets for k, datasets in contests.items() if len(datasets) > 1}
    if not contests:
        return None
    means = {
        label: [_mean([arena.entries[dataset, k, label] for dataset in datasets]) for k, datasets in contests.items()]
        for label in arena.labels
    }
    rows = [
        (label, *(f"{100 * value:.1f}" if math.isfinite(value) else "failed" for value in values))
        for label, values in means.items()
    ]
    over = "; ".join(f"{shots_text(k)}: {', '.join(datasets)}" for k, datasets in contests.items())
    if len({tuple(datasets) for datasets in contests.values()}) == 1:
        over = ", ".join(next(iter(contests.values())))
    note = f"Mean over the data sets of the median foreground IoU over the seeds, in per cent at 384×384 ({over})."
    return Table(
        "Mean over data sets",
        note,
        ("method", *map(shots_text, contests)),
        tuple(rows),
        best_places(list(means.values())),
    )


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
        f"Median IoU of {ours} minus that of the method, in points at 384×384, mean over the data sets where both have "
        "the same seeds; in brackets their number and the lowest difference."
    )
    return Table(f"How far {ours} is ahead", note, ("of", *map(shots_text, shots)), tuple(rows))


def _ahead(arena: Arena, shots: int, ours: str, other: str) -> str:
    found = {}
    for dataset in arena.datasets:
        one, two = arena.entry(dataset, shots, ours), arena.entry(dataset, shots, other)
        if one and two and one.seeds == two.seeds and math.isfinite(one.score) and math.isfinite(two.score):
            found[dataset] = 100 * (one.score - two.score)
    if not found:
        return ""
    lowest = min(found, key=lambda dataset: found[dataset])
    return f"{statistics.fmean(found.values()):+.1f} ({len(found)}; {found[lowest]:+.1f} on {lowest})"


def _mean(entries: list[Entry]) -> float:
    return statistics.fmean(entry.score for entry in entries)
