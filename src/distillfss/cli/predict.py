"""``distillfss predict MODEL IMAGES --out DIR``"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import Display, display
from distillfss.cli.format_options import format_options, parsed
from distillfss.cli.running import Finished, Stopped, one_line
from distillfss.errors import DataError, UsageError
from distillfss.io.files import left_in_subfolders
from distillfss.io.kinds import VIDEO_SUFFIXES
from distillfss.outputs import OUTPUTS
from distillfss.outputs.base import INSTANCES, SEGMENTATIONS
from distillfss.outputs.makers import Makers, fingerprint_of
from distillfss.places import is_url, open_place, shown
from distillfss.predict_plan import PlanSettings
from distillfss.predicting import PredictSummary, predict
from distillfss.wording import counted

if TYPE_CHECKING:
    from distillfss.formats.options import Prediction
    from distillfss.segmenter import Segmenter

SHOWN_FAILURES = 20
SHOWN_UNLIKE = 5
SHOWN_WITHOUT_ROWS = 5
SHOWN_NOTICES = 10
PICTURES_ONLY = ("coco", "yolo", "confidence")
"""Outputs that special files have no part in; probabilities are written of some of them."""
EXECUTORS = ("local", "ray")


@click.command("predict", short_help="Write a mask for every image.")
@options.path_argument("model")
@click.argument("images")
@click.option("--out", "-o", required=True, help="Folder for the results, or an address such as s3://bucket/masks.")
@click.option(
    "--outputs",
    default="mask",
    show_default=True,
    help=f"What to write, separated by commas: {', '.join(OUTPUTS)}.",
)
@click.option("--overwrite", is_flag=True, help="Write again what exists; without it, existing files are left alone.")
@click.option("--overlay", is_flag=True, help="The same as adding overlay to --outputs.")
@click.option("--probabilities", is_flag=True, help="The same as adding probabilities to --outputs.")
@click.option(
    "--coco-segmentation",
    type=click.Choice(SEGMENTATIONS),
    default=SEGMENTATIONS[0],
    show_default=True,
    help="Outlines or run lengths in coco.json; both are exact.",
)
@click.option(
    "--instances",
    type=click.Choice(INSTANCES),
    default=INSTANCES[0],
    show_default=True,
    help="What one annotation in coco.json is: a connected region, or all pixels of a class.",
)
@click.option(
    "--metres-per-pixel",
    type=float,
    help="Side of a pixel on the ground, for square metres in areas.csv; without it, what TIFF and DICOM files say.",
)
@click.option(
    "--executor",
    type=click.Choice(EXECUTORS),
    default=EXECUTORS[0],
    show_default=True,
    help="Compute here, or on a Ray cluster.",
)
@click.option("--ray-address", help="An existing Ray cluster; without it, one on this machine for this run.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Models at work on the Ray cluster. [default: one per core]"
)
@format_options
@options.device
@options.as_json
@options.debug
def command(
    model: Path,
    images: str,
    out: str,
    outputs: str,
    overwrite: bool,
    overlay: bool,
    probabilities: bool,
    coco_segmentation: str,
    instances: str,
    metres_per_pixel: float | None,
    executor: str,
    ray_address: str | None,
    workers: int | None,
    device: str,
    as_json: bool,
    debug: bool,
    **formats: Any,
) -> dict[str, Any]:
    """Write one mask STEM.png for every image of IMAGES (a folder, a file, or a quoted pattern) into a folder.

    The values of a mask are 0 for background and 1, 2, ... for the classes of the MODEL. Images that cannot be read
    are left out and listed at the end; then the exit code is 3. Start the same command again to do the rest.

    Very large images are cut into tiles. GeoTIFF, DICOM, TIFF stacks and videos get masks of their own kind.

    \b
    --outputs can name, besides or in place of the mask:
      mask           STEM.png, class indices with a palette
      overlay        overlays/STEM.jpg, the classes drawn over the image
      probabilities  probabilities/STEM.tif, 16 bit, one page per class
      coco           coco.json, polygons or run lengths of all images
      yolo           yolo/labels/STEM.txt and yolo/data.yaml
      csv            areas.csv: pixels, share, area per image or frame, and class
      confidence     confidence.csv: how sure the model is, what it has not seen
    """
    from distillfss.formats.area_rows import AreaRows
    from distillfss.formats.running import predict_files

    started = time.perf_counter()
    options.refuse_swapped(model, images, "IMAGES")
    _check_executor(executor, ray_address, workers)
    _check_local(formats, executor == "ray" or is_url(images) or is_url(out))
    extras = [name for name, asked in (("overlay", overlay), ("probabilities", probabilities)) if asked]
    names = (*(name.strip() for name in outputs.split(",")), *extras)
    asked = parsed(formats, names, overwrite=overwrite)
    settings = PlanSettings(out, names, (), coco_segmentation, instances, metres_per_pixel)
    settings.make_outputs()  # refuses what it cannot make before a model is loaded
    special: dict[Path, Prediction] = {}
    areas: AreaRows | None = None
    summary = PredictSummary(out, 0)
    with display() as show:
        segmenter = load_model(model, device if executor == "local" else "cpu", show)
        fingerprint = fingerprint_of(segmenter)
        settings = replace(settings, class_names=tuple(segmenter.class_names), model=fingerprint)

        def progress(done: int, total: int) -> None:
            show.update("predicting", done, total)

        try:
            if executor == "ray":
                from distillfss.ray_predicting import predict_on_ray

                show.update("starting Ray" if ray_address is None else "connecting to Ray")
                predict_on_ray(
                    model,
                    settings,
                    images,
                    overwrite=overwrite,
                    device=device,
                    address=ray_address,
                    workers=workers,
                    progress=progress,
                    summary=summary,
                )
            elif is_url(images) or is_url(out):
                predict(segmenter, settings, images, overwrite=overwrite, progress=progress, summary=summary)
            else:
                if "csv" in settings.names:
                    areas = AreaRows(open_place(out), settings.output_settings, overwrite=overwrite)
                special = predict_files(
                    segmenter,
                    images,
                    out,
                    asked,
                    lambda model, paths, tick, part: predict(
                        model, settings, paths, overwrite=overwrite, progress=tick, summary=part
                    ),
                    progress=progress,
                    part=lambda path, done, total: show.update(f"segmenting {path.name}", done, total),
                    summary=summary,
                    areas=areas,
                )
        except KeyboardInterrupt:
            left = summary.total - summary.done
            rest = f"{options.images(left)} {'is' if left == 1 else 'are'} left"
            told = f"stopped after {_things(settings, summary)}, {rest}"
            raise Stopped(f"{told}. Run the same command again to go on") from None
    report = {
        **summary.to_dict(),
        "class_names": list(segmenter.class_names),
        "seconds": round(time.perf_counter() - started, 2),
    }
    files = [*summary.notices, *(notice for prediction in special.values() for notice in prediction.notices)]
    run = [_without_rows(areas.left_out)] if areas and areas.left_out else []
    if asked.polygons and summary.without_polygons:
        run.append(f"polygons: of GeoTIFF only, not of the {counted(summary.without_polygons, 'other file')}")
    run += _others_left(settings) if overwrite else []
    if asked.tile == 0 and (rasters := sum("tile" in prediction.details for prediction in special.values())):
        files_cut = counted(rasters, "GeoTIFF or very large file")
        run.append(f"--tile off: not heeded for {files_cut}, always cut into tiles; --tile 2048 makes larger ones")
    if special:
        report["special"] = {str(path): prediction.to_dict() for path, prediction in special.items()}
        run = _left_out(settings, [*special.values()], alone=not any(map(summary.files.get, settings.names))) + run
    run = summary.converted.lines + run + _unjudged(summary, model) + _in_subfolders(images, out)
    if special or files or run:
        report["notices"] = files + run
    if not as_json:
        more = len(files) - SHOWN_NOTICES
        others = [f"{more} more of such notes on files; --json lists all of them"] if more > 0 else []
        for notice in [*files[:SHOWN_NOTICES], *others, *run]:
            click.echo(f"note: {one_line(notice)}", err=True)
        _print(summary, settings, asked.polygons, report["seconds"], [*special.values()])
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


def _check_executor(executor: str, ray_address: str | None, workers: int | None) -> None:
    if executor != "ray" and (ray_address is not None or workers is not None):
        option = "--ray-address" if ray_address is not None else "--workers"
        raise UsageError(f"{option} is only for Ray", cure="Add --executor ray")


def _check_local(formats: dict[str, Any], elsewhere: bool) -> None:
    """Refuse options for large images and special formats where nothing heeds them."""
    context = click.get_current_context()
    given = [name for name in formats if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if elsewhere and given:
        option = "--range" if given[0] == "value_range" else f"--{given[0]}"
        raise UsageError(
            f"{option} is heeded only for local files, computed here",
            cure="Copy the files here and leave --executor ray out, or leave the option out",
        )


def _left_out(settings: PlanSettings, special: list[Prediction], *, alone: bool) -> list[str]:
    """What is not written of rasters, DICOM files, stacks and videos though it was asked for."""
    missing = [name for name in settings.names if name in PICTURES_ONLY]
    spared = sum(prediction.no_probabilities for prediction in special)
    made = [f"{', '.join(missing)} are made of ordinary pictures only"] if missing else []
    if spared:
        made.append("probabilities are made of ordinary pictures and GeoTIFF only")
    nowhere = {*missing, *["probabilities"] * (spared == len(special))}
    files = f"{len(special)} GeoTIFF, DICOM, stack or video files"
    if alone and nowhere == set(settings.names):
        return [f"nothing of what was asked for was written: {', '.join(made)}; the {files} got masks"]
    notices = [f"{', '.join(missing)}: of ordinary pictures only, not of the {files}"] if missing else []
    if spared:
        files = f"{spared} DICOM, stack or video files"
        notices.append(f"probabilities: of ordinary pictures and GeoTIFF only, not of the {files}")
    return notices


def _unjudged(summary: PredictSummary, model: Path) -> list[str]:
    """Why cells of the table of confidence are empty, and what to do about it."""
    from distillfss.segmenter import ONNX_SUFFIX

    notices = []
    if summary.without_confidence:
        images = options.images(summary.without_confidence)
        why, cure = "cut into tiles", "--tile off --overwrite sees them whole"
        if model.suffix.lower() == ONNX_SUFFIX:
            why, cure = "segmented by an ONNX file", "use the .safetensors file that it was made from, with --overwrite"
        notices.append(f"confidence: nothing is known of {images} {why}; {cure}")
    if summary.without_strangeness:
        images = options.images(summary.without_strangeness)
        notices.append(
            f"confidence: whether {images} {'is' if summary.without_strangeness == 1 else 'are'} unlike the support "
            "is not known, as the model learnt from a single image, or is an older file; fit it to two images or more"
        )
    return notices


def _in_subfolders(images: str, out: str) -> list[str]:
    if is_url(images):
        return []
    return left_in_subfolders(images, None if is_url(out) else Path(out), VIDEO_SUFFIXES)


def _without_rows(files: list[Path]) -> str:
    shown = ", ".join(path.name for path in files[:SHOWN_WITHOUT_ROWS])
    more = f" and {len(files) - SHOWN_WITHOUT_ROWS} more" if len(files) > SHOWN_WITHOUT_ROWS else ""
    return (
        f"csv: no rows of {shown}{more}: files other than GeoTIFF are counted only when their mask is written "
        "(--overwrite)"
    )


def _things(settings: PlanSettings, summary: PredictSummary) -> str:
    if "mask" not in settings.names:
        return options.images(summary.written)
    return counted(summary.files.get("mask", 0), "mask")


def _others_left(settings: PlanSettings) -> list[str]:
    """After a run with --overwrite: outputs that it was not asked for are still those of another model."""
    left = Makers(open_place(settings.out), shown(settings.out), settings.model).others
    if not left:
        return []
    return [f"{shown(settings.out)}: {', '.join(left)} there are still another model's; name them in --outputs as well"]


def _overlays(files: int, special: list[Prediction]) -> str:
    """Where overlays are: one of a video is a video, one of several pages or frames a folder."""
    written = [path for prediction in special for path in prediction.written if path not in prediction.kept]
    drawn = [path for path in written if path.parent.name == "overlays"]
    folders = sum(path.is_dir() for path in drawn)
    videos = sum(path.suffix == ".mp4" and not path.is_dir() for path in drawn)
    kinds = {
        OUTPUTS["overlay"].where: counted(files - folders - videos, "file"),
        "overlays/STEM.mp4": counted(videos, "file"),
        "overlays/STEM/": counted(folders, "folder"),
    }
    return ", ".join(f"{where} ({number})" for where, number in kinds.items() if not number.startswith("0 "))


def _print(
    summary: PredictSummary,
    settings: PlanSettings,
    polygons: Sequence[str],
    seconds: float,
    special: list[Prediction],
) -> None:
    click.echo(f"{_things(settings, summary)} written to {summary.out} in {options.duration(seconds)}")
    for name, files in summary.files.items():
        if files and name == "overlay":
            click.echo(f"  {name}: {_overlays(files, special)}")
        elif files and name != "mask":
            where = OUTPUTS[name].where if name in OUTPUTS else ", ".join(f"STEM.{kind}" for kind in polygons)
            click.echo(f"  {name}: {where} ({counted(files, 'file')})")
    if summary.skipped_existing:
        click.echo(f"{summary.skipped_existing} were there already and left alone (--overwrite writes them again)")
    if summary.kept:
        kept = ", ".join(f"{files} {name}" for name, files in summary.kept.items())
        click.echo(f"{kept} files were there already and left alone (--overwrite writes them again)")
    if summary.unlike:
        shown = ", ".join(one_line(Path(str(image)).name) for image in summary.unlike[:SHOWN_UNLIKE])
        more = f" and {len(summary.unlike) - SHOWN_UNLIKE} more" if len(summary.unlike) > SHOWN_UNLIKE else ""
        are, these, masks = ("is", "this image", "its mask")
        if len(summary.unlike) > 1:
            are, these, masks = ("are", "these images", "their masks")
        click.echo(
            f"{len(summary.unlike)} of {options.images(summary.written)} {are} unlike anything the model learnt from; "
            f"look at {masks if 'mask' in settings.names else these}: {shown}{more}"
        )
    if not summary.failed:
        return
    click.echo(f"{len(summary.failed)} of {options.images(summary.total)} could not be used:", err=True)
    for image, reason in summary.failed[:SHOWN_FAILURES]:
        click.echo(f"  {one_line(f'{image}: {reason}')}", err=True)
    if len(summary.failed) > SHOWN_FAILURES:
        click.echo(f"  and {len(summary.failed) - SHOWN_FAILURES} more; --json lists all of them", err=True)
