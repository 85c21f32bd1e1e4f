"""``distillfss import-checkpoint CHECKPOINT --out FILE``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import display

if TYPE_CHECKING:
    from distillfss.checkpoints.importing import Imported


@click.command("import-checkpoint", short_help="Convert weights of the method's authors.")
@options.path_argument("checkpoint")
@click.option("--out", "-o", type=options.PATH, required=True, help="The file to write (.safetensors).")
@click.option(
    "--backbone-weights",
    type=options.PATH,
    help="The backbone, if CHECKPOINT lacks it: torchvision's resnet50 or the Swin repository's Swin-B for 384 px.",
)
@click.option("--teacher", type=options.PATH, help="The teacher's file, if CHECKPOINT holds a student alone.")
@click.option("--classes", metavar="A,B", help="Names of a student's classes, in their order.")
@click.option("--ignore-unknown", is_flag=True, help="Pass over tensors that are no part of the method.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@options.as_json
@options.debug
def command(
    checkpoint: Path,
    out: Path,
    backbone_weights: Path | None,
    teacher: Path | None,
    classes: str | None,
    ignore_unknown: bool,
    overwrite: bool,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Convert a teacher or a student that the code of the method's authors wrote (DCAMA, DistillFSS).

    CHECKPOINT is a .pt, .pth or .safetensors file with ResNet-50 or Swin-B. A student becomes a model for 'distillfss
    predict' and 'evaluate'; a teacher becomes a file with backbone, attention and mixer. Nothing in a file is executed.
    """
    names = options.split_names(classes)
    options.check_model_file(out, overwrite)
    with display() as show:
        show.update("reading")
        from distillfss.checkpoints.importing import read_checkpoint, write_imported

        imported = read_checkpoint(
            checkpoint, backbone_weights=backbone_weights, teacher=teacher, ignore_unknown=ignore_unknown
        )
        show.update("writing")
        info = write_imported(imported, out, names)
    report = {
        "file": str(out),
        "bytes": out.stat().st_size,
        "kind": imported.kind,
        "backbone": imported.backbone_name,
        "concat_support": imported.concat_support,
        "class_names": list(getattr(info, "class_names", ())),
        "tensors": len(imported.backbone) + len(imported.head),
        "sources": imported.sources,
    }
    if not as_json:
        _print(imported, report, out)
    return report


def _print(imported: Imported, report: dict[str, Any], out: Path) -> None:
    click.echo(f"{imported.kind:<9}{out} ({options.megabytes(out)})")
    click.echo(f"backbone {imported.backbone_name}, {len(imported.backbone)} tensors")
    click.echo(f"head     {len(imported.head)} tensors")
    if imported.kind == "student":
        click.echo(f"classes  {', '.join(report['class_names'])}")
        click.echo(f"\n{options.shell('predict', out, 'my-images', '--out', 'my-masks')}")
    else:
        click.echo(f"support  {'concatenated' if imported.concat_support else 'attended to only'}")
