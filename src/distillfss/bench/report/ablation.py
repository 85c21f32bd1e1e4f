"""What every part of a method adds: the method with one knob turned against the method as it is."""

from __future__ import annotations

import math
import statistics

from distillfss.bench.methods.variants import base_of, changes_of
from distillfss.bench.report.tables import NOTHING, Table, shots_text
from distillfss.bench.summary import Arena, Entry, on_common_seeds


def ablation_tables(arena: Arena) -> list[Table]:
    """One per method and number of shots that has variants.

    A variant is compared with the method on the seeds that both have.
    """
    pairs = dict.fromkeys((base_of(label), shots) for _, shots, label in sorted(arena.variants))
    return [_table(arena, base, shots) for base, shots in pairs]


def _table(arena: Arena, base: str, shots: int) -> Table:
    variants = dict.fromkeys(label for _, k, label in arena.variants if k == shots and base_of(label) == base)
    datasets = sorted({d for d, k, label in arena.variants if k == shots and label in variants})
    rows, seeds = [], set[int]()
    for label in variants:
        gains, longer = {}, []
        for dataset in datasets:
            both = on_common_seeds(arena.entry(dataset, shots, base), arena.variants.get((dataset, shots, label)))
            if both is None:
                continue
            whole, part = both
            seeds |= whole.seeds
            gains[dataset] = 100 * (part.score - whole.score)
            longer.append(_seconds(part) / _seconds(whole) - 1)
        means = (
            [f"{statistics.fmean(gains.values()):+.1f}", f"{100 * statistics.fmean(longer):+.0f} %"] if gains else []
        )
        each = [f"{gains[dataset]:+.1f}" if dataset in gains else NOTHING for dataset in datasets]
        rows.append((changes_of(label), *(means or [NOTHING, NOTHING]), *each))
    note = (
        f"{shots_text(shots)}: median IoU of {base} with a knob turned minus that of {base} as it is, in points at "
        f"384×384, and how much longer or shorter a fit takes; seeds {', '.join(map(str, sorted(seeds)))}. What is "
        "worth having has a minus where it is left out."
    )
    return Table(f"What the parts of {base} add", note, ("changed", "mean", "seconds", *datasets), tuple(rows))


def _seconds(entry: Entry) -> float:
    spread = entry.spread("seconds", "fit")
    return spread.median if spread else math.nan
