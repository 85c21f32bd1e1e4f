"""``distillfss meta-train SOURCE... --out FILE``"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from distillfss.cli import options
from distillfss.cli.display import display
from distillfss.errors import UsageError
from distillfss.io.files import atomic_write
from distillfss.meta.config import PRECISIONS, MetaConfig
from distillfss.metrics import number_or_none

DEFAULTS = MetaConfig()
SUFFIX = ".safetensors"
PHASES = {"features": "encoding views", "train": "training", "validate": "validating"}


@click.command("meta-train", short_help="Teach a teacher on many source classes.")
@click.argument("sources", type=options.PATH, nargs=-1, required=True)
@click.option("--out", "-o", type=options.PATH, required=True, help="The teacher file to write (.safetensors).")
@click.option("--hold-out", metavar="A,B", help="Classes to keep out of training and to validate on.")
@click.option("--backbone", metavar="NAME", default=DEFAULTS.backbone, show_default=True, help="As for 'fit'.")
@click.option("--backbone-weights", type=options.PATH, metavar="FILE", help="As for 'fit'.")
@click.option("--steps", type=click.IntRange(1), default=DEFAULTS.steps, show_default=True, help="Optimiser steps.")
@click.option(
    "--episodes", type=click.IntRange(1), default=DEFAULTS.episodes, show_default=True, help="Episodes per step."
)
@click.option("--shots", type=click.IntRange(1, 20), default=DEFAULTS.max_shots, show_default=True, help="Most shots.")
@click.option(
    "--size",
    type=int,
    default=DEFAULTS.size,
    show_default=True,
    help="Side of the views in pixels: a multiple of 32 from 64 to 1024.",
)
@click.option("--views", type=float, default=DEFAULTS.views, show_default=True, help="Augmented views per image.")
@click.option(
    "--synthetic", type=click.IntRange(0), default=DEFAULTS.synthetic, show_default=True, help="Synthetic scenes."
)
@click.option(
    "--synthetic-share",
    type=click.FloatRange(0, 1),
    default=DEFAULTS.synthetic_share,
    show_default=True,
    help="Share of the episodes drawn from them.",
)
@click.option(
    "--learning-rate",
    type=float,
    default=DEFAULTS.learning_rate,
    show_default=True,
    help="Peak learning rate of AdamW.",
)
@click.option(
    "--validate-every",
    type=click.IntRange(1),
    default=DEFAULTS.validate_every,
    show_default=True,
    help="Steps from one look at the held-out classes to the next.",
)
@options.seed
@options.device
@click.option(
    "--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes on the CPU, or GPUs."
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Of the computation; auto takes bf16 on GPUs that have it.",
)
@click.option("--cache", type=options.PATH, help="Folder for frozen features; kept for the next run. [OUT.cache]")
@click.option("--cache-gb", type=float, default=16.0, show_default=True, help="Most that the cache may take.")
@click.option("--fresh", is_flag=True, help="Start over, even if an earlier run was stopped half-way.")
@click.option("--overwrite", is_flag=True, help="Replace teacher, card and curve if they exist.")
@options.as_json
@options.debug
def command(
    sources: tuple[Path, ...],
    out: Path,
    hold_out: str | None,
    backbone: str,
    backbone_weights: Path | None,
    steps: int,
    episodes: int,
    shots: int,
    size: int,
    views: float,
    synthetic: int,
    synthetic_share: float,
    learning_rate: float,
    validate_every: int,
    seed: int,
    device: str,
    processes: int,
    precision: str,
    cache: Path | None,
    cache_gb: float,
    fresh: bool,
    overwrite: bool,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Teach the teacher what "the same thing" looks like, on episodes over the classes of the SOURCE folders.

    Each SOURCE holds images/, masks/ and meta.json with class names, or images annotated in another format that 'fit'
    reads; the more classes the better. The result starts any number of fits: 'distillfss fit --init FILE'. Beside it go
    a model card (.md) and the curve (.png).

    A run that is stopped leaves FILE.part; the same command goes on from there. The frozen features stay in the cache
    folder for the next run; remove it when you are done.
    """
    config = replace(
        DEFAULTS,
        seed=seed,
        backbone=backbone,
        backbone_weights=None if backbone_weights is None else str(backbone_weights),
        size=size,
        steps=steps,
        episodes=episodes,
        max_shots=shots,
        views=views,
        synthetic=synthetic,
        synthetic_share=synthetic_share,
        hold_out=tuple(options.split_names(hold_out) or ()),
        learning_rate=learning_rate,
        validate_every=validate_every,
    )
    if out.suffix != SUFFIX and not out.is_dir():  # the card, or the curve, may have that very name
        cure = f"Name it so, such as {out.with_name(out.stem + SUFFIX)}"
        raise UsageError(f"the name of the teacher does not end in {SUFFIX}", path=out, cure=cure)
    options.check_new_file(out, overwrite, "teacher.safetensors")
    state = out.with_name(out.name + ".part")
    card, curve = out.with_suffix(".md"), out.with_suffix(".png")
    options.check_new_file(card, overwrite)
    options.check_new_file(curve, overwrite)
    folder = cache or out.with_name(out.name + ".cache")
    with display() as show:
        show.update("loading PyTorch")
        from distillfss.training.state import check_state

        check_state(state)
        if fresh:
            state.unlink(missing_ok=True)
        from distillfss.meta.report import describe_source, mean_iou, model_card, write_curve
        from distillfss.meta.running import meta_train, save_teacher

        result = meta_train(
            sources,
            config,
            state=state,
            cache=folder,
            cache_gb=cache_gb,
            device=device,
            processes=processes,
            precision=precision,
            progress=lambda now: show.update(PHASES[now.phase], now.done, now.total, now.message),
        )
        show.update("writing the teacher")
        save_teacher(out, config, result)
        names = [source.resolve().name for source in sources]
        told = [describe_source(source) for source in sources]
        atomic_write(card, model_card(out.stem, config, result, told, spelled(names, out, config, processes)).encode())
        write_curve(curve, result.history)
        state.unlink(missing_ok=True)
    report = {
        "teacher": str(out),
        "card": str(card),
        "curve": str(curve),
        "bytes": out.stat().st_size,
        "seconds": round(result.seconds, 1),
        "held_out": {
            name: {column: number_or_none(value) for column, value in row.items()}
            for name, row in result.held_out.items()
        },
        "history": [
            dict(zip(("step", "loss", "iou_1", "iou_5"), map(number_or_none, row), strict=True))
            for row in result.history
        ],
    }
    if not as_json:
        click.echo(f"teacher    {out} ({options.megabytes(out)})")
        click.echo(f"learnt     in {options.duration(result.seconds)} from {steps * episodes:,} episodes")
        if config.hold_out:
            for k in (1, 5):
                if math.isnan(mean_iou(result.held_out, "teacher", k)):
                    click.echo(f"held out   {k} shot{'s' * (k > 1)}: no class has enough images")
                    continue
                means = [100 * mean_iou(result.held_out, c, k) for c in ("teacher", "untrained", "prototypes")]
                click.echo(
                    f"held out   {k} shot{'s' * (k > 1)}: {means[0]:.1f} % IoU"
                    f" (untrained {means[1]:.1f}, prototypes {means[2]:.1f})"
                )
        click.echo(f"card       {card}")
        click.echo(f"curve      {curve}")
        click.echo("")
        click.echo("Next, a model that starts from it:")
        click.echo(f"  {options.shell('fit', 'SUPPORT', '--init', out, '--out', 'MODEL')}")
    return report


def spelled(sources: list[str], out: Path, config: MetaConfig, processes: int) -> str:
    """The command that gives the same teacher, with every setting that is not the default."""
    from distillfss.meta.running import settings_of

    chosen: dict[str, Any] = {
        "hold-out": ",".join(config.hold_out),
        "backbone": config.backbone,
        "backbone-weights": settings_of(config)["backbone_weights"],
        "steps": config.steps,
        "episodes": config.episodes,
        "shots": config.max_shots,
        "size": config.size,
        "views": config.views,
        "synthetic": config.synthetic,
        "synthetic-share": config.synthetic_share,
        "learning-rate": config.learning_rate,
        "validate-every": config.validate_every,
        "seed": config.seed,
        "processes": processes,
    }
    defaults = {p.opts[-1].removeprefix("--"): p.default for p in command.params}
    told = {key: value for key, value in chosen.items() if value not in (defaults[key], "", None)}
    words = [word for key, value in told.items() for word in (f"--{key}", str(value))]
    return options.shell("meta-train", *sources, "--out", out.name, *words)
