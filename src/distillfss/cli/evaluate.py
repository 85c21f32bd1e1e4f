"""``distillfss evaluate MODEL LABELLED``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import Display, display
from distillfss.cli.predict import load_model
from distillfss.cli.running import Finished, one_line
from distillfss.errors import DataError, OutputError
from distillfss.evaluation import Evaluation, evaluate
from distillfss.io.files import atomic_write
from distillfss.quality.estimate import stored_mean

if TYPE_CHECKING:
    from distillfss.segmenter import Segmenter
    from distillfss.support import LabelledFolder

CSV, JSON, PAGE = "images.csv", "evaluation.json", "report.html"
SHOWN_SKIPPED = 10


@click.command("evaluate", short_help="Compare a model's masks with annotated ones.")
@options.path_argument("model")
@options.path_argument("labelled")
@click.option(
    "--classes",
    metavar="A,B",
    help="Names of the masks' values 1, 2, ...; where annotation or meta.json gives names, which of these to compare.",
)
@options.annotation_format
@click.option("--out", "-o", type=options.PATH, help=f"Folder for {PAGE}, {CSV} (a row per image) and {JSON}.")
@click.option("--worst", type=click.IntRange(1, 200), default=12, show_default=True, help="Worst images to show.")
@click.option("--overwrite", is_flag=True, help="Replace a report that is in the folder already.")
@options.device
@options.as_json
@options.debug
def command(
    model: Path,
    labelled: Path,
    classes: str | None,
    format_name: str,
    out: Path | None,
    worst: int,
    overwrite: bool,
    device: str,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Compare the masks of MODEL with those people made, in LABELLED (images/ and masks/ with the same file names,
    or another --format).

    The headline is the foreground IoU over all pixels. Use images the model has not learnt from. Pairs that cannot be
    read are left out and listed; then the exit code is 3.
    """
    options.refuse_swapped(model, labelled, "LABELLED")
    names = options.split_names(classes)
    if out is not None:
        for name in (CSV, JSON, PAGE):
            options.check_new_file(out / name, overwrite)
    with display() as show:
        show.update("loading")
        from distillfss.support import LabelledFolder

        data = LabelledFolder.open(labelled, classes=names, format=format_name)
        segmenter = load_model(model, device, show)
        data = data.named_as(segmenter.class_names)
        result = evaluate(segmenter, data, progress=lambda done, total: show.update("evaluating", done, total))
        try:
            if out is not None:
                write_report(out, result, data, segmenter, titles=(model.name, str(labelled)), worst=worst, show=show)
        except OutputError:
            # a full disk must not cost the figures
            if not as_json:
                show.close()
                click.echo(table(result))
            raise
    expected = stored_mean(getattr(segmenter, "summary", {}))
    document = {"model": str(model), "labelled": str(labelled), **result.to_dict()}
    document["expected"] = None if expected is None else vars(expected)
    if not as_json:
        click.echo(table(result))
        if expected is not None:
            iou, low, high = (100 * value for value in (expected.iou, expected.low, expected.high))
            click.echo(f"the fit expected {iou:.0f} % at 384x384 ({low:.0f} to {high:.0f} in 8 cases of 10)")
        if out is not None:
            click.echo(f"\nreport     {out / PAGE}\nper image  {out / CSV}")
    if result.skipped:
        raise Finished(DataError.exit_code, document)
    return document


def write_report(
    out: Path,
    result: Evaluation,
    data: LabelledFolder,
    segmenter: Segmenter,
    *,
    titles: tuple[str, str],
    worst: int,
    show: Display,
) -> None:
    """Write the page, the table and the figures into a folder."""
    from distillfss.report.evaluation_page import evaluation_page

    show.update("writing the report")
    result.write_csv(out / CSV)
    atomic_write(out / JSON, (json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n").encode())
    page = evaluation_page(result, data, segmenter, model=titles[0], labelled=titles[1], csv=CSV, worst=worst)
    atomic_write(out / PAGE, page.encode())


def table(result: Evaluation) -> str:
    """The figures as text, at most 80 columns wide for class names of ordinary length."""

    def cell(value: float | None) -> str:
        return f"{'–' if value is None else f'{100 * value:.1f}':>10}"

    width = max([len(name) for name in result.class_names] + [9])
    width = min(width, 36)
    heads = ("IoU", "Dice", "precision", "recall")
    lines = [f"{'per cent':<{width}}" + "".join(f"{head:>10}" for head in heads)]
    scores = result.own.to_dict()
    rows = [*scores["per_class"].items(), *([("mean", scores["mean"])] if len(result.class_names) > 1 else [])]
    for name, row in rows:
        lines.append(f"{name[:width]:<{width}}" + "".join(cell(row[head.lower()]) for head in heads))
    document = result.to_dict()
    # side by side, so that nobody who reads the last lines alone takes the trivial answer's figures for the model's
    lines += ["", f"{'foreground IoU':<28}{'model':>10}{'trivial':>10}"]
    for title, key in (("at the images' own size", "foreground_iou"), ("at 384x384", "foreground_iou_384")):
        lines.append(f"{title:<28}{cell(document[key])}{cell(document['baseline'][key])}")
    lines.append(f"(trivial: {result.baseline})")
    lines += ["", f"{len(result.images)} images, {1000 * result.seconds_per_image:.0f} ms each"]
    lines += [f"note: {one_line(notice)}" for notice in result.notices]
    lines += [f"  {one_line(f'{name}: {reason}')}" for name, reason in result.skipped[:SHOWN_SKIPPED]]
    if len(result.skipped) > SHOWN_SKIPPED:
        lines.append(f"  and {len(result.skipped) - SHOWN_SKIPPED} more; --json lists all of them")
    return "\n".join(lines)
