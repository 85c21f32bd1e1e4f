"""``distillfss fit SUPPORT --out MODEL``"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import Display, display
from distillfss.cli.running import Finished, one_line
from distillfss.config import FitConfig
from distillfss.errors import DistillFSSError, OutputError, UsageError
from distillfss.metrics import number_or_none

if TYPE_CHECKING:
    from distillfss.fit_preparation import Progress
    from distillfss.segmenter import Segmenter
    from distillfss.support import SupportSet

# The keys of distillfss.backbones.BACKBONES, which would import PyTorch.
BACKBONE_NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
TIMM = "timm:"

# The phases of ``fit`` as people read them; those after the first count steps together.
PHASES = {
    "prepare": "preparing",
    "transfer": "training the teacher",
    "validate": "cross-validating",
    "distill": "distilling the student",
    "adapt": "adapting the student",
    "self-train": "learning from images without annotation",
}
TRAINING = ("transfer", "validate", "distill", "adapt", "self-train")
# What the summary of a model says of mirrored views, in words.
MIRRORED = {"left_right": "left to right", "upside_down": "upside down"}
ALONE = "a single image: two augmented views of it stand in for query and support; more images help"

NOT_BETTER_THAN_TRIVIAL = 7
"""Exit code of ``--strict``."""

STATE_BYTES = 64_000_000
"""More than the state of a fit takes, most of it the backbone and its optimiser: a disk without that much is found out
before training."""


@click.command("fit", short_help="Learn a model from annotated images.")
@options.path_argument("support")
@click.option("--out", "-o", type=options.PATH, required=True, help="The model file to write.")
@click.option(
    "--classes",
    metavar="A,B",
    help="Names of the masks' values 1, 2, ...; where annotation or meta.json gives names, which of these to learn.",
)
@options.annotation_format
@options.seed
@options.device
@click.option(
    "--backbone",
    metavar="NAME",
    default=BACKBONE_NAMES[0],
    show_default=True,
    help=f"The pretrained network: {', '.join(BACKBONE_NAMES)}, or timm:NAME for any of timm's.",
)
@click.option(
    "--backbone-weights",
    type=options.PATH,
    metavar="FILE",
    help="Weights of the backbone, in place of those of its package or of the Hugging Face hub.",
)
@options.init
@click.option(
    "--size",
    type=click.IntRange(64, 2048),
    show_default="384, 640 where objects are thin or tiny, and 896 where they are hair-thin",
    help="Working resolution in pixels.",
)
@options.effort
@click.option("--instant", is_flag=True, help="A model in seconds, without a training step: not as good, to look at.")
@click.option(
    "--frozen-backbone",
    is_flag=True,
    help="Leave the backbone as it is: not as good, in half of the time, and a model file of 0.7 MB.",
)
@click.option(
    "--unlabeled",
    metavar="IMAGES",
    help="A folder, or a pattern such as 'raw/*.jpg', of images without annotation to learn from as well: mostly "
    "better, in twice the time. Up to 100 of them are used.",
)
@click.option(
    "--groups",
    metavar="PATTERN",
    help=r"What in the images' names says of which patient, film or field they are, as a regular expression: '^p\d+'. "
    "How good the model will be is estimated for others than these.",
)
@click.option("--no-estimate", is_flag=True, help="Do not say how good it will be on new images: a little faster.")
@click.option(
    "--strict", is_flag=True, help="Exit with 7 if a class is not clearly better than trivial; the model is written."
)
@options.embed_backbone
@click.option("--fresh", is_flag=True, help="Start over, even if an earlier run of the same fit was stopped half-way.")
@click.option("--overwrite", is_flag=True, help="Replace the model file if it exists.")
@options.as_json
@options.debug
def command(
    support: Path,
    out: Path,
    classes: str | None,
    format_name: str,
    seed: int,
    device: str,
    backbone: str,
    backbone_weights: Path | None,
    init: str,
    size: int | None,
    effort: float,
    instant: bool,
    frozen_backbone: bool,
    unlabeled: str | None,
    groups: str | None,
    no_estimate: bool,
    strict: bool,
    embed_backbone: bool,
    fresh: bool,
    overwrite: bool,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Learn a model from the annotated images in SUPPORT and write it to one file.

    SUPPORT holds images/ and masks/ with the same file names (the masks as PNG: 0 is background, 1, 2, ... are the
    classes, 255 does not count) and, if you like, meta.json with {"classes": ["background", "crack", ...]}; or images
    with the annotation of another tool (--format).

    After a quarter of the time there is a first model, not as good, in MODEL.first.safetensors, until MODEL itself
    is there. A fit that is stopped leaves MODEL.part beside the model; the same command goes on from there.
    """
    started = time.perf_counter()
    weights = None if backbone_weights is None else str(backbone_weights)
    config = FitConfig(
        seed=seed,
        device=device,
        backbone=backbone,
        backbone_weights=weights,
        init=init,
        size=size or FitConfig.size,
        fine_size=0 if size else FitConfig.fine_size,
        effort=effort,
        instant=instant,
        backbone_rate=0.0 if frozen_backbone else FitConfig.backbone_rate,
        estimate=not no_estimate,
    )
    if strict and no_estimate:
        raise UsageError("--strict goes by the estimate", cure="Leave --no-estimate out")
    if groups is not None and no_estimate:
        raise UsageError("--groups is about the estimate", cure="Leave it or --no-estimate out")
    if unlabeled is not None and (instant or frozen_backbone):
        cure = "Leave out one of --unlabeled and --instant or --frozen-backbone"
        raise UsageError("images without annotation teach the backbone, which does not learn here", cure=cure)
    check_name(backbone)
    names = options.split_names(classes)
    options.check_model_file(out, overwrite)
    state = out.with_name(out.name + ".part")
    options.check_writable(state, STATE_BYTES)
    with display() as show:
        if backbone.startswith(TIMM) or weights is not None:
            check_backbone(config, show)
        support_set = read_support(support, names, show, format_name)
        if groups is not None:
            support_set = support_set.grouped(groups)
        if unlabeled is not None:
            check_unlabeled(unlabeled)
        from distillfss.training.state import check_state

        check_state(state)
        if fresh:
            state.unlink(missing_ok=True)
        first = FirstModel(out, embed_backbone, show)
        segmenter = run_fit(support_set, config, unlabeled, state, show, first.write)
        show.update("writing the model")
        if not overwrite and out.exists():
            problem = "was made by someone else in the meantime"
            raise OutputError(problem, cure=f"Run it again with another --out; {state} holds the fit", path=out)
        segmenter.save(out, embed_backbone=embed_backbone)
        state.unlink(missing_ok=True)
        first.remove()
        try:
            on_support = fit_on_support(segmenter, support_set, show)
        except KeyboardInterrupt:
            on_support = None
            show.note(f"stopped; {out} is complete")
    report = {
        "model": str(out),
        "bytes": out.stat().st_size,
        "seconds": round(time.perf_counter() - started, 2),
        "class_names": list(segmenter.class_names),
        "support": {
            "images": len(support_set),
            "different": support_set.different,
            "groups": segmenter.summary["groups"],
            "shots": support_set.shots(),
            "foreground_iou": on_support,
        },
        "backbone": backbone,
        "backbone_embedded": embed_backbone or segmenter.embeds_backbone,
        "seed": seed,
        "size": segmenter.size,
        "notices": list(support_set.notices),
        "training": segmenter.summary,
    }
    doubts = (segmenter.summary.get("estimate") or {}).get("advice", [])
    if not as_json:
        _print(report, out)
        for doubt in doubts:
            click.echo(f"warning: {one_line(doubt)}", err=True)
    if strict and doubts:
        raise Finished(NOT_BETTER_THAN_TRIVIAL, report)
    return report


