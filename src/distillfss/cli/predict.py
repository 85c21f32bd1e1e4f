"""``distillfss predict MODEL IMAGES --out DIR``"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import Display, display
from distillfss.cli.format_options import format_options, parsed
from distillfss.cli.running import Finished, Stopped, one_line
from distillfss.errors import DataError
from distillfss.predicting import OVERLAYS, PROBABILITIES, PredictSummary, predict_images

if TYPE_CHECKING:
    from distillfss.segmenter import Segmenter

SHOWN_FAILURES = 20


@click.command("predict", short_help="Write a mask for every image.")
@options.path_argument("model")
@click.argument("images")
@click.option("--out", "-o", type=options.PATH, required=True, help="Folder for the masks.")
@click.option("--overwrite", is_flag=True, help="Write again what exists; without it, existing masks are left alone.")
@click.option("--overlay", is_flag=True, help=f"Also write {OVERLAYS}/STEM.jpg, the classes drawn over the image.")
@click.option("--probabilities", is_flag=True, help=f"Also write {PROBABILITIES}/STEM.npz, one map per class.")
@format_options
@options.device
@options.as_json
@options.debug
def command(
    model: Path,
    images: str,
    out: Path,
    overwrite: bool,
    overlay: bool,
    probabilities: bool,
    device: str,
    as_json: bool,
    debug: bool,
    **formats: Any,
) -> dict[str, Any]:
    """Write one mask STEM.png for every image of IMAGES (a folder, a file, or a quoted pattern) into a folder.

    The values of a mask are 0 for background and 1, 2, ... for the classes of the MODEL. Images that cannot be read
    are left out and listed at the end; then the exit code is 3. Start the same command again to do the rest.

    Very large images are cut into tiles. GeoTIFF, DICOM, TIFF stacks and videos get masks of their own kind.
    """
    from distillfss.formats.running import predict_files

    asked = parsed(formats, overlay=overlay, probabilities=probabilities, overwrite=overwrite)
    started = time.perf_counter()
    summary = PredictSummary(out, 0)
    with display() as show:
        segmenter = load_model(model, device, show)
        phase = "predicting"
        try:
            special = predict_files(
                segmenter,
                images,
                out,
                asked,
                lambda model, paths, progress, part: predict_images(
                    model,
                    paths,
                    out,
                    overwrite=overwrite,
                    overlay=overlay,
                    probabilities=probabilities,
                    progress=progress,
                    summary=part,
                ),
                progress=lambda done, total: show.update(phase, done, total),
                part=lambda path, done, total: show.update(f"segmenting {path.name}", done, total),
                summary=summary,
            )
        except KeyboardInterrupt:
            left = summary.total - summary.done
            raise Stopped(
                f"stopped after {summary.written} masks, {left} images are left. Run the same command again to go on"
            ) from None
    report = {
        **summary.to_dict(),
        "class_names": list(segmenter.class_names),
        "seconds": round(time.perf_counter() - started, 2),
    }
    if special:
        report["files"] = {str(path): prediction.to_dict() for path, prediction in special.items()}
    if not as_json:
        for prediction in special.values():
            for notice in prediction.notices:
                click.echo(f"note: {one_line(notice)}", err=True)
        _print(summary, report["seconds"])
    if summary.failed:
        raise Finished(DataError.exit_code, report)
    return report


def load_model(path: Path, device: str, show: Display) -> Segmenter:
    """Load a model file."""
    show.update("loading")
    from distillfss.runtime import keep_freed_memory
    from distillfss.segmenter import Segmenter

    keep_freed_memory()
    return Segmenter.load(path, device=device)


def _print(summary: PredictSummary, seconds: float) -> None:
    click.echo(f"{summary.written} masks written to {summary.out} in {options.duration(seconds)}")
    if summary.skipped_existing:
        click.echo(f"{summary.skipped_existing} were there already and left alone (--overwrite writes them again)")
    if not summary.failed:
        return
    click.echo(f"{len(summary.failed)} of {summary.total} images could not be used:", err=True)
    for path, reason in summary.failed[:SHOWN_FAILURES]:
        click.echo(f"  {one_line(f'{path}: {reason}')}", err=True)
    if len(summary.failed) > SHOWN_FAILURES:
        click.echo(f"  and {len(summary.failed) - SHOWN_FAILURES} more; --json lists all of them", err=True)
