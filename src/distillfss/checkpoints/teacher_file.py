"""A teacher in one file of ours: attention, mixer and maybe the backbone as safetensors, described in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from distillfss import __version__
from distillfss.artifact import load_strictly
from distillfss.backbones.base import Backbone
from distillfss.checkpoints import names
from distillfss.checkpoints.guarded import format_version, open_tensors, read_all
from distillfss.errors import ModelFileError
from distillfss.io.description import description, printable, text_of
from distillfss.io.files import atomic_write
from distillfss.models.dcama import DcamaTeacher
from distillfss.models.teacher import Teacher

FORMAT = "distillfss-teacher"
FORMAT_VERSION = 1

_FETCH_AGAIN = "Copy it again from where it was made, by `distillfss meta-train` or `import-checkpoint`"


@dataclass(frozen=True)
class TeacherInfo:
    """What a teacher file says about itself.

    Attributes
    ----------
    backbone
        Name of the backbone.
    concat_support
        Whether the mixer is shown the support's features beside the query's.
    architecture
        ``dcama``: the teacher as its authors built it, with the backbone's tensors in the file. ``distillfss``: ours,
        meta-trained, without them.
    size
        Side of the square images it was trained on, in pixels.
    summary
        Where it comes from.
    backbone_sha256
        SHA-256 of the weight file of the backbone it was trained on, if that is not in the file.
    library_version
        Version that wrote the file.
    """

    backbone: str
    concat_support: bool
    architecture: str = "dcama"
    size: int = 384
    summary: dict[str, Any] = field(default_factory=dict)
    library_version: str = __version__
    backbone_sha256: str = ""


def write_teacher(path: Path, info: TeacherInfo, tensors: Mapping[str, Tensor]) -> None:
    """Write a teacher file, whole or not at all; ``tensors`` are named ``teacher.*`` and maybe ``backbone.*``.

    Raises
    ------
    OutputError
        If it cannot be written; an existing file stays as it was.
    """
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "info": json.dumps(asdict(info))}
    atomic_write(path, save({k: v.detach().contiguous() for k, v in tensors.items()}, metadata))


def load_teacher(path: str | Path) -> tuple[Backbone, DcamaTeacher, TeacherInfo]:
    """Read a teacher file that ``import-checkpoint`` wrote.

    Returns
    -------
    backbone, teacher, info
        Both in evaluation mode, on the CPU, ready for ``teacher(query, teacher.support_tokens(features, masks))``.

    Raises
    ------
    ModelFileError
        If it is missing, damaged, no teacher of ours, or of a newer format.
    """
    path = Path(path)
    info, tensors = _read(path)
    if info.backbone not in names.BACKBONES or info.architecture != "dcama":
        raise ModelFileError(
            f"architecture {info.architecture} on {info.backbone} is unknown", path=path, cure="Update distillfss"
        )
    with torch.random.fork_rng(devices=[]):  # initial weights nobody will see should not cost the caller's seed
        backbone = names.BACKBONES[info.backbone]()
        teacher = DcamaTeacher(backbone.layers, info.concat_support)
    load_strictly(backbone, tensors, "backbone.", path)
    load_strictly(teacher, tensors, "teacher.", path)
    return backbone, teacher.eval(), info


def load_start(path: str | Path, teacher: Teacher, backbone: str, backbone_sha256: str) -> TeacherInfo:
    """Give a teacher the weights that ``meta-train`` wrote.

    Parameters
    ----------
    path
        The file.
    teacher
        Built on the pyramid of ``backbone``; changed in place.
    backbone, backbone_sha256
        The backbone it is going to see, and the SHA-256 of its weights.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, no meta-trained teacher, or was trained on another backbone.
    """
    path = Path(path)
    info, tensors = _read(path)
    if info.architecture != "distillfss":
        raise ModelFileError(
            f"a fit cannot start from a teacher of architecture {info.architecture}",
            path=path,
            cure="Give a file that `distillfss meta-train` wrote",
        )
    if info.backbone != backbone:
        raise ModelFileError(
            f"it was trained on {info.backbone}, not on {backbone}", path=path, cure=f"Add --backbone {info.backbone}"
        )
    if info.backbone_sha256 != backbone_sha256:
        raise ModelFileError(
            f"it was trained on other weights of {backbone} than those in use",
            path=path,
            cure="Use the backbone's weights it was trained on, or --init scratch",
        )
    load_strictly(teacher, tensors, "teacher.", path)
    return info


def _read(path: Path) -> tuple[TeacherInfo, dict[str, Tensor]]:
    with open_tensors(path, "teacher file", _FETCH_AGAIN) as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ModelFileError("this is no teacher file", path=path, cure=_FETCH_AGAIN)
        format_version(metadata, FORMAT_VERSION, path, _FETCH_AGAIN)
        try:
            raw = description(metadata["info"])
            info = TeacherInfo(
                backbone=text_of(raw, "backbone"),
                concat_support=bool(raw["concat_support"]),
                architecture=text_of(raw, "architecture"),
                size=int(raw["size"]),
                summary=dict(raw["summary"]),
                library_version=text_of(raw, "library_version"),
                backbone_sha256=text_of(raw, "backbone_sha256", ""),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = printable(repr(error))
            raise ModelFileError(f"its description is damaged ({reason})", path=path, cure=_FETCH_AGAIN) from error
        tensors = read_all(file, path, _FETCH_AGAIN)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelFileError(f"tensor {name} holds impossible numbers", path=path, cure=_FETCH_AGAIN)
    return info, tensors