def check_name(backbone: str) -> None:
    """Refuse, before PyTorch is loaded, what is no name of a backbone."""
    if backbone not in BACKBONE_NAMES and not backbone.startswith(TIMM):
        cure = f"Choose one of {', '.join(BACKBONE_NAMES)}, or {TIMM}NAME for a model of timm"
        raise UsageError(f"unknown backbone {backbone!r}", cure=cure)


def check_backbone(config: FitConfig, show: Display) -> None:
    """Before the support is read: timm is there and knows the name, the weight file is there."""
    show.update("loading PyTorch")
    from distillfss.backbones import check_backbone

    check_backbone(config.backbone, config.backbone_weights)


def copies_note(images: int, copies: int) -> str:
    """What is said of a support set that holds copies."""
    many = f"{copies} of {images} images are copies" if copies > 1 else f"1 of {images} images is a copy"
    return (
        f"{many} of others (mirrored, turned or changed a little): they are learnt from, but all {images} "
        f"count as {images - copies} when it is reckoned how good the model will be"
    )


def read_support(folder: Path, names: list[str] | None, show: Display, format_name: str = "auto") -> SupportSet:
    """Read and check the support set; what it has to say is shown."""
    show.update("reading support")
    from distillfss.notices import once_each
    from distillfss.support import SupportSet

    support = SupportSet.from_folder(folder, classes=names, format=format_name)
    for notice in once_each(support.notices):
        show.note(f"note: {notice}")
    if (copies := len(support) - support.different) > 0:
        show.note(f"note: {copies_note(len(support), copies)}")
    if support.different == 1:
        show.note(f"note: {ALONE}")
    return support


class FirstModel:
    """The model file that is there to be tried while a fit goes on, and gone when the fit is through.

    Never replaces or removes a file that is no such model.
    """

    def __init__(self, out: Path, embed_backbone: bool, show: Display) -> None:
        self.path = out.with_name(f"{out.stem}.first{out.suffix}")
        self._embed_backbone = embed_backbone
        self._show = show
        self._ours = not self.path.exists() or is_first_model(self.path)

    def write(self, segmenter: Segmenter) -> None:
        if not self._ours:
            return
        try:
            segmenter.save(self.path, embed_backbone=self._embed_backbone)
        except OutputError as problem:  # no reason to stop: there may be room when the fit is through
            self._show.note(f"note: no first model: {problem}")
        else:
            self._show.note(f"a first model is in {self.path}: not as good, there to be tried while this goes on")

    def remove(self) -> None:
        if self._ours:
            self.path.unlink(missing_ok=True)


