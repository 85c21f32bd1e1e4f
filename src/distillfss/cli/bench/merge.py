"""``distillfss bench merge RESULTS... --out FOLDER``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distillfss.cli import options
from distillfss.cli.display import display
from distillfss.errors import OutputError, UsageError


@click.command("merge", short_help="Several folders of results as a small one, to publish or go on from.")
@click.argument("results", type=options.PATH, nargs=-1)
@click.option(
    "--out",
    "-o",
    type=options.PATH,
    required=True,
    help="A folder for the rows. It may be one of RESULTS if it was written by this command.",
)
@click.option("--overwrite", is_flag=True, help="Replace the results in that folder.")
@options.as_json
@options.debug
def command(results: tuple[Path, ...], out: Path, overwrite: bool, as_json: bool, debug: bool) -> dict[str, Any]:
    """Put together what 'bench run' wrote to the folders RESULTS, on one machine or several.

    What is kept is what a report shows: the newest row of every cell, without masks, the figures of single images and
    the folders of this machine; about 2 kB per cell. 'bench report' takes the new folder like any other, and a 'bench
    run' into it, or into a copy of it, computes only what is not there.
    """
    if not results:
        raise UsageError("no results are named", cure="Name the folders that 'distillfss bench run' wrote")
    from distillfss.bench.merging import is_merged, merge
    from distillfss.bench.report.provenance import left_out
    from distillfss.bench.results import ResultsFolder

    target = ResultsFolder(out)
    among = out.resolve() in {path.resolve() for path in results}
    if target.rows_file.exists() and not overwrite and not (among and is_merged(target)):
        problem = "holds results with all their details, which would be lost" if among else "holds other results"
        raise OutputError(problem, cure="Choose another folder or add --overwrite", path=out)
    folders = [ResultsFolder(path) for path in dict.fromkeys(results)]
    with display() as show:
        for folder in folders:
            if said := folder.passed_over():
                show.note(said)
        kept = merge(folders, target)
    cells = len(kept.rows)
    if not as_json:
        click.echo(f"cells      {cells}")
        for _, what in left_out(kept):
            click.echo(f"left out   {what}")
        click.echo(f"rows       {target.rows_file} ({options.megabytes(target.rows_file)})")
    return {"out": str(out), "cells": cells, "superseded": kept.superseded, "outdated": kept.outdated}
