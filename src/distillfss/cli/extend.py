"""``distillfss extend MODEL NEW_SUPPORT --out FILE``"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from distillfss.cli import options
from distillfss.cli.display import Display, display
from distillfss.cli.fit import ALONE, STATE_BYTES, training_progress
from distillfss.cli.running import one_line
from distillfss.config import FitConfig
from distillfss.errors import OutputError, UsageError
from distillfss.notices import NoticeKind, once_each
from distillfss.segmenter import ONNX_SUFFIX

if TYPE_CHECKING:
    from distillfss.extending import NewClasses
    from distillfss.extension_effects import Effects
    from distillfss.segmenter import Segmenter
    from distillfss.support import SupportSet

OF_A_FIT = ("known", "classes", "format_name", "seed", "init", "effort", "instant", "fresh")
"""Options that only mean something where a class is learnt."""


@click.command("extend", short_help="Add classes to a model, or take some away.")
@options.path_argument("model")
@click.argument("support", type=options.PATH, required=False)
@click.option("--out", "-o", type=options.PATH, required=True, help="The model file to write.")
@click.option("--remove", multiple=True, metavar="CLASS", help="A class to take away; may be given several times.")
@click.option(
    "--known",
    type=options.PATH,
    multiple=True,
    metavar="FOLDER",
    help="Images annotated for MODEL's classes alone, such as those it was fitted on; may be given several times. The "
    "format of each folder is found out by itself.",
)
@click.option(
    "--classes",
    metavar="A,B",
    help="Names of the masks' values 1, 2, ...; where annotation or meta.json gives names, which of these to take.",
)
@options.annotation_format
@options.seed
@options.device
@options.init
@options.effort
@click.option("--instant", is_flag=True, help="Add the class in seconds, without a training step: not as good.")
@options.embed_backbone
@click.option("--fresh", is_flag=True, help="Start over, even if an earlier run of the same was stopped half-way.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists; it may be MODEL itself.")
@options.as_json
@options.debug
@click.pass_context
def command(
    context: click.Context,
    model: Path,
    support: Path | None,
    out: Path,
    remove: tuple[str, ...],
    known: tuple[Path, ...],
    classes: str | None,
    format_name: str,
    seed: int,
    device: str,
    init: str,
    effort: float,
    instant: bool,
    embed_backbone: bool,
    fresh: bool,
    overwrite: bool,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Add the classes that are annotated in SUPPORT and that MODEL does not know, or take classes away with --remove.

    SUPPORT is laid out as for 'fit'. Its images need to be annotated for the new classes only: background means "none
    of the new classes", whatever else it may be. The model's classes give the same answers as before, to the last bit;
    only where a new class is stronger than all of them does it take their place.

    Images given with --known show what is not new: where they are annotated as one of MODEL's classes. The rest of them
    may be anything.

    GeoTIFF and DICOM images are read with the bands and the range that MODEL was fitted with.

    With SUPPORT and --remove both, classes are taken away first, so that a class can be learnt anew from other images.

    A run that is stopped leaves OUT.part beside the file to write; the same command goes on from there.
    """
    started = time.perf_counter()
    if support is not None:
        options.refuse_swapped(model, support, "SUPPORT")
    _check_arguments(context, model, support, remove)
    remove = tuple(dict.fromkeys(remove))
    config = FitConfig(seed=seed, device=device, init=init, effort=effort, instant=instant)
    names = options.split_names(classes)
    options.check_model_file(out, overwrite)
    state = out.with_name(out.name + ".part")
    options.check_writable(state, STATE_BYTES)
    new: NewClasses | None = None
    found: Effects | None = None
    with display() as show:
        show.update("loading PyTorch")
        from distillfss.extending import check_extendable
        from distillfss.segmenter import Segmenter

        before = Segmenter.load(model, device=device)
        check_extendable(before)
        before = after = before.without(*remove) if remove else before
        if support is not None:
            new, after = _learn(before, support, known, names, format_name, config, state, fresh, show)
        show.update("writing the model")
        if not overwrite and out.exists():
            problem = "was made by someone else in the meantime"
            raise OutputError(problem, cure=f"Run it again with another --out; {state} holds the fit", path=out)
        after.save(out, embed_backbone=embed_backbone or before.info.backbone_embedded)
        if new is not None:
            state.unlink(missing_ok=True)
            try:
                found = _look(before, after, new, show)
            except KeyboardInterrupt:
                show.note(f"stopped; {out} is complete")
    doubts = [] if found is None else found.doubts()
    report = {
        "model": str(out),
        "bytes": out.stat().st_size,
        "seconds": round(time.perf_counter() - started, 2),
        "class_names": list(after.class_names),
        "removed": list(remove),
        "added": [] if new is None else _added(new, found),
        "old_pixels_lost": None if found is None or found.lost is None else round(found.lost, 6),
        "notices": [] if new is None else [*new.support.notices, *new.notices, *doubts],
        "training": None if new is None else after.summary["extended"][-1],
    }
    if not as_json:
        _print(report, out, new, doubts)
    return report


