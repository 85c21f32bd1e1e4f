"""From rows of results to what a report says: medians with ranges, ranks, which test images to show."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any

from distillfss.bench.current import current, settings_of
from distillfss.bench.methods.base import MethodSettings
from distillfss.bench.methods.variants import base_of
from distillfss.bench.results import DONE, Row

DEFAULTS = asdict(MethodSettings())


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing, at least one."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """``55.6 (42.4 to 59.2)``, or ``55.6`` if there is one."""
        shown = [f"{scale * value:.{digits}f}" for value in (self.median, min(self.values), max(self.values))]
        return shown[0] if len(self.values) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


@dataclass(frozen=True)
class Entry:
    """One method at one number of shots on one data set: a row per seed."""

    done: tuple[Row, ...]
    failed: tuple[Row, ...]

    @property
    def seeds(self) -> frozenset[int]:
        return frozenset(row["seed"] for row in (*self.done, *self.failed))

    def of_seeds(self, seeds: Collection[int]) -> Entry:
        """What is there of these seeds."""
        done, failed = (tuple(row for row in rows if row["seed"] in seeds) for rows in (self.done, self.failed))
        return Entry(done, failed)

    def spread(self, *path: str) -> Spread | None:
        """Of a number in the rows, such as ``("result", "foreground_iou_384")``; None if no row has it."""
        values = []
        for row in self.done:
            value: Any = row
            for key in path:
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None:
                values.append(float(value))
        return Spread(tuple(values)) if values else None

    @property
    def iou(self) -> Spread | None:
        """Foreground IoU at 384×384, 0 to 1."""
        return self.spread("result", "foreground_iou_384")

    @property
    def score(self) -> float:
        """What is ranked: the median IoU over the seeds, where a seed that failed is below everything."""
        known = self.iou.values if self.iou else ()
        return statistics.median([*known, *[-math.inf] * (len(self.seeds) - len(known))])


def on_common_seeds(whole: Entry | None, part: Entry | None) -> tuple[Entry, Entry] | None:
    """Both, as far as they have the same seeds; None where nothing can be said."""
    if whole is None or part is None:
        return None
    common = whole.seeds & part.seeds
    whole, part = whole.of_seeds(common), part.of_seeds(common)
    known = common and math.isfinite(whole.score) and math.isfinite(part.score)
    return (whole, part) if known else None


@dataclass(frozen=True)
class Ranks:
    """Mean ranks, 1 is best.

    Attributes
    ----------
    overall
        By label, over all contests.
    by_shots
        By number of shots, then by label.
    contests
        (data set, shots) that were ranked: every method took part with the same seeds.
    left_out
        The others.
    partial
        Methods without a rank: run on fewer than half of the data sets, they would leave hardly a contest to the rest.
    """

    overall: dict[str, float]
    by_shots: dict[int, dict[str, float]]
    contests: tuple[tuple[str, int], ...]
    left_out: tuple[tuple[str, int], ...]
    partial: tuple[str, ...]


@dataclass
class Arena:
    """What can be compared: one protocol, one kind of support, one number of unlabelled images.

    Attributes
    ----------
    entries
        By data set, shots and label of a method.
    variants
        The same of methods with a knob turned, where the method itself is in ``entries``: they take no part in the
        comparison of methods.
    """

    protocol: str
    support: str
    unlabeled: int
    entries: dict[tuple[str, int, str], Entry] = field(default_factory=dict)
    variants: dict[tuple[str, int, str], Entry] = field(default_factory=dict)

    @cached_property
    def datasets(self) -> list[str]:
        return sorted({dataset for dataset, _, _ in self.entries})

    @cached_property
    def labels(self) -> list[str]:
        """The methods, best mean rank first; without ranks in the order in which they came."""
        came = list(dict.fromkeys(label for _, _, label in self.entries))
        return sorted(came, key=lambda label: self.ranks.overall.get(label, math.inf))

    def shots(self, dataset: str | None = None) -> list[int]:
        """Numbers of shots of a data set, or of all."""
        return sorted({shots for name, shots, _ in self.entries if dataset in (None, name)})

    def entry(self, dataset: str, shots: int, label: str) -> Entry | None:
        return self.entries.get((dataset, shots, label))

    def of(self, dataset: str | None = None, shots: int | None = None, label: str | None = None) -> list[Entry]:
        """The entries that match what is given."""
        asked = (dataset, shots, label)
        return [
            entry
            for place, entry in self.entries.items()
            if all(want in (None, have) for want, have in zip(asked, place, strict=True))
        ]

    @cached_property
    def ranks(self) -> Ranks:
        """See ``Ranks``; equal scores share the mean of their ranks."""
        came = list(dict.fromkeys(label for _, _, label in self.entries))
        labels = [label for label in came if 2 * self._run_on(label) >= len(self.datasets)]
        places = sorted({(dataset, shots) for dataset, shots, _ in self.entries})
        ranked: dict[tuple[str, int], dict[str, float]] = {}
        for dataset, shots in places:
            entries = {label: self.entries.get((dataset, shots, label)) for label in labels}
            there = {label: entry for label, entry in entries.items() if entry is not None}
            if len(there) == len(labels) > 1 and len({entry.seeds for entry in there.values()}) == 1:
                ranked[dataset, shots] = rank({label: entry.score for label, entry in there.items()})
        by_shots = {
            shots: _means([ranks for (_, k), ranks in ranked.items() if k == shots])
            for shots in sorted({shots for _, shots in ranked})
        }
        left_out = tuple(place for place in places if place not in ranked)
        partial = tuple(label for label in came if label not in labels)
        return Ranks(_means(list(ranked.values())), by_shots, tuple(ranked), left_out, partial)

    def _run_on(self, label: str) -> int:
        """Number of data sets that a method was run on."""
        return len({dataset for dataset, _, each in self.entries if each == label})


def rank(scores: Mapping[str, float]) -> dict[str, float]:
    """1 for the highest; equal ones share the mean of the ranks they take up."""
    ordered = sorted(scores.values(), reverse=True)
    return {label: ordered.index(score) + (ordered.count(score) + 1) / 2 for label, score in scores.items()}


def _means(ranks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {label: statistics.fmean(each[label] for each in ranks) for label in (ranks[0] if ranks else ())}


@dataclass(frozen=True)
class Summary:
    """Everything that a report says about measured cells.

    Attributes
    ----------
    arenas
        Protocol by protocol, within it random support first.
    rows
        The newest row of every method, data set, shots and seed.
    superseded, outdated
        How many rows were left out, see ``current``.
    common
        Settings that all rows share; the others are part of the labels.
    """

    arenas: tuple[Arena, ...]
    rows: tuple[Row, ...]
    superseded: int
    outdated: int
    common: dict[str, Any]

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row["status"] != DONE]


def summarise(rows: Iterable[Row]) -> Summary:
    """Sort rows, in the order in which they were written, into arenas."""
    recent = current(rows)
    kept = recent.rows
    common = _common([settings_of(row) for row in kept])
    found: dict[tuple[str, str, int], Arena] = {}
    grouped: dict[tuple[str, str, int], dict[tuple[str, int, str], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in kept:
        place = (row["dataset"], row["shots"], label_of(row, common))
        grouped[row["protocol"], row["support"], row["unlabeled"]][place].append(row)
    for (protocol, support, unlabeled), places in sorted(grouped.items(), key=lambda item: _order(item[0])):
        arena = found[protocol, support, unlabeled] = Arena(protocol, support, unlabeled)
        labels = {label for _, _, label in places}
        for place, members in places.items():
            members.sort(key=lambda row: row["seed"])
            done = tuple(row for row in members if row["status"] == DONE)
            failed = tuple(row for row in members if row["status"] != DONE)
            varies = place[2] != base_of(place[2]) in labels
            (arena.variants if varies else arena.entries)[place] = Entry(done, failed)
    return Summary(tuple(found.values()), kept, recent.superseded, recent.outdated, common)


def _order(key: tuple[str, str, int]) -> tuple[str, bool, str, int]:
    protocol, support, unlabeled = key
    return protocol, support != "random", support, unlabeled


def _common(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = settings[0] if settings else {}
    return {key: value for key, value in first.items() if all(each.get(key) == value for each in settings)}


def label_of(row: Row, common: Mapping[str, Any]) -> str:
    """``distill``, or ``distill (effort 0.5)`` if the report holds several efforts and this is not the default."""
    own = {key: value for key, value in settings_of(row).items() if key not in common and value != DEFAULTS.get(key)}
    several = [setting_text(key, value) for key, value in own.items()]
    return f"{row['method']} ({', '.join(several)})" if several else str(row["method"])


def setting_text(name: str, value: Any) -> str:
    """``effort 0.5``; of a file only its name."""
    if name == "init":
        value = PurePath(str(value)).name
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


@dataclass(frozen=True)
class Shown:
    """Which cells and which test images the pictures are of.

    Attributes
    ----------
    rows
        By label, at the same shots and seed.
    median, worst
        Names of test images, by the mean over the methods of the image's IoU at 384×384.
    """

    shots: int
    seed: int
    rows: dict[str, Row]
    median: str
    worst: str


def shown_images(arena: Arena, dataset: str) -> Shown | None:
    """The most shots at which most methods have a result with masks, and their smallest common seed; None without."""
    best: tuple[int, int, int] | None = None
    for shots in arena.shots(dataset):
        for seed in {row["seed"] for entry in arena.of(dataset, shots) for row in entry.done}:
            number = len(_with_masks(arena, dataset, shots, seed))
            best = max(best or (0, 0, 0), (number, shots, -seed))
    if best is None or best[0] == 0:
        return None
    shots, seed = best[1], -best[2]
    rows = _with_masks(arena, dataset, shots, seed)
    scores: dict[str, list[float]] = defaultdict(list)
    for row in rows.values():
        for image in row["result"]["images"]:
            if image["iou_384"] is not None:
                scores[image["image"]].append(image["iou_384"])
    ordered = sorted((statistics.fmean(each), name) for name, each in scores.items() if len(each) == len(rows))
    if not ordered:
        return None
    return Shown(shots, seed, rows, median=ordered[(len(ordered) - 1) // 2][1], worst=ordered[0][1])


def _with_masks(arena: Arena, dataset: str, shots: int, seed: int) -> dict[str, Row]:
    found = {}
    for label in arena.labels:
        entry = arena.entry(dataset, shots, label)
        for row in entry.done if entry else ():
            if row["seed"] == seed and row.get("masks"):
                found[label] = row
    return found
