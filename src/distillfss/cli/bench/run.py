"""``distillfss bench run --data ROOT --datasets A B --methods X Y --shots 1 5 --seeds 0 1 2``"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import Display, display
from distillfss.cli.running import Finished, one_line
from distillfss.errors import UsageError

if TYPE_CHECKING:
    from distillfss.bench.executors import Executor
    from distillfss.bench.results import Row
    from distillfss.bench.runner import Summary

# The keys of distillfss.bench.protocol.PROTOCOLS and SUPPORT_TEXTS, which would import NumPy.
PROTOCOL_NAMES = ("locked", "paper")
SUPPORT_NAMES = ("random", "even", "picked")
SHOTS = (1, 5, 25, 50)


class ManyValues(click.Command):
    """A command whose options with ``multiple=True`` take several words: ``--shots 1 5 25``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the option before each of its words, which is the form click knows."""
        several = {name for p in self.params if getattr(p, "multiple", False) for name in p.opts}
        spelled: list[str] = []
        option, taken = "", 0
        for word in args:
            if word.startswith("-") and not word.lstrip("-").isdecimal():
                option, taken = (word, 0) if word in several else ("", 0)
                spelled.append(word)
            elif option:
                spelled += [option, word] if taken else [word]
                taken += 1
            else:
                spelled.append(word)
        return super().parse_args(ctx, spelled)


@click.command("run", cls=ManyValues, short_help="Fit and test methods on data sets, shots and seeds.")
@click.option(
    "--data", type=options.PATH, required=True, metavar="ROOT", help="A folder of data sets, in any format 'fit' reads."
)
@click.option("--datasets", multiple=True, required=True, metavar="NAME...", help="Data sets in it.")
@click.option(
    "--methods",
    multiple=True,
    metavar="NAME...",
    help="Methods to compare, or classes of yours as package.module:Class; distill@jitter=0 turns a knob of FitConfig. "
    "[all of ours]",
)
@click.option("--shots", type=click.IntRange(1), multiple=True, metavar="K...", help="Support sizes. [1 5 25 50]")
@click.option(
    "--seeds",
    type=click.IntRange(0, 2**32 - 1),
    multiple=True,
    metavar="N...",
    help="Each is a support draw of its own. [0 1 2; of the paper's protocol 0]",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOL_NAMES),
    default=PROTOCOL_NAMES[0],
    show_default=True,
    help="Who is tested, and what may be learnt from: ours, or the paper's to compare with its tables.",
)
@click.option("--support", type=click.Choice(SUPPORT_NAMES), help="How support is chosen. [as the protocol says]")
@click.option(
    "--unlabeled",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Images of the pool, never test images, that methods get without annotation.",
)
@click.option("--out", "-o", type=options.PATH, default=Path("results"), show_default=True, help="Folder of results.")
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True, help="Cells at a time.")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processes on this machine, or on every node of a Ray cluster (then --jobs is per node).",
)
@click.option("--ray-address", metavar="ADDRESS", help="Of an existing Ray cluster, 'auto' for the one around here.")
@click.option("--retry", is_flag=True, help="Compute cells again that failed.")
@click.option("--fresh", is_flag=True, help="Compute every cell again, also those that are there.")
@click.option("--no-masks", is_flag=True, help="Do not keep the predicted masks; the report then has no pictures.")
@click.option("--backbone", metavar="NAME", default="efficientnet_lite0", show_default=True)
@click.option(
    "--size",
    type=click.IntRange(64, 2048),
    default=384,
    show_default=True,
    help="Working resolution; if it is 384, fits of ours go up to 640 or 896 for thin objects.",
)
@options.effort
@click.option(
    "--init", metavar="auto|scratch|FILE", default="auto", show_default=True, help="What teachers start from."
)
@options.device
@options.as_json
@options.debug
def command(
    data: Path,
    datasets: tuple[str, ...],
    methods: tuple[str, ...],
    shots: tuple[int, ...],
    seeds: tuple[int, ...],
    protocol: str,
    support: str | None,
    unlabeled: int,
    out: Path,
    jobs: int,
    executor: str,
    ray_address: str | None,
    retry: bool,
    fresh: bool,
    no_masks: bool,
    backbone: str,
    size: int,
    effort: float,
    init: str,
    device: str,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Fit every method on every data set, number of shots and seed, and test it on the data set's locked test set.

    A result is kept as soon as it is there. A run may be stopped at any moment, even killed: the same command goes on.
    What was computed already, with the same data, settings and versions, is not computed again. A cell that fails is
    recorded, the others go on, and the exit code is 1.

    A method of yours is a class with fit() and identity(), see distillfss.bench.methods.base; what identity() returns
    has to change whenever its results do.
    """
    started = time.perf_counter()
    chosen = _executor(executor, jobs, ray_address, device)
    with display() as show:
        show.update("loading PyTorch")
        from distillfss.bench.cells import Plan, make_cells
        from distillfss.bench.methods.base import MethodSettings
        from distillfss.bench.protocol import PROTOCOLS
        from distillfss.bench.results import ResultsFolder
        from distillfss.bench.runner import manifest, run
        from distillfss.bench.surroundings import commit

        plan = Plan(
            data=data,
            datasets=list(dict.fromkeys(datasets)),
            methods=list(dict.fromkeys(methods)) or _all_methods(),
            shots=sorted(set(shots)) or SHOTS,
            seeds=sorted(set(seeds)) or PROTOCOLS[protocol].seeds,
            protocol=protocol,
            support=support or PROTOCOLS[protocol].support,
            unlabeled=unlabeled,
            settings=MethodSettings(backbone=backbone, size=size, device=device, effort=effort, init=init),
        )
        folder = ResultsFolder(out)
        folder.make()
        with folder.locked():
            if said := folder.passed_over():
                show.note(said)
            cells = make_cells(plan, folder.contents_file, show.update, show.note)
            more = {"protocol": protocol, "executor": executor, "jobs": jobs, "commit": commit()}
            folder.add_run(manifest(spelled(plan.methods), data, cells, **more))
            summary = run(
                cells,
                folder,
                chosen,
                data,
                masks=not no_masks,
                retry=retry,
                fresh=fresh,
                progress=lambda done, number: show.update("computing cells", done, number),
                note=lambda row: _note(show, row),
            )
    report = {
        "out": str(out),
        "cells": summary.asked,
        "computed": summary.computed,
        "cached": summary.cached,
        "failed": [{"key": row["key"], **_where(row), "error": row["error"]["message"]} for row in summary.failed],
        "seconds": round(time.perf_counter() - started, 1),
    }
    if not as_json:
        _print(report, summary, out)
    if summary.failed:
        raise Finished(1, report)
    return report


