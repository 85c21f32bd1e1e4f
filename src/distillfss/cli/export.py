"""``distillfss export MODEL --format onnx``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distillfss.cli import options
from distillfss.cli.display import display
from distillfss.errors import UsageError
from distillfss.export.format import PRECISIONS

if TYPE_CHECKING:
    from distillfss.export.exporting import ExportReport


@click.command("export", short_help="Write a model as one ONNX file.")
@options.path_argument("model")
@click.option(
    "--format", "kind", type=click.Choice(["onnx"]), default="onnx", show_default=True, help="Format of the file."
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="fp16 halves the file, int8 quarters it and is faster where the processor has 8-bit instructions.",
)
@click.option(
    "--calibrate",
    multiple=True,
    type=options.PATH,
    metavar="FOLDER",
    help="Images like those to come, with or without masks; may be given several times. int8 needs them.",
)
@click.option("--out", "-o", type=options.PATH, help="The file to write.  [default: MODEL with the ending .onnx]")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@options.as_json
@options.debug
def command(
    model: Path,
    kind: str,
    precision: str,
    calibrate: tuple[Path, ...],
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    debug: bool,
) -> dict[str, Any]:
    """Write MODEL as one ONNX file for ONNX Runtime, OpenVINO, browsers and other runtimes.

    It takes bytes of any size and gives a mask of the same size: whatever happens to an image in between is inside. It
    is compared with the model in PyTorch on images of ten odd sizes, and not written if the two disagree.
    """
    out = model.with_suffix(".onnx") if out is None else out
    if out == model:
        raise UsageError("this is an ONNX file already", cure="Give the .safetensors file of `fit`", path=model)
    options.check_new_file(out, overwrite, "model.onnx")
    with display() as show:
        show.update("loading PyTorch")
        from distillfss.export.exporting import check_packages, export_onnx
        from distillfss.segmenter import Segmenter

        check_packages()
        segmenter = Segmenter.load(model, device="cpu")
        report = export_onnx(segmenter, out, precision, calibrate, tell=show.update)
    if not as_json:
        _print(report)
    return report.to_dict()


def _print(report: ExportReport) -> None:
    click.echo(f"model      {report.path} ({options.megabytes(report.path)}, {report.precision}, opset {report.opset})")
    exact = report.checks.get(report.precision, report.checks["fp32"])
    if report.precision == "int8":
        change = f"{abs(exact['lost']):.2f} points of IoU {'gained' if exact['lost'] < 0 else 'lost'}"
        shown = (
            f"{exact['layers']}, {change} on {exact['images']} images"
            if exact["model"] is not None
            else f"{exact['layers']}, {exact['twins']:.2f} % IoU with the float32 masks of {exact['images']} images"
        )
    else:
        shown = (
            f"logits within {exact['logits']:.2g}, {100 * (1 - exact['masks']):.3f} % of the pixels equal, "
            f"on {exact['images']} images of odd sizes"
        )
    click.echo(f"checked    {shown}")
    click.echo("")
    click.echo("Used like any model, without PyTorch:")
    click.echo(f"  {options.shell('predict', report.path)} IMAGES --out MASKS")
