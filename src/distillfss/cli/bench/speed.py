"""``distillfss bench speed``"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.bench.surroundings import BUSY, commit, cores, machine, versions
from distillfss.cli import options
from distillfss.cli.bench.run import ManyValues
from distillfss.cli.display import display
from distillfss.io.files import atomic_write

if TYPE_CHECKING:
    from distillfss.bench.speed.rows import Measured

MARKDOWN, PAGE, FIGURES, PLOTS = "speed.md", "speed.html", "speed.json", "plots"
# The defaults of distillfss.bench.speed.rows.Plan, which would import PyTorch.
SHOTS, WAYS, SIZES = (1, 5, 25, 80), (1, 5, 20), (256, 384, 512)


@click.command("speed", cls=ManyValues, short_help="Latency, memory and size of teacher and student.")
@click.option("--shots", type=click.IntRange(1, 1000), multiple=True, default=SHOTS, metavar="K...", show_default=True)
@click.option("--ways", type=click.IntRange(1, 100), multiple=True, default=WAYS, metavar="N...", show_default=True)
@click.option(
    "--sizes",
    "--size",
    type=click.IntRange(32, 4096),
    multiple=True,
    default=SIZES,
    metavar="PX...",
    show_default=True,
    help="Sides of square images at work, multiples of 32.",
)
@click.option("--backbone", metavar="NAME", default="efficientnet_lite0", show_default=True)
@click.option("--dcama", is_flag=True, help="Measure the paper's teacher and student, too (--backbone resnet50).")
@click.option("--repeats", type=click.IntRange(1), default=50, show_default=True, help="Rounds that count.")
@click.option("--warm-up", type=click.IntRange(0), default=10, show_default=True, help="Rounds before them.")
@click.option("--threads", type=click.IntRange(1), help="Of one forward pass. [all cores]")
@click.option("--no-onnx", is_flag=True, help="Leave out ONNX Runtime.")
@click.option("--no-memory", is_flag=True, help="Leave out peak memory, which takes a process per figure.")
@click.option("--out", "-o", type=options.PATH, metavar="FOLDER", help="Write tables, plots and figures there, too.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier measurement in it.")
@options.as_json
@options.debug
def command(
    shots: tuple[int, ...],
    ways: tuple[int, ...],
    sizes: tuple[int, ...],
    backbone: str,
    dcama: bool,
    repeats: int,
    warm_up: int,
    threads: int | None,
    no_onnx: bool,
    no_memory: bool,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Time teacher and student on this machine's CPU, with the backbone alone as the floor in the same run.

    One of shots, ways and size changes at a time, around 5 shots, 1 way and 384 px (or the first value given, if that
    is not among them). Weights and images are random, so nothing has to be fitted or fetched. Nothing else should run
    meanwhile; with all defaults it takes several minutes.

    FOLDER gets speed.html, one page with everything inside, speed.md with its plots, and speed.json with the duration
    of every call.
    """
    if out is not None:
        options.check_new_file(out / FIGURES, overwrite)
    before = surroundings()
    with display() as show:
        show.update("loading PyTorch")
        from distillfss.bench.report.plots import check_matplotlib
        from distillfss.bench.speed.measuring import measure
        from distillfss.bench.speed.report import axis_table, content_of, introduction, markdown, page, terminal_lines
        from distillfss.bench.speed.rows import Plan
        from distillfss.bench.speed.subjects import OURS, PAPER

        if out is not None:
            check_matplotlib()
        plan = Plan(
            backbone=backbone,
            shots=shots,
            ways=ways,
            sizes=sizes,
            subjects=(*OURS, *(PAPER if dcama else ())),
            repeats=repeats,
            warm_up=warm_up,
            threads=threads or cores(),
            onnx=not no_onnx,
            memory=not no_memory,
        )
        measured = measure(plan, show.update)
        notices = quietness(before["load_before"])
        report = document(measured, before)
        if out is not None:
            show.update("writing the report")
            content = content_of(measured, spelled(), provenance(report), notices)
            options.make_folder(out / PLOTS)
            for plot in content.plots:
                atomic_write(out / PLOTS / f"{plot.name}.svg", plot.on_white().encode())
            atomic_write(out / MARKDOWN, markdown(content).encode())
            atomic_write(out / PAGE, page(content).encode())
            atomic_write(out / FIGURES, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
            report["page"] = str(out / PAGE)
    if not as_json:
        for text in (introduction(measured), *notices):
            click.echo(click.wrap_text(text, width=100) + "\n")
        for axis in measured.axes:
            click.echo("\n".join(terminal_lines(axis_table(measured, axis))) + "\n")
        for name, text in provenance(report):
            click.echo(f"{name:<10} {text}")
        if out is not None:
            click.echo(f"{'page':<10} {out / PAGE} ({options.megabytes(out / PAGE)})")
    return report


def surroundings() -> dict[str, Any]:
    """What has to be looked at before minutes of work: the checkout may be edited meanwhile."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"when": when, "load_before": busy(), "commit": commit()}


def busy() -> float | None:
    """How many processes wanted a core during the last minute; None where nobody counts them."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def quietness(load: float | None) -> list[str]:
    """What a reader has to know if the machine had other work."""
    if load is None or load < BUSY:
        return []
    return [
        f"The machine was not quiet: in the minute before, {load:g} processes wanted one of its {os.cpu_count()} "
        "cores. Milliseconds are too high; ratios suffer less, but with several threads they suffer too."
    ]


def document(measured: Measured, before: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, and with what."""
    from distillfss.bench.speed import onnx_runtime

    plan = measured.plan
    return {
        "command": spelled(),
        **before,
        "machine": machine(),
        "threads": plan.threads,
        "versions": versions() | (onnx_runtime.versions() if plan.onnx else {}),
        "backbone": plan.backbone,
        "weights": "random",
        "repeats": plan.repeats,
        "warm_up": plan.warm_up,
        "idle_mib": {name: round(mib, 1) for name, mib in measured.idle_mib.items()},
        "rows": [row.to_dict() for row in measured.rows],
    }


def provenance(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for people, without the rows."""
    facts = [
        ("machine", report["machine"]),
        ("threads", str(report["threads"])),
        ("load", "" if report["load_before"] is None else f"{report['load_before']:g} in the minute before"),
        ("versions", " ".join(f"{name} {number}" for name, number in report["versions"].items())),
        ("commit", report["commit"]),
        ("when", report["when"]),
    ]
    return [(name, text) for name, text in facts if text]


def spelled() -> str:
    """The command of this run, with every setting that is not the default."""
    context = click.get_current_context()
    words: list[str] = ["bench", "speed"]
    for parameter in context.command.params:
        value = context.params[parameter.name or ""]
        # by identity: 0 is a value, though it equals False
        if parameter.name in ("out", "overwrite", "as_json", "debug") or value is None or value is False:
            continue
        if value == parameter.default:
            continue
        flag = parameter.opts[0]
        words += [flag] if value is True else [flag, *map(str, value if isinstance(value, tuple) else (value,))]
    return options.shell(*words)
