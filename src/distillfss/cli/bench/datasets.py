"""``distillfss bench datasets [--in FOLDER]``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import display
from distillfss.cli.running import one_line
from distillfss.errors import DataError, DistillFSSError
from distillfss.io.files import no_folder

if TYPE_CHECKING:
    from distillfss.bench.releases.base import Release


@click.command("datasets", short_help="Where each data set is to be had, its licence, size and classes.")
@click.option(
    "--in",
    "folder",
    type=options.PATH,
    metavar="FOLDER",
    help="List the data sets in FOLDER instead (itself one, or its sub-folders), with counts and checks.",
)
@options.as_json
@options.debug
def command(folder: Path | None, as_json: bool, debug: bool) -> dict[str, Any]:
    """List the official releases that 'distillfss bench prepare' reads, or what is in FOLDER.

    Any folder of annotated images is a data set, in every format that 'fit' reads; what 'prepare' wrote is also
    compared with what is known of the release.
    """
    if folder is not None:
        return _list_folder(folder, as_json)
    from distillfss.bench.releases import RELEASES

    if not as_json:
        for release in RELEASES.values():
            _print_release(release)
        click.echo("Download and unpack one, then:")
        click.echo(f"  {options.shell('bench', 'prepare', 'NAME', '--from', 'DOWNLOADED')}")
    return {"releases": [_describe(release) for release in RELEASES.values()]}


def _print_release(release: Release) -> None:
    click.echo(click.style(release.name, bold=True) + f"  {release.title}")
    pairs = " or ".join(f"{count:,}" for count in release.pairs) or "unknown number of"
    rows = {
        "classes": ", ".join(release.classes) or "named by the release",
        "size": f"{pairs} pairs; download {release.download}",
        "licence": release.licence,
        "where": release.where,
        "cite": release.cite,
    }
    for name, text in rows.items():
        click.echo(f"  {name:<9}{text}")
    click.echo("")


def _describe(release: Release) -> dict[str, Any]:
    return {
        "name": release.name,
        "title": release.title,
        "domain": release.domain,
        "in_paper": release.in_paper,
        "classes": list(release.classes) or None,
        "pairs": list(release.pairs) or None,
        "parts": dict(release.parts),
        "licence": release.licence,
        "where": release.where,
        "cite": release.cite,
        "download": release.download,
        "layout": release.layout,
        "notes": release.notes,
    }


def _list_folder(folder: Path, as_json: bool) -> dict[str, Any]:
    from distillfss.bench.releases.survey import datasets_in

    if not folder.is_dir():
        raise no_folder(folder)
    inside = datasets_in(folder)
    if not inside:
        raise DataError(
            "holds no data set",
            cure="Give a folder of annotated images, or one whose sub-folders are such",
            path=folder,
        )
    listed = []
    for path in inside:
        with display() as show:
            row = _look_through(path, show.update)
        listed.append(row)
        if not as_json:
            _print_dataset(row)
    return {"folder": str(folder), "ok": all(row["ok"] for row in listed), "datasets": listed}


def _look_through(folder: Path, progress: Any) -> dict[str, Any]:
    """Figures and checks of one data set; what makes it unreadable is a check that failed."""
    from distillfss.bench.releases import RELEASES
    from distillfss.bench.releases.survey import check, survey

    name = folder.resolve().name
    try:
        found = survey(folder, lambda phase, done, of: progress(f"{phase} of {name}", done, of))
    except DistillFSSError as fault:
        failed = {"name": "files", "ok": False, "detail": one_line(str(fault))}
        return {"name": name, "folder": str(folder), "ok": False, "pairs": 0, "classes": [], "checks": [failed]}
    key = found.meta.get("release", found.meta.get("name"))
    checks = check(found, RELEASES.get(key) if isinstance(key, str) else None)
    return {
        "name": name,
        "folder": str(folder),
        "title": found.meta.get("title"),
        "licence": found.meta.get("licence"),
        "ok": all(each.ok for each in checks),
        "pairs": found.pairs,
        "parts": dict(found.parts),
        "classes": list(found.classes),
        "images_per_class": dict(found.images_per_class),
        "mean_area_per_class": {key: round(area, 4) for key, area in found.areas.items()},
        "ignored": round(found.ignored, 4),
        "sizes": dict(found.sizes),
        "checks": [{"name": each.name, "ok": each.ok, "detail": each.detail} for each in checks],
    }


def _print_dataset(row: dict[str, Any]) -> None:
    parts = ", ".join(f"{count:,} {part}" for part, count in row.get("parts", {}).items())
    click.echo(click.style(row["name"], bold=True) + f"  {row['pairs']:,} pairs" + (f" ({parts})" if parts else ""))
    for name in row["classes"]:
        count, area = row["images_per_class"][name], row["mean_area_per_class"][name]
        click.echo(f"  {one_line(name):<24}{count:>7,} images  {100 * area:5.1f} % of each")
    for each in row["checks"]:
        if not each["ok"]:
            click.echo(f"  {click.style('warn', fg='yellow')}  {each['name']}: {one_line(each['detail'])}")
    if row["ok"]:
        click.echo(f"  {click.style('ok', fg='green')}  {', '.join(each['name'] for each in row['checks'])}")
    click.echo("")
