"""``distillfss bench prepare NAME --from DOWNLOADED``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distillfss.cli import options
from distillfss.cli.display import display
from distillfss.errors import UsageError

SHOWN = 3
"""Left-out pictures that are named."""


@click.command("prepare", short_help="Turn an official release into the layout used here.")
@click.argument("name")
@click.option(
    "--from", "source", type=options.PATH, required=True, metavar="DOWNLOADED", help="Folder of the unpacked release."
)
@click.option("--out", "-o", type=options.PATH, metavar="FOLDER", help="Folder to write.  [NAME]")
@click.option("--max-side", type=click.IntRange(32), metavar="PIXELS", help="Shrink pictures with a longer side to it.")
@click.option("--overwrite", is_flag=True, help="Replace the data set in FOLDER.")
@options.as_json
@options.debug
def command(
    name: str, source: Path, out: Path | None, max_side: int | None, overwrite: bool, as_json: bool, debug: bool
) -> dict[str, Any]:
    """Turn the official release NAME, downloaded and unpacked, into images/, masks/ and meta.json.

    'distillfss bench datasets' lists the names and where each release is to be had; nothing is downloaded here. A run
    that is stopped goes on where it was when the same command is given again.
    """
    from distillfss.bench.releases import RELEASES
    from distillfss.bench.releases.writing import prepare

    if name not in RELEASES:
        raise UsageError(f"no release is called {name!r}", cure=f"Choose one of {', '.join(RELEASES)}")
    folder = out or Path(name)
    with display() as show:
        show.update("looking through the release")
        done = prepare(RELEASES[name], source, folder, max_side=max_side, overwrite=overwrite, progress=show.update)
    figures = done.survey
    if not as_json:
        parts = ", ".join(f"{count:,} {part}" for part, count in figures.parts.items())
        click.echo(f"data set   {folder}: {figures.pairs:,} pairs" + (f" ({parts})" if parts else ""))
        if done.resumed:
            click.echo(f"resumed    {done.resumed:,} pairs were there already")
        for stem, reason in done.left_out[:SHOWN]:
            click.echo(f"left out   {stem}: {reason}")
        if len(done.left_out) > SHOWN:
            click.echo(f"           and {len(done.left_out) - SHOWN:,} more")
        for each in done.checks:
            click.echo(
                f"{click.style('ok  ' if each.ok else 'warn', fg='green' if each.ok else 'yellow')}"
                f"       {each.name}: {each.detail}"
            )
    return {
        "folder": str(folder),
        "name": name,
        "classes": list(figures.classes),
        "pairs": figures.pairs,
        "parts": dict(figures.parts),
        "resumed": done.resumed,
        "left_out": len(done.left_out),
        "images_per_class": dict(figures.images_per_class),
        "mean_area_per_class": {key: round(area, 4) for key, area in figures.areas.items()},
        "ok": all(each.ok for each in done.checks),
        "checks": [{"name": each.name, "ok": each.ok, "detail": each.detail} for each in done.checks],
    }