def is_first_model(path: Path) -> bool:
    """Whether a fit, perhaps one that was stopped, left this file as its first model."""
    from distillfss.artifact import read_model

    try:
        summary = read_model(path)[0].summary
        steps, config = summary["steps"], summary["config"]
        return bool(steps["distill"] == 0 and config["instant"] is False)
    except (DistillFSSError, KeyError, TypeError):
        return False


def check_unlabeled(images: str) -> None:
    """Before PyTorch is loaded: there are such images."""
    from distillfss.io.files import list_images

    list_images(images)


def run_fit(
    support: SupportSet,
    config: FitConfig,
    unlabeled: str | None,
    state: Path,
    show: Display,
    first_model: Callable[[Segmenter], None],
) -> Segmenter:
    """``fit`` with its progress shown."""
    show.update("loading PyTorch")
    from distillfss.fitting import fit

    tell = training_progress(state, show)
    return fit(support, config, unlabeled=unlabeled, state=state, progress=tell, first_model=first_model)


def training_progress(state: Path, show: Display) -> Callable[[Progress], None]:
    """What ``fit`` and ``extend`` tell, shown; whether an earlier run goes on is said once."""
    from distillfss.fitting import FilesLeftOut, Resumed

    found, begun = state.exists(), False

    def tell(now: Progress) -> None:
        nonlocal begun
        if isinstance(now, FilesLeftOut):
            show.note(f"note: {now.message}")
            return
        if found and not begun and now.phase in TRAINING:
            begun = True
            if isinstance(now, Resumed):
                show.note(f"going on from {state} at step {now.step} of {now.steps}")
            else:
                show.note(f"{state} is of other images or settings: starting over")
        show.update(PHASES.get(now.phase, now.phase), now.step, now.steps, now.message)

    return tell


def fit_on_support(segmenter: Segmenter, support: SupportSet, show: Display) -> float | None:
    """Foreground IoU on the images it learnt from: says that learning worked, not how good the model is."""
    from distillfss.evaluation import evaluate

    phase = "looking at the support"
    result = evaluate(segmenter, support, progress=lambda done, total: show.update(phase, done, total))
    return number_or_none(result.foreground_iou)


def expectations(estimate: dict[str, Any] | None, of_what: str = "new images") -> list[str]:
    """What to expect on new images, as text: two lines for the mean, and one per class where there are several."""
    if estimate is None:
        return []

    def percent(share: float) -> str:
        return f"{100 * share:.0f}"

    def interval(found: dict[str, Any]) -> str:
        if found.get("images") == 0:
            return "no image shows it"
        return f"{percent(found['low'])} to {percent(found['high'])}"

    instant, all_marked = estimate["instant"], f"marking everything: {percent(estimate['trivial'])} %"
    beside = all_marked if instant is None else f"{all_marked}; before training: {percent(instant)} %"
    lines = [
        f"expect     {percent(estimate['iou'])} % IoU on {of_what} ({interval(estimate)} in 8 cases of 10)",
        f"           ({beside})",
    ]
    if len(estimate["classes"]) > 1:
        lines += [
            f"  {percent(found['iou']):>3} %    {one_line(name)} ({interval(found)})"
            for name, found in estimate["classes"].items()
        ]
    return lines


def _print(report: dict[str, Any], out: Path) -> None:
    on_support = report["support"]["foreground_iou"]
    shots = ", ".join(f"{name} in {count}" for name, count in report["support"]["shots"].items())
    click.echo(f"model      {out} ({options.megabytes(out)})")
    click.echo(f"classes    {', '.join(report['class_names'])}")
    count = report["training"]["unlabeled"]
    beside = f", and {count} without annotation" if count else ""
    groups = report["training"]["groups"]
    of_groups = f" of {groups} groups" if groups else ""
    learnt = f"from {options.images(report['support']['images'])}{of_groups} ({shots}){beside}"
    click.echo(f"learnt     in {options.duration(report['seconds'])} {learnt}")
    if on_support is not None:
        click.echo(f"on these   {100 * on_support:.1f} % foreground IoU (says that it learnt, not how good it is)")
    usual = report["training"]["config"]["size"]
    if report["size"] > usual:
        click.echo(f"works at   {report['size']} px, since objects are thin or tiny (--size {usual}: faster, coarser)")
    never = [f"mirrored {MIRRORED[how]}" for how, may in report["training"]["mirrored"].items() if not may]
    if len(report["class_names"]) == 1 and not report["training"]["negatives"]:
        never.append("made negatives of")
    if never:
        click.echo(f"views      are never {' or '.join(never)}: what is learnt looks different then")
    of_what = "images of other groups" if groups else "new images"
    for line in expectations(report["training"].get("estimate"), of_what):
        click.echo(line)
    click.echo("")
    click.echo("Next, masks for other images, and how good they are where you have annotation:")
    click.echo(f"  {options.shell('predict', out)} IMAGES --out MASKS")
    click.echo(f"  {options.shell('evaluate', out)} LABELLED --out REPORT")
