"""``distillfss bench report RESULTS --out FOLDER``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distillfss.cli import options
from distillfss.cli.display import display
from distillfss.errors import OutputError
from distillfss.io.files import atomic_write

MARKDOWN, PAGE, PLOTS = "report.md", "report.html", "plots"


@click.command("report", short_help="Tables, plots and pictures of what was run.")
@options.path_argument("results")
@click.option("--out", "-o", type=options.PATH, required=True, help="The folder to write to.")
@click.option("--data", type=options.PATH, help="The folder of data sets, for pictures. [as in the last run]")
@click.option("--no-pictures", is_flag=True, help="Show no test images, so that the page may be given to anyone.")
@click.option("--overwrite", is_flag=True, help="Write to a folder that holds other files.")
@options.as_json
@options.debug
def command(
    results: Path, out: Path, data: Path | None, no_pictures: bool, overwrite: bool, as_json: bool, debug: bool
) -> dict[str, Any]:
    """Sum up what 'bench run' wrote to the folder RESULTS.

    FOLDER gets report.html, one page with everything inside, and report.md with its plots, for a repository. The
    Markdown holds no test images, whose licences differ; neither does the page with --no-pictures.
    """
    check_folder(out, overwrite)
    with display() as show:
        show.update("reading results")
        from distillfss.bench.report.content import content_of
        from distillfss.bench.report.markdown import markdown_report
        from distillfss.bench.report.page import report_page
        from distillfss.bench.results import ResultsFolder

        show.update("drawing")
        content = content_of(ResultsFolder(results), data, pictures=not no_pictures)
        show.update("writing the report")
        options.make_folder(out / PLOTS)
        for plot in content.plots:
            atomic_write(out / PLOTS / f"{plot.name}.svg", plot.on_white().encode())
        atomic_write(out / MARKDOWN, markdown_report(content).encode())
        atomic_write(out / PAGE, report_page(content).encode())
    report = {
        "page": str(out / PAGE),
        "markdown": str(out / MARKDOWN),
        "cells": content.cells,
        "failed": len(content.failed.rows) if content.failed else 0,
    }
    if not as_json:
        click.echo(f"page       {report['page']} ({options.megabytes(out / PAGE)})")
        click.echo(f"markdown   {report['markdown']}")
        click.echo(f"cells      {content.cells}, {report['failed']} of them failed")
    return report


def check_folder(out: Path, overwrite: bool) -> None:
    """Before any work: refuse a folder that holds other things than an older report."""
    options.make_folder(out)
    others = sorted(path.name for path in out.iterdir() if path.name not in (MARKDOWN, PAGE, PLOTS))
    if others and not overwrite:
        cure = "Choose another folder or add --overwrite"
        raise OutputError(f"holds other files ({', '.join(others[:3])})", cure=cure, path=out)
    options.check_writable(out / PAGE)
