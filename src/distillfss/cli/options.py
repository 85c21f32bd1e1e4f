"""Options several verbs share, and small helpers for what they print."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from distillfss.config import DEVICES
from distillfss.errors import OutputError, UsageError
from distillfss.io.files import check_writable
from distillfss.wording import counted

__all__ = [
    "FORMATS",
    "annotation_format",
    "as_json",
    "check_new_file",
    "check_writable",
    "debug",
    "device",
    "duration",
    "effort",
    "embed_backbone",
    "init",
    "make_folder",
    "megabytes",
    "path_argument",
    "refuse_swapped",
    "seed",
    "shell",
    "split_names",
]

Command = TypeVar("Command", bound=Callable[..., Any])

device = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes CUDA, then MPS, then the CPU.",
)
effort = click.option(
    "--effort", type=float, default=1.0, show_default=True, help="Multiplies the number of training steps."
)
embed_backbone = click.option(
    "--embed-backbone", is_flag=True, help="Put the backbone into the file even if it has not learnt (some 12 MB)."
)
init = click.option(
    "--init",
    default="auto",
    show_default=True,
    metavar="auto|scratch|FILE",
    help="What the teacher starts from: its meta-trained weights, nothing, or a file of 'meta-train'.",
)
seed = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Decides all that is random."
)
FORMATS = (
    "index-png",
    "binary-png",
    "colour-png",
    "coco",
    "labelme",
    "cvat",
    "yolo",
    "label-studio",
    "supervisely",
    "imagej",
    "geojson",
)
"""Keys of ``io.annotations.FORMATS``, which is not imported for ``--help``."""

annotation_format = click.option(
    "--format",
    "format_name",
    type=click.Choice(["auto", *FORMATS]),
    default="auto",
    show_default=True,
    metavar="NAME",
    help=f"Annotation format: auto, {', '.join(FORMATS)}.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document to standard output.")
PATH = click.Path(path_type=Path, readable=False)
"""A path that our own code checks, so that its errors name the cure."""

MODEL_SUFFIXES = (".safetensors", ".onnx")

debug = click.option("--debug", is_flag=True, help="Show the stack trace of an error.")


def split_names(text: str | None) -> list[str] | None:
    """``"crack, hole"`` → ``["crack", "hole"]``."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(
            f"--classes {text!r} holds an empty name", cure="Separate names by single commas: --classes crack,hole"
        )
    return names


def path_argument(name: str) -> Callable[[Command], Command]:
    """A path that our own code checks, so that its errors name the cure."""
    return click.argument(name, type=PATH)


def refuse_swapped(model: Path, folder: str | Path, name: str) -> None:
    """Raise the ``UsageError`` of a folder and a model given in the other order; ``name`` is that of the argument."""
    second = Path(folder)
    if model.is_dir() and second.suffix.lower() in MODEL_SUFFIXES and second.is_file():
        raise UsageError(f"is a folder, and {second} looks like a model", cure=f"The order is MODEL {name}", path=model)


def check_new_file(path: Path, overwrite: bool, usual: str = "model.safetensors") -> None:
    """Before any work: refuse a file that exists, make its folder, and prove that it can be written to.

    ``usual`` is the name that is proposed where the path is a folder.
    """
    if path.is_dir():
        raise OutputError("is a folder", cure=f"Name a file, such as {path / usual}", path=path)
    if path.exists() and not overwrite:
        raise OutputError("exists already", cure="Choose another name or add --overwrite", path=path)
    make_folder(path.parent)
    check_writable(path)


def check_model_file(path: Path, overwrite: bool) -> None:
    """``check_new_file`` for a model, which is no ONNX file whatever its name."""
    from distillfss.segmenter import refuse_onnx_name

    refuse_onnx_name(path)
    check_new_file(path, overwrite)


def make_folder(folder: Path) -> None:
    """Make the folder with those above it, if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"this folder cannot be made ({error.strerror})", cure="Choose another folder", path=folder
        ) from None


def shell(*words: str | Path) -> str:
    """A command to copy and paste."""
    return shlex.join(["distillfss", *(str(word) for word in words)])


def free_name(name: str) -> str:
    """``name``, or with a number the first that does not exist here: what is proposed has to work as it stands."""
    usual = Path(name)
    taken, number = usual, 1
    while taken.exists():
        number += 1
        taken = usual.with_stem(f"{usual.stem}-{number}")
    return str(taken)


def megabytes(path: Path) -> str:
    """Size of a file for people."""
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def images(count: int) -> str:
    """For people: ``1 image``, ``5 images``."""
    return counted(count, "image")


def duration(seconds: float) -> str:
    """``47 s`` or ``3 min 20 s``."""
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"
