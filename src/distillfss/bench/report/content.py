"""Everything a report says, in order, for both its forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distillfss.bench.current import unlabeled_given
from distillfss.bench.protocol import PROTOCOLS, SUPPORT_TEXTS, methods_text
from distillfss.bench.report import ablation, overall, plots, published_tables, tables
from distillfss.bench.report.pictures import Gallery, gallery
from distillfss.bench.report.plots import Plot
from distillfss.bench.report.provenance import provenance
from distillfss.bench.report.tables import Table
from distillfss.bench.results import Gathered, ResultsFolder, Row
from distillfss.bench.summary import Arena, Summary, summarise
from distillfss.errors import DataError


@dataclass(frozen=True)
class DatasetPart:
    """One data set in one arena."""

    accuracy: Table
    own_size: Table
    classes: Table | None
    published: Table | None
    gallery: Gallery | None


@dataclass(frozen=True)
class ArenaPart:
    """One arena: what is comparable, and the comparison."""

    title: str
    protocol: str
    support: str
    overall: tuple[Table, ...]
    rank_plot: Plot | None
    plots: tuple[Plot, ...]
    datasets: tuple[DatasetPart, ...]
    ablations: tuple[Table, ...]
    cost: Table


@dataclass(frozen=True)
class SupportPart:
    """Random against chosen support."""

    table: Table
    plot: Plot | None


@dataclass(frozen=True)
class Content:
    """A report."""

    cells: int
    methods: tuple[str, ...]
    methods_text: str
    arenas: tuple[ArenaPart, ...]
    supports: tuple[SupportPart, ...]
    datasets: Table
    failed: Table | None
    published: Table
    commands: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]

    @property
    def plots(self) -> list[Plot]:
        """All drawings."""
        found = [p for arena in self.arenas for p in (arena.rank_plot, *arena.plots)]
        return [p for p in [*found, *(part.plot for part in self.supports)] if p is not None]


def content_of(folders: Sequence[ResultsFolder], data: Path | None = None, *, pictures: bool = True) -> Content:
    """Put a report together.

    Parameters
    ----------
    folders
        Where the results are, at least one.
    data
        The folder of data sets, for the pictures; by default where the last run found them.
    pictures
        Whether to show test images.

    Raises
    ------
    DataError
        If there are no results.
    UsageError
        If Matplotlib is missing.
    """
    plots.check_matplotlib()
    for folder in folders:
        if not folder.rows():
            raise DataError("holds no results", cure="Make some with 'distillfss bench run'", path=folder.rows_file)
    gathered = Gathered(folders)
    rows = gathered.rows()
    summary = summarise(rows.values())
    runs = gathered.runs()
    root = (data or data_of(runs)) if pictures else None
    methods = tuple(dict.fromkeys(label for arena in summary.arenas for label in arena.labels))
    parts = []
    for number, arena in enumerate(summary.arenas):
        galleries = [gallery(arena, dataset, gathered, root) if pictures else None for dataset in arena.datasets]
        parts.append(_arena_part(arena, galleries, number, methods))
    return Content(
        cells=len(summary.rows),
        methods=methods,
        methods_text=methods_text(methods),
        arenas=tuple(parts),
        supports=tuple(_supports(summary, methods)),
        datasets=tables.dataset_table(summary),
        failed=tables.failed_table(summary),
        published=published_tables.published_table(),
        commands=commands_of(runs, summary.rows),
        provenance=tuple(provenance(summary)),
    )


def data_of(runs: Sequence[Row]) -> Path | None:
    """Where the last run found its data sets, if that folder is still there."""
    for run in reversed(runs):
        path = Path(str(run.get("data", "")))
        if run.get("data") and path.is_dir():
            return path
    return None


def commands_of(runs: Sequence[Row], rows: Sequence[Row]) -> tuple[str, ...]:
    """The commands that asked for any of these rows, each once."""
    keys = {row["key"] for row in rows}
    return tuple(dict.fromkeys(str(run["command"]) for run in runs if keys & set(run.get("cells", ()))))


def _arena_part(arena: Arena, galleries: Sequence[Gallery | None], number: int, methods: Sequence[str]) -> ArenaPart:
    title = f"Protocol “{arena.protocol}”, {arena.support} support"
    if arena.unlabeled:
        title += f", {_unlabeled_text(arena)} images without annotation"
    # only there are the splits and shots those of the published figures
    paper = arena.protocol == "paper" and arena.support == "even"
    parts = []
    for dataset, shown in zip(arena.datasets, galleries, strict=True):
        parts.append(
            DatasetPart(
                accuracy=tables.accuracy_table(arena, dataset),
                own_size=tables.accuracy_table(arena, dataset, own_size=True),
                classes=tables.class_table(arena, dataset),
                published=published_tables.published_beside(dataset, arena.shots(dataset)) if paper else None,
                gallery=shown,
            )
        )
    known = PROTOCOLS.get(arena.protocol)
    found = (overall.mean_table(arena), overall.difference_table(arena), tables.rank_table(arena))
    return ArenaPart(
        title=title,
        protocol=known.text if known else "",
        support=SUPPORT_TEXTS.get(arena.support, arena.support),
        overall=tuple(table for table in found if table is not None),
        rank_plot=plots.mean_ranks(arena, f"ranks-{number}", methods),
        plots=(
            plots.iou_over_shots(arena, f"shots-{number}", methods),
            plots.iou_over_seconds(arena, f"seconds-{number}", methods),
        ),
        datasets=tuple(parts),
        ablations=tuple(ablation.ablation_tables(arena)),
        cost=tables.cost_table(arena),
    )


def _unlabeled_text(arena: Arena) -> str:
    """``500``, or ``up to 500`` where a pool did not hold so many."""
    entries = (*arena.entries.values(), *arena.variants.values())
    given = [unlabeled_given(row) for entry in entries for row in (*entry.done, *entry.failed)]
    fewer = any(number is not None and number < arena.unlabeled for number in given)
    return f"{'up to ' * fewer}{arena.unlabeled}"


def _supports(summary: Summary, methods: Sequence[str]) -> list[SupportPart]:
    found = []
    for number, (random, other) in enumerate(tables.support_pairs(summary)):
        table = tables.support_table(random, other)
        if table.rows:
            plot = plots.random_against(random, other, f"support-{number}", methods)
            found.append(SupportPart(table, plot))
    return found
