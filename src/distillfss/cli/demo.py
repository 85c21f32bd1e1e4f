"""``distillfss demo``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distillfss.cli import options
from distillfss.cli.display import display
from distillfss.cli.fit import PHASES
from distillfss.config import FitConfig
from distillfss.demo import CSV, MODEL, PAGE, DemoResult, run_demo


@click.command("demo", short_help="Do all of it once on an embedded sample.")
@click.option(
    "--out",
    "-o",
    type=options.PATH,
    default=Path("distillfss-demo"),
    show_default=True,
    help="Folder for everything it makes.",
)
@options.seed
@options.device
@options.as_json
@options.debug
def command(out: Path, seed: int, device: str, as_json: bool, debug: bool) -> dict[str, Any]:
    """Learn from five annotated microscope pictures, mark eleven unseen ones, and make a page that shows it."""
    with display() as show:
        config = FitConfig(seed=seed, device=device)
        result = run_demo(out, config, lambda phase, step, steps: show.update(PHASES.get(phase, phase), step, steps))
    if not as_json:
        _print(result)
    return result.to_dict()


def _print(result: DemoResult) -> None:
    evaluation = result.evaluation
    click.echo(f"learnt from    {result.support_images} annotated images in {options.duration(result.fit_seconds)}")
    click.echo(f"judged on      {len(evaluation.images)} unseen images")
    click.echo(f"foreground IoU {100 * evaluation.foreground_iou:.1f} %")
    click.echo(f"trivial        {100 * evaluation.baseline_own.mean('iou'):.1f} % ({evaluation.baseline})")
    click.echo(f"latency        {1000 * result.seconds_per_image:.0f} ms per image ({result.device})")
    click.echo("")
    click.echo(f"page           {result.out / PAGE}")
    click.echo(f"model          {result.out / MODEL} ({result.model_bytes / 1e6:.1f} MB)")
    click.echo(f"masks          {result.out / 'masks'} (drawn over the images: {result.out / 'masks' / 'overlays'})")
    click.echo(f"per image      {result.out / CSV}")
    click.echo("")
    click.echo("With your own images, my-support/images/ and my-support/masks/ (same names; PNG")
    click.echo("masks: 0 is background, 1, 2, ... your classes, 255 does not count):")
    click.echo("  distillfss fit my-support --out my-model.safetensors")
    click.echo("  distillfss predict my-model.safetensors my-images --out my-masks")
    click.echo("  distillfss evaluate my-model.safetensors my-labelled --out my-report")
