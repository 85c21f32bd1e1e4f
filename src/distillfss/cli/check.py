"""``distillfss check FOLDER``"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from distillfss.cli import options
from distillfss.cli.display import display
from distillfss.cli.running import Finished, one_line
from distillfss.errors import DataError, UsageError
from distillfss.io.files import atomic_write
from distillfss.wording import counted

if TYPE_CHECKING:
    from distillfss.checking import Report
    from distillfss.checking.folder import Inspection

SHOWN_FILES = 3
SAME = ("test", "classes", "format_name", "size")
"""Options that decide what is looked at, and how."""
COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


@click.command("check", short_help="Find every fault of a folder of annotated images.")
@options.path_argument("folder")
@click.option("--test", type=options.PATH, help="Annotated images to test on: checked too, and for images that leaked.")
@click.option("--classes", metavar="A,B", help="Names of the classes, as for 'fit'.")
@options.annotation_format
@click.option(
    "--size", type=click.IntRange(64, 2048), default=384, show_default=True, help="Working resolution of the fit."
)
@click.option("--html", type=options.PATH, metavar="FILE", help="Write the report as a page, faults drawn in.")
@click.option("--fix", is_flag=True, help="Write a repaired copy of FOLDER; FOLDER itself is never changed.")
@click.option("--out", "-o", type=options.PATH, help="New folder for the repaired copy.  [default: FOLDER-fixed]")
@click.option("--overwrite", is_flag=True, help="Replace the page if it exists.")
@options.as_json
@options.debug
def command(
    folder: Path,
    test: Path | None,
    classes: str | None,
    format_name: str,
    size: int,
    html: Path | None,
    fix: bool,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Find every fault of a FOLDER of annotated images, in any annotation format, and say what to do about each.

    Exit code 0 if there are no errors (warnings may be), 3 if there are; with --fix, 3 if something had to be left out,
    or everything, in which case no copy is written.
    """
    names = options.split_names(classes)
    if out is not None and not fix:
        raise UsageError("--out is the folder for the repaired copy", cure="Add --fix")
    if html is not None:
        options.check_new_file(html, overwrite, "report.html")
    target = (out or folder.with_name(f"{folder.absolute().name}-fixed")) if fix else None
    with _checked_target(target, folder), display() as show:
        show.update("loading")
        from distillfss.checking import check

        report = check(folder, test, classes=names, format=format_name, size=size, progress=show.update)
        if target is not None:
            from distillfss.checking.fixing import fix as write_fixed

            show.update("writing the repaired copy")
            write_fixed(report, target)
        if html is not None:
            from distillfss.report.check_page import check_page

            show.update("writing the page")
            atomic_write(html, check_page(report).encode())
    document = report.to_dict() | {"html": None if html is None else str(html)}
    if not as_json:
        _print(report, folder, _again(folder), html)
    bad = not report.ok if report.fixed is None else bool(report.fixed.left_out)
    if bad:
        raise Finished(DataError.exit_code, document)
    return document


@contextlib.contextmanager
def _checked_target(target: Path | None, folder: Path) -> Iterator[None]:
    """Refuse a folder for the repaired copy before any work; one that was made for it goes if nothing comes into it."""
    made = target is not None and not target.exists()
    if target is not None:
        _check_target(target, folder)
    try:
        yield
    finally:
        if target is not None and made:
            with contextlib.suppress(OSError):
                target.rmdir()


def _check_target(target: Path, folder: Path) -> None:
    from distillfss.cli.pick import check_new_folder

    if target.absolute().is_relative_to(folder.absolute()):
        raise UsageError("the repaired copy would lie in the folder itself", cure="Name another --out", path=target)
    if not folder.is_dir():
        return  # told by check, which need not leave an empty folder behind
    check_new_folder(target)


def _again(folder: Path) -> list[str | Path]:
    """The words of a command that looks at the same, and in the same way."""
    context = click.get_current_context()
    words: list[str | Path] = ["check", folder]
    for option in context.command.params:
        name = option.name or ""
        if name in SAME and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words += [option.opts[0], str(context.params[name])]
    return words


def _print(report: Report, folder: Path, again: list[str | Path], html: Path | None) -> None:
    """One screen."""
    _print_folder(report.support)
    if report.test is not None:
        _print_folder(report.test)
    from distillfss.checking import KINDS
    from distillfss.checking.report import where

    for kind, group in report.by_kind().items():
        severity = KINDS[kind].severity
        file, *others = dict.fromkeys(where(each, folder) for each in group)
        fixable = sum(each.fixable for each in group)
        said = f"; --fix repairs {fixable if fixable < len(group) else 'them' if fixable > 1 else 'it'}" * bool(fixable)
        head = click.style(f"{severity:<8}", fg=COLOURS[severity])
        click.echo(f"{head}{len(group):>5}  {KINDS[kind].title}{said}")
        first = group[0]
        click.echo(f"{'':<15}{one_line(f'{file}: {first.problem}. {first.cure}')}")
        if others:
            shown = ", ".join(others[:SHOWN_FILES]) + (", ..." if len(others) > SHOWN_FILES else "")
            click.echo(f"{'':<15}{one_line(f'also {shown}')}")
    counts = report.summary()
    told = ", ".join(counted(number, severity) for severity, number in counts.items() if number)
    click.echo(f"{told or 'nothing to complain about'} ({options.duration(report.seconds)})")
    if report.fixed is not None:
        fixed = report.fixed
        changes = counted(len(fixed.changed), "change")
        click.echo(f"{counted(fixed.written, 'pair')} written to {fixed.folder}, {changes} (changes.json)")
        if fixed.left_out:
            name, reason = fixed.left_out[0]
            click.echo(one_line(f"{len(fixed.left_out)} left out, such as {name}: {reason}"))
    if html is not None:
        click.echo(f"page       {html}")
    elif counts["error"] or counts["warning"]:
        click.echo(f"Look at them: {options.shell(*again, '--html', options.free_name('report.html'))}")


def _print_folder(folder: Inspection) -> None:
    rows = folder.classes()
    classes = ", ".join(f"{row['name']} in {row['images']} ({100 * row['share']:.3g} %)" for row in rows[:6])
    more = f" and {len(rows) - 6} more" if len(rows) > 6 else ""
    click.echo(one_line(f"{folder.root}: {options.images(len(folder.looks))}, {folder.annotations.format}"))
    click.echo(one_line(f"classes (share of what is marked): {classes}{more}"))
    for notice in folder.annotations.notices:
        click.echo(one_line(f"note: {notice}"))
