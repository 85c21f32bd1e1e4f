"""``distillfss bench report RESULTS... --out FOLDER --markdown FILE``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import display
from distillfss.errors import OutputError, UsageError
from distillfss.io.files import atomic_write

if TYPE_CHECKING:
    from distillfss.bench.report.content import Content

MARKDOWN, PAGE, PLOTS = "report.md", "report.html", "plots"


@click.command("report", short_help="Tables, plots and pictures of what was run.")
@click.argument("results", type=options.PATH, nargs=-1)
@click.option("--out", "-o", type=options.PATH, help="A folder for the page, the Markdown and its plots.")
@click.option(
    "--markdown",
    type=options.PATH,
    metavar="FILE",
    help="A file for the Markdown, such as docs/results.md; its plots go to a folder beside it. Replaces an older one.",
)
@click.option("--data", type=options.PATH, help="The folder of data sets, for pictures. [as in the last run]")
@click.option("--no-pictures", is_flag=True, help="Show no test images, so that the page may be given to anyone.")
@click.option("--overwrite", is_flag=True, help="Write to a folder, or over a file, that is no older report.")
@options.as_json
@options.debug
def command(
    results: tuple[Path, ...],
    out: Path | None,
    markdown: Path | None,
    data: Path | None,
    no_pictures: bool,
    overwrite: bool,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Sum up what 'bench run' wrote to the folders RESULTS, one or several.

    --out gets report.html, one page with everything inside, and report.md with its plots. --markdown writes the latter
    to a file of its own, to stand in a repository. The Markdown holds no test images, whose licences differ; neither
    does the page with --no-pictures.
    """
    if not results:
        raise UsageError("no results are named", cure="Name the folders that 'distillfss bench run' wrote")
    if out is None and markdown is None:
        raise UsageError("there is nothing to write", cure="Add --out FOLDER, --markdown FILE or both")
    if out is not None:
        check_folder(out, overwrite)
    if markdown is not None:
        check_markdown(markdown, overwrite)
    with display() as show:
        show.update("reading results")
        from distillfss.bench.report.content import content_of
        from distillfss.bench.results import ResultsFolder

        show.update("drawing")
        folders = [ResultsFolder(path) for path in dict.fromkeys(results)]
        for folder in folders:
            if said := folder.passed_over():
                show.note(said)
        content = content_of(folders, data, pictures=out is not None and not no_pictures)
        show.update("writing the report")
        spelled = _spelled(len(folders), out, markdown, no_pictures)
        if out is not None:
            _write_page(content, out, spelled)
        if markdown is not None:
            _write_markdown(content, markdown, plots_of(markdown), spelled)
    report = {
        "page": None if out is None else str(out / PAGE),
        "markdown": str(markdown or (out or Path()) / MARKDOWN),
        "cells": content.cells,
        "failed": len(content.failed.rows) if content.failed else 0,
    }
    if not as_json:
        if out is not None:
            click.echo(f"page       {report['page']} ({options.megabytes(out / PAGE)})")
        click.echo(f"markdown   {report['markdown']}")
        click.echo(f"cells      {content.cells}, {report['failed']} of them failed")
        for what, text in content.provenance:
            if what.startswith("left out"):
                click.echo(f"left out   {text}")
    return report


def _write_page(content: Content, out: Path, spelled: str) -> None:
    from distillfss.bench.report.page import report_page

    _write_markdown(content, out / MARKDOWN, out / PLOTS, spelled)
    atomic_write(out / PAGE, report_page(content, spelled).encode())


def _write_markdown(content: Content, path: Path, plots: Path, spelled: str) -> None:
    """The text, and in its folder exactly the plots it shows: those of an older report may have other names."""
    from distillfss.bench.report.markdown import markdown_report

    options.make_folder(plots)
    for plot in content.plots:
        atomic_write(plots / f"{plot.name}.svg", plot.on_white().encode())
    for old in plots.glob("*.svg"):
        if old.stem not in {plot.name for plot in content.plots}:
            old.unlink()
    atomic_write(path, markdown_report(content, plots.name, spelled).encode())


def plots_of(markdown: Path) -> Path:
    """Where the plots of a Markdown file go: ``docs/results-plots`` for ``docs/results.md``."""
    return markdown.with_name(f"{markdown.stem}-{PLOTS}")


def _spelled(folders: int, out: Path | None, markdown: Path | None, no_pictures: bool) -> str:
    """The command to print in the report, with placeholders for folders."""
    words = ["RESULTS"] if folders == 1 else [f"RESULTS{number}" for number in range(1, folders + 1)]
    if out is not None:
        words += ["--out", "REPORT"]
    if markdown is not None:
        words += ["--markdown", markdown.name if markdown.is_absolute() else markdown.as_posix()]
    return options.shell("bench", "report", *words, *["--no-pictures"] * no_pictures)


def check_markdown(path: Path, overwrite: bool) -> None:
    """Before any work: refuse a file that was written by hand."""
    from distillfss.bench.report.markdown import MARK

    if path.is_dir():
        raise OutputError("is a folder", cure=f"Name a file, such as {path / 'results.md'}", path=path)
    if path.exists() and not overwrite and not path.read_bytes().startswith(MARK.encode()):
        raise OutputError("was not written by this command", cure="Choose another name or add --overwrite", path=path)
    options.make_folder(path.parent)
    options.check_writable(path)


def check_folder(out: Path, overwrite: bool) -> None:
    """Before any work: refuse a folder that holds other things than an older report."""
    options.make_folder(out)
    others = sorted(path.name for path in out.iterdir() if path.name not in (MARKDOWN, PAGE, PLOTS))
    if others and not overwrite:
        cure = "Choose another folder or add --overwrite"
        raise OutputError(f"holds other files ({', '.join(others[:3])})", cure=cure, path=out)
    options.check_writable(out / PAGE)