def _executor(name: str, jobs: int, address: str | None, device: str) -> Executor:
    from distillfss.bench.executors import LocalExecutor, RayExecutor

    if name == "ray":
        return RayExecutor(jobs, address, gpu=device == "cuda")
    if address is not None:
        raise UsageError("--ray-address without Ray", cure="Add --executor ray")
    return LocalExecutor(jobs)


def _all_methods() -> list[str]:
    from distillfss.bench.methods import METHODS

    return list(METHODS)


def _where(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in ("dataset", "method", "shots", "seed")}


def _title(row: Row) -> str:
    return f"{row['dataset']}, {row['method']}, {row['shots']} shot{'s' * (row['shots'] != 1)}, seed {row['seed']}"


def _note(show: Display, row: Row) -> None:
    """One line per cell."""
    if row["status"] == "failed":
        show.note(f"{_title(row)}: failed, {row['error']['message']}")
        return
    iou = row["result"]["foreground_iou_384"]
    score = "no score" if iou is None else f"{100 * iou:.1f} % IoU"
    said = [score, f"fit in {options.duration(row['seconds']['fit'])}", f"{row['peak_mb']} MiB"]
    if skipped := row["result"]["skipped"]:
        said.append(f"{len(skipped)} of {len(row['test_names'])} test images could not be read")
    show.note(f"{_title(row)}: {', '.join(said)}")


def _print(report: dict[str, Any], summary: Summary, out: Path) -> None:
    """What a person wants to know after a run."""
    click.echo(f"cells      {summary.asked}: {summary.computed} computed, {summary.cached} there already")
    click.echo(f"took       {options.duration(report['seconds'])}")
    if summary.failed:
        click.echo(f"failed     {len(summary.failed)}; --retry computes them again, {out / 'logs'} says more:")
        for row in summary.failed:
            click.echo(f"  {_title(row)}: {one_line(row['error']['message'])}")
    click.echo("")
    click.echo("Next, tables and plots:")
    click.echo(f"  {options.shell('bench', 'report', out, '--out', 'REPORT')}")


def spelled(methods: Sequence[str]) -> str:
    """The command of this run, with placeholders for folders, to print in a report: the same cells for anyone."""
    context = click.get_current_context()
    words: list[str] = ["bench", "run", "--data", "DATA"]
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params[name]
        if name in ("data", "out", "as_json", "debug", "ray_address", "jobs", "executor", "retry", "fresh"):
            continue
        if name == "methods":
            value = tuple(methods)
        if name == "init" and value not in ("auto", "scratch"):
            value = Path(value).name
        if value is None or value is False or value == ():
            continue
        if value == parameter.default and not isinstance(value, tuple):
            continue
        flag = parameter.opts[0]
        words += [flag] if value is True else [flag, *map(str, value if isinstance(value, tuple) else (value,))]
    return options.shell(*words, "--out", "RESULTS")