def _check_arguments(context: click.Context, model: Path, support: Path | None, remove: tuple[str, ...]) -> None:
    if support is None and not remove:
        raise UsageError(
            "nothing to add and nothing to remove", cure="Give the folder of a new class, or a class with --remove"
        )
    if model.suffix.lower() == ONNX_SUFFIX:
        raise UsageError(
            "an ONNX model cannot be extended",
            cure="Extend the .safetensors model that it was made from, and export that again",
            path=model,
        )
    given = [name for name in OF_A_FIT if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if support is None and given:
        flag = given[0].removesuffix("_name").replace("_", "-")
        raise UsageError(f"--{flag} has no meaning where nothing is learnt", cure="Leave it out, or give a folder")


def _learn(
    before: Segmenter,
    folder: Path,
    known: tuple[Path, ...],
    names: list[str] | None,
    format_name: str,
    config: FitConfig,
    state: Path,
    fresh: bool,
    show: Display,
) -> tuple[NewClasses, Segmenter]:
    """The new classes of a folder, and the model that knows them."""
    from distillfss.extending import extend, new_classes
    from distillfss.training.state import check_state

    show.update("reading support")
    reading = before.summary.get("reading")
    support = _read(folder, names, format_name, reading, show)
    if known:
        show.update("reading what is known")
    old = [_read(each, None, "auto", reading, show) for each in known]
    new = new_classes(before, support, old)
    for notice in [*new.notices, *[ALONE] * (len(new.support) == 1)]:
        show.note(f"note: {notice}")
    check_state(state)
    if fresh:
        state.unlink(missing_ok=True)
    return new, extend(before, support, config, known=old, state=state, progress=training_progress(state, show))


def _read(
    folder: Path, names: list[str] | None, format_name: str, reading: dict[str, Any] | None, show: Display
) -> SupportSet:
    """Annotated images; what is to be said of them is shown, but for classes without a pixel, which may be known."""
    from distillfss.support import SupportSet

    support = SupportSet.from_folder(folder, classes=names, format=format_name, reading=reading)
    for text in once_each([each.text for each in support.remarks if each.kind is not NoticeKind.NEVER_FOUND]):
        show.note(f"note: {text}")
    return support


def _look(before: Segmenter, after: Segmenter, new: NewClasses, show: Display) -> Effects:
    from distillfss.extension_effects import effects

    return effects(before, after, new.support, lambda done, all_: show.update("looking at the support", done, all_))


def _added(new: NewClasses, found: Effects | None) -> list[dict[str, Any]]:
    return [
        {"class": name, "images": count, "iou": None if found is None else round(found.iou[name], 6)}
        for name, count in new.support.shots().items()
    ]


def _print(report: dict[str, Any], out: Path, new: NewClasses | None, doubts: list[str]) -> None:
    click.echo(f"model      {out} ({options.megabytes(out)})")
    click.echo(f"classes    {', '.join(report['class_names'])}")
    if report["removed"]:
        click.echo(f"removed    {', '.join(report['removed'])}")
    if new is not None:
        shots = ", ".join(f"{entry['class']} in {entry['images']}" for entry in report["added"])
        click.echo(
            f"added      in {options.duration(report['seconds'])} from {options.images(len(new.support))} ({shots})"
        )
        known = [
            f"{entry['class']} {100 * entry['iou']:.1f} %" for entry in report["added"] if entry["iou"] is not None
        ]
        if known:
            click.echo(f"on these   IoU of {', '.join(known)} (says that it learnt, not how good it is)")
        if report["old_pixels_lost"] is not None:
            click.echo(f"           {100 * report['old_pixels_lost']:.2f} % of what the old classes had there is lost")
        for doubt in doubts:
            click.echo(f"note: {one_line(doubt)}")
    click.echo("")
    click.echo("Next, how good it is where you have annotation of all classes:")
    click.echo(f"  {options.shell('evaluate', out)} LABELLED --out REPORT")
