"""``distillfss pick IMAGES -n 5``"""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import Display, display
from distillfss.cli.running import Finished, one_line
from distillfss.errors import DataError, OutputError, UsageError
from distillfss.io.files import atomic_write, left_in_subfolders

if TYPE_CHECKING:
    import numpy as np

    from distillfss.io.legend import Legend
    from distillfss.picking import Selection

SHEET, LIST = "contact_sheet.jpg", "picked.csv"
SHOWN = 5


@click.command("pick", short_help="Choose the images worth annotating first.")
@click.argument("images")
@click.option("-n", "count", type=click.IntRange(1), default=5, show_default=True, help="How many images to pick.")
@click.option("--out", "-o", type=options.PATH, help=f"New folder for copies of the picks, {SHEET} and {LIST}.")
@click.option("--model", type=options.PATH, help="A model fitted already: images it is unsure of count more.")
@click.option("--support", type=options.PATH, help="Folder of images annotated already: what they cover counts less.")
@options.annotation_format
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Matters beyond 2000 images.")
@options.device
@options.as_json
@options.debug
def command(
    images: str,
    count: int,
    out: Path | None,
    model: Path | None,
    support: Path | None,
    format_name: str,
    seed: int,
    device: str,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Choose the images of IMAGES (a folder or a quoted pattern) that are worth annotating first.

    The picks stand for all the others: every image should have a similar one among them. Near-duplicates and images
    unlike all others are left out and listed. With --model and --support, the next ones to annotate are picked.

    Images that cannot be read are listed, and the exit code is 3.
    """
    if out is not None:
        check_new_folder(out)
    with display() as show:
        show.update("loading")
        from distillfss.picking import pick

        annotated, legend = _annotated(support, format_name)
        selection = pick(
            images,
            count,
            annotated=annotated,
            model=None if model is None else _load(model, device, show),
            device=device,
            seed=seed,
            bands=legend.bands,
            value_range=legend.value_range,
            progress=show.update,
        )
        if out is not None:
            show.update("writing")
            write_folder(selection, out)
    notices = left_in_subfolders(images, out)
    report = {**selection.to_dict(), **({"notices": notices} if notices else {})}
    if not as_json:
        for notice in notices:
            click.echo(f"note: {one_line(notice)}", err=True)
        _print(selection, count, out, support)
    if selection.failed:
        raise Finished(DataError.exit_code, report)
    return report


def _load(model: Path, device: str, show: Display) -> Any:
    from distillfss.cli.predict import load_model

    return load_model(model, device, show)


def _annotated(support: Path | None, format_name: str) -> tuple[list[np.ndarray], Legend]:
    """The annotated images, without a look at the masks, and how they were read.

    All images where nothing is annotated in a known format.
    """
    from distillfss.io.legend import Legend, read_legend

    if support is None:
        return [], Legend()
    from distillfss.io.annotations import AUTO, FORMATS, detect_format, read_annotations
    from distillfss.io.decode import read_image
    from distillfss.io.files import list_images

    name = detect_format(support)[0] if format_name == AUTO else format_name
    if name != "index-png" and (format_name != AUTO or FORMATS[name].detect(support)):
        found = read_annotations(support, format=name)
        paths, legend = [pair.image for pair in found.pairs], found.legend
    else:
        folder = support / "images"
        paths, legend = list_images(folder if folder.is_dir() else support), read_legend(support)
    return [read_image(path, legend.bands, legend.value_range).pixels for path in paths], legend


def check_new_folder(folder: Path) -> None:
    """Refuse a folder that holds anything, before any work."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError("exists already and is not empty", cure="Name a new folder", path=folder)
    options.make_folder(folder)
    options.check_writable(folder / LIST)


def write_folder(selection: Selection, out: Path) -> None:
    """``images/`` with copies of the picks, an empty ``masks/`` to annotate into, the list and the contact sheet."""
    from distillfss.picking.sheet import sheet_bytes

    names: dict[str, Path] = {}
    for pick in selection.picks:
        if (other := names.setdefault(pick.path.stem.casefold(), pick.path)) != pick.path:
            raise UsageError(
                f"{other} and {pick.path.name} would both get the mask {pick.path.stem}.png",
                cure="Rename one of them",
                path=pick.path,
            )
    for folder in (out / "images", out / "masks"):
        options.make_folder(folder)
    for pick in selection.picks:
        try:
            shutil.copyfile(pick.path, out / "images" / pick.path.name)
        except OSError as error:
            raise OutputError(
                f"could not be written ({error.strerror})", cure="Check the disk", path=out / "images" / pick.path.name
            ) from error
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["rank", "image", "stands_for", "doubt"])
    for rank, pick in enumerate(selection.picks, start=1):
        table.writerow([rank, pick.path, pick.stands_for, "" if pick.doubt is None else pick.doubt])
    atomic_write(out / LIST, text.getvalue().encode(errors="surrogateescape"))
    atomic_write(out / SHEET, sheet_bytes(selection))


def _print(selection: Selection, asked: int, out: Path | None, support: Path | None) -> None:
    for pick in selection.picks:
        click.echo(one_line(str(pick.path)))
    said = [f"{len(selection.picks)} of {selection.images} images"]
    if len(selection.picks) < asked:
        others = ", the others are twins, outliers or annotated already" * (len(selection.picks) < selection.images)
        said.append(f"{asked} were asked for{others}")
    click.echo("; ".join(said), err=True)
    twins = [f"{a} (of {b.name})" for a, b in selection.twins]
    for what, names in (
        (f"near-duplicate{'s' if len(twins) > 1 else ''}, not picked", twins),
        ("unlike all others, not picked: do they belong here?", [str(path) for path in selection.strangers]),
        ("could not be read", [f"{path}: {reason}" for path, reason in selection.failed]),
    ):
        if names:
            click.echo(f"{len(names)} {what}", err=True)
            for name in names[:SHOWN]:
                click.echo(f"  {one_line(name)}", err=True)
            if len(names) > SHOWN:
                click.echo(f"  and {len(names) - SHOWN} more; --json lists all of them", err=True)
    if out is not None:
        annotate = f"Annotate {out / 'images'} into {out / 'masks'} (same names, .png)"
        if support is not None:
            click.echo(f"{annotate}, and put them together with {support} in one folder to fit", err=True)
        else:
            click.echo(f"{annotate}, then:", err=True)
            click.echo(f"  {options.shell('fit', out, '--out', options.free_name('model.safetensors'))}", err=True)
