"""The tables of a report, as text, the same in Markdown and HTML."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distillfss.bench.current import test_set
from distillfss.bench.results import Row
from distillfss.bench.summary import Arena, Entry, Spread, Summary
from distillfss.bench.surroundings import BUSY

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    Attributes
    ----------
    rows
        Texts; the first column names the row.
    best
        (row, column) of the figures to stress.
    words
        Columns that hold words rather than figures.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    words: frozenset[int] = frozenset({0})


def shots_text(shots: int) -> str:
    """``1 shot``, ``5 shots``."""
    return f"{shots} shot{'s' * (shots != 1)}"


def cell_text(entry: Entry | None, spread: Spread | None, scale: float, digits: int = 1) -> str:
    """What a table says of an entry: the spread, and how many of its seeds failed."""
    if entry is None:
        return NOTHING
    failed = f"failed for {len(entry.failed)} of {len(entry.seeds)} seeds" if entry.failed else ""
    if spread is None:
        return "failed" if entry.failed else NOTHING
    return f"{spread.text(scale, digits)}{', ' if failed else ''}{failed}"


def dataset_table(summary: Summary) -> Table:
    """What the figures were measured on."""
    rows = []
    for arena in summary.arenas:
        for dataset in arena.datasets:
            members = [row for entry in arena.of(dataset) for row in (*entry.done, *entry.failed)]
            done = [row for row in members if "result" in row]
            classes = next((list(row["result"]["classes"]) for row in done), [])
            support = sorted({(row["shots"], len(row["support_names"])) for row in members})
            other = [f"{images} for {shots_text(shots)}" for shots, images in support if images != shots]
            rows.append(
                (
                    dataset,
                    arena.protocol,
                    ", ".join(classes) or NOTHING,
                    _several(map(_tested_text, done or members)),
                    ", ".join(other) or "as many as shots",
                    _several(row["fingerprint"][:12] for row in members),
                )
            )
    note = "Support images differ from shots where there are several classes, or where there are no more images."
    header = ("data set", "protocol", "classes", "test images", "support images", "fingerprint")
    return Table("Data sets", note, header, tuple(dict.fromkeys(rows)), words=frozenset({0, 1, 2, 4, 5}))


def _tested_text(row: Row) -> str:
    """How many images a row was tested on."""
    images, skipped = test_set(row)[0], len(row.get("result", {}).get("skipped", ()))
    return f"{images - skipped} of {images}, the others cannot be read" if skipped else str(images)


def _several(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def accuracy_table(arena: Arena, dataset: str, *, own_size: bool = False) -> Table:
    """Foreground IoU of every method on a data set, by shots; the last row is the best trivial prediction."""
    measure = "foreground_iou" if own_size else "foreground_iou_384"
    shots = arena.shots(dataset)
    labels = [label for label in arena.labels if arena.of(dataset, None, label)]
    found = [[arena.entry(dataset, k, label) for k in shots] for label in labels]
    spreads = [[e.spread("result", measure) if e else None for e in row] for row in found]
    rows = [
        (label, *(cell_text(entry, spread, 100) for entry, spread in zip(entries, values, strict=True)))
        for label, entries, values in zip(labels, found, spreads, strict=True)
    ]
    medians = [[spread.median if spread else -math.inf for spread in row] for row in spreads]
    best = best_places(medians)
    trivial = _trivial(arena, dataset, measure)
    if trivial is not None:
        name, iou = trivial
        rows.append((f"trivial: {name}", *([f"{100 * iou:.1f}"] * len(shots))))
    where = "the images' own sizes" if own_size else "384×384"
    note = f"Foreground IoU in per cent at {where}: {seeds_text(arena.of(dataset))}."
    if unseen := _unseen(arena.of(dataset)):
        note += f" No test image shows {unseen}: 0 in the mean of whoever marks any of it, no part of it elsewhere."
    note += _unlearnt(arena.of(dataset))
    return Table(dataset, note, ("method", *map(shots_text, shots)), tuple(rows), best)


def _unseen(entries: Sequence[Entry]) -> str:
    """Classes that no test image shows; rows of before this was kept say nothing of it."""
    rows = [row for entry in entries for row in entry.done]
    return _several(name for row in rows for name in row["result"].get("unseen", ()))


def _unlearnt(entries: Sequence[Entry]) -> str:
    """What to say of classes that test images show and support images do not; rows of before this was kept say nothing.

    Begins with a space, or is empty.
    """
    lacking = [row["result"]["unlearnt"] for entry in entries for row in entry.done if "unlearnt" in row["result"]]
    names = dict.fromkeys(name for each in lacking for name in each)
    never = [name for name in names if all(name in each for each in lacking)]
    said = ""
    if never:
        said += f" Test images show {', '.join(never)}, no support image does: 0 in the mean of every method."
    if some := [name for name in names if name not in never]:
        said += f" Test images show {', '.join(some)}, not every support does: 0 in the mean where it does not."
    return said


def seeds_text(entries: Sequence[Entry]) -> str:
    """What stands in the cells: ``median (minimum to maximum) over seeds 0, 1, 2``."""
    seeds = sorted({seed for entry in entries for seed in entry.seeds})
    if len(seeds) == 1:
        return f"seed {seeds[0]}, one draw"
    uneven = any(entry.seeds != set(seeds) for entry in entries)
    listed = ", ".join(map(str, seeds))
    return f"median (minimum to maximum) over seeds {listed}{', as far as computed' if uneven else ''}"


def best_places(medians: Sequence[Sequence[float]]) -> frozenset[tuple[int, int]]:
    """Places of the highest number of each column, the first column being names."""
    places = set()
    for column in range(len(medians[0]) if medians else 0):
        top = max(row[column] for row in medians)
        places |= {
            (index, column + 1) for index, row in enumerate(medians) if row[column] == top and math.isfinite(top)
        }
    return frozenset(places)


def _trivial(arena: Arena, dataset: str, measure: str) -> tuple[str, float] | None:
    """The trivial prediction and its IoU; it depends on the test set alone."""
    for entry in arena.of(dataset):
        for row in entry.done:
            baseline = row["result"]["baseline"]
            if baseline[measure] is not None:
                return baseline["prediction"], baseline[measure]
    return None


def class_table(arena: Arena, dataset: str) -> Table | None:
    """IoU of every class at the most shots; None for a data set with one class."""
    shots = arena.shots(dataset)[-1]
    done = [row for entry in arena.of(dataset, shots) for row in entry.done]
    classes = list(done[0]["result"]["classes"]) if done else []
    if len(classes) < 2:
        return None
    rows, medians = [], []
    for label in arena.labels:
        entry = arena.entry(dataset, shots, label)
        if entry is None:
            continue
        spreads = [entry.spread("result", "classes", name, "iou_384") for name in classes]
        rows.append((label, *(cell_text(entry, spread, 100) for spread in spreads)))
        medians.append([spread.median if spread else -math.inf for spread in spreads])
    note = f"IoU in per cent at 384×384, {shots_text(shots)}: {seeds_text(arena.of(dataset, shots))}."
    return Table(f"{dataset}, class by class", note, ("method", *classes), tuple(rows), best_places(medians))


def rank_table(arena: Arena) -> Table | None:
    """Mean ranks; None where nothing can be ranked."""
    ranks = arena.ranks
    if not ranks.contests:
        return None
    shots = list(ranks.by_shots)
    rows = [
        (label, f"{ranks.overall[label]:.2f}", *(f"{ranks.by_shots[k][label]:.2f}" for k in shots))
        for label in arena.labels
        if label in ranks.overall
    ]
    note = (
        f"Rank of the median IoU at 384×384 among {len(rows)} methods, 1 is best, mean over "
        f"{len(ranks.contests)} pairs of data set and shots. A seed that failed counts as below everything."
    )
    if ranks.left_out:
        left = ", ".join(f"{dataset} with {shots_text(k)}" for dataset, k in ranks.left_out)
        note += f" Left out, because not every method has the same seeds there: {left}."
    if ranks.partial:
        note += f" Without a rank, since run on few of the data sets: {', '.join(ranks.partial)}."
    lowest = [[-float(text) for text in row[1:]] for row in rows]
    return Table("Mean rank", note, ("method", "all", *map(shots_text, shots)), tuple(rows), best_places(lowest))


def cost_table(arena: Arena) -> Table:
    """Seconds of fit by shots, time per image, memory: over all data sets and seeds."""
    shots = arena.shots()
    rows = []
    for label in arena.labels:
        whole = _joined(arena.of(label=label))
        fits = []
        for k in shots:
            entry = _joined(arena.of(shots=k, label=label))
            spread = entry.spread("seconds", "fit")
            # which cells failed is told with their scores
            fits.append(spread.text() if spread else "failed" if entry.failed else NOTHING)
        image, memory = whole.spread("seconds", "per_image"), whole.spread("peak_mb")
        rows.append(
            (
                label,
                *fits,
                image.text(1000, 0) if image else NOTHING,
                f"{max(memory.values):,.0f}" if memory else NOTHING,
            )
        )
    header = ("method", *(f"fit, {shots_text(k)}, s" for k in shots), "per image, ms", "peak memory, MiB")
    note = "Median (minimum to maximum) over data sets and seeds; memory is the most that any cell's process held."
    done = [row for entry in arena.of() for row in entry.done]
    note += _beside(done)
    places = machines(done)
    if len(places) > 1:
        note += f" Compare with care, there are several machines or numbers of threads: {'; '.join(places)}."
    elif places:
        note += f" Measured on {places[0]}."
    return Table("What it costs", note, header, tuple(rows))


def timed_beside(row: Row) -> bool:
    """Whether other work ran beside a cell and made its seconds longer; rows of before this was kept do not know."""
    return row.get("jobs", 1) > 1 or (row.get("load") or 0) >= BUSY


def _beside(rows: Sequence[Row]) -> str:
    """What to say of seconds that were measured beside other work; begins with a space, or is empty."""
    marked = [row for row in rows if timed_beside(row)]
    if not marked:
        return ""
    why = []
    if (jobs := max(row.get("jobs", 1) for row in marked)) > 1:
        why.append(f"up to {jobs} cells at a time")
    if (load := max(row.get("load") or 0 for row in marked)) >= BUSY:
        why.append(f"other processes kept up to {load:.1f} cores busy")
    return (
        f" {len(marked)} of {len(rows)} cells were timed beside other work ({', '.join(why)}): their seconds are too "
        "high."
    )


def _joined(entries: Sequence[Entry]) -> Entry:
    return Entry(
        tuple(row for entry in entries for row in entry.done), tuple(row for entry in entries for row in entry.failed)
    )


def machines(rows: Sequence[Row]) -> list[str]:
    """Machines and threads that rows were computed with."""
    found = {f"{row['machine']}, {row['threads']} thread{'s' * (row['threads'] != 1)} per cell" for row in rows}
    return sorted(found)


def support_pairs(summary: Summary) -> list[tuple[Arena, Arena]]:
    """Arenas with random support, each with one that differs in the kind of support alone."""
    return [
        (random, other)
        for random in summary.arenas
        for other in summary.arenas
        if random.support == "random" != other.support
        and (random.protocol, random.unlabeled) == (other.protocol, other.unlabeled)
    ]


def support_table(random: Arena, other: Arena) -> Table:
    """Random against chosen support, where a method has both."""
    rows = []
    for dataset, shots, label in random.entries:
        one, two = random.entries[dataset, shots, label], other.entry(dataset, shots, label)
        if two is None:
            continue
        gain = f"{100 * (two.iou.median - one.iou.median):+.1f}" if one.iou and two.iou else NOTHING
        rows.append((dataset, str(shots), label, cell_text(one, one.iou, 100), cell_text(two, two.iou, 100), gain))
    rows.sort(key=lambda row: (row[0], int(row[1])))
    note = "Foreground IoU in per cent at 384×384: median (minimum to maximum) over the seeds."
    header = ("data set", "shots", "method", "random", other.support, "difference of medians")
    return Table(f"Random against {other.support} support", note, header, tuple(rows), words=frozenset({0, 2}))


def failed_table(summary: Summary) -> Table | None:
    """Cells without a result; None if there are none."""
    if not summary.failed:
        return None
    keys = ("dataset", "method", "shots", "seed")
    rows = [(*(str(row[key]) for key in keys), " ".join(row["error"]["message"].split())) for row in summary.failed]
    return Table(
        "Failed", "", ("data set", "method", "shots", "seed", "error"), tuple(rows), words=frozenset({0, 1, 4})
    )


def typical_fit(entry: Entry) -> float | None:
    """Median seconds of ``fit``."""
    spread = entry.spread("seconds", "fit")
    return statistics.median(spread.values) if spread else None
