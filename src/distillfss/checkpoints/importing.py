"""The authors' weight files (DCAMA teachers, DistillFSS students) as ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from distillfss.artifact import ModelInfo, write_model
from distillfss.backbones.imagenet import IN_WORDS
from distillfss.checkpoints import names
from distillfss.checkpoints.parts import Parts, check_complete, listed, sort_tensors
from distillfss.checkpoints.reading import read_tensors
from distillfss.checkpoints.teacher_file import TeacherInfo, write_teacher
from distillfss.errors import ModelFileError, UsageError
from distillfss.models.standardize import Standardize
from distillfss.segmenter import PREPROCESSING

ARCHITECTURE = "dcama"
SIZE = 384


@dataclass(frozen=True)
class Imported:
    """Complete, checked weights under our names.

    Attributes
    ----------
    kind
        ``student`` (support-free, becomes a model file) or ``teacher`` (needs a support set).
    backbone_name
        A key of ``names.BACKBONES``.
    concat_support
        Whether the mixer is shown the support's features; never with a student.
    ways
        Classes of the student, 0 for a teacher.
    backbone, head
        float32 tensors under our names; ``head`` is everything but the backbone.
    sources
        File name -> SHA-256 of every file read.
    backbone_sha256
        SHA-256 of the file the backbone was read from.
    """

    kind: Literal["teacher", "student"]
    backbone_name: str
    concat_support: bool
    ways: int
    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    sources: dict[str, str]
    backbone_sha256: str


def read_checkpoint(
    path: Path, *, backbone_weights: Path | None = None, teacher: Path | None = None, ignore_unknown: bool = False
) -> Imported:
    """Read a teacher or a student of the authors. A file with a student in it is a student.

    Parameters
    ----------
    path
        ``.pt``, ``.pth`` or ``.safetensors``; names may have any prefix.
    backbone_weights
        Where the backbone is, if it is not in ``path`` or ``teacher``: torchvision's ResNet-50 or the Swin
        repository's Swin-B (384 px, window 12).
    teacher
        Where the mixer is, if the student's file holds the student alone.
    ignore_unknown
        Pass over tensors that belong to none of the parts.

    Raises
    ------
    ModelFileError
        Naming what is missing, unknown or of the wrong shape.
    UsageError
        If a file is given for a part that is inside already.
    """
    files = [sort_tensors(read_tensors(file), file) for file in (path, teacher, backbone_weights) if file is not None]
    for parts in files:
        _check_known(parts, ignore_unknown)
    main, name = files[0], files[0].backbone_name
    assert name is not None
    for parts in files[1:]:
        if parts.backbone_name != name:
            raise ModelFileError(
                f"it belongs to {parts.backbone_name}, not to {name}", path=parts.path, cure="Give files of one model"
            )
    if not (main.teacher or main.student):
        raise ModelFileError(
            f"there is only a backbone in it ({name})", path=path, cure="Give it with --backbone-weights"
        )
    backbone = _holder(files, "backbone", backbone_weights, "--backbone-weights")
    check_complete(backbone.backbone, names.shapes(names.skeleton(name)), "backbone", backbone.path)
    head_file = _holder(files, "teacher", teacher, "--teacher")
    layers = names.skeleton(name).layers
    concat = _concatenates(head_file, layers)
    wanted = names.teacher_shapes(layers, concat)
    if main.student:
        if concat:
            raise ModelFileError(
                "its mixer is shown the support's features, which a student does not have",
                path=head_file.path,
                cure="Give a student that was distilled from a teacher without them",
            )
        own = names.student_shapes(layers, main.ways)
        check_complete(main.student, own, "student", path)
        wanted = {key: shape for key, shape in wanted.items() if names.is_mixer(key)}
    check_complete(head_file.teacher, wanted, "mixer" if main.student else "teacher", head_file.path)
    head = {key: head_file.teacher[key] for key in wanted} | main.student
    return Imported(
        kind="student" if main.student else "teacher",
        backbone_name=name,
        concat_support=concat,
        ways=main.ways,
        backbone=_plain(backbone.backbone),
        head=_plain(head),
        sources={parts.path.name: _sha256(parts.path) for parts in files},
        backbone_sha256=_sha256(backbone.path),
    )


def write_imported(imported: Imported, out: Path, class_names: Sequence[str] | None = None) -> ModelInfo | TeacherInfo:
    """Write a model file (of a student) or a teacher file.

    Parameters
    ----------
    imported
        What ``read_checkpoint`` returned.
    out
        The file to write.
    class_names
        Names of the student's classes; ``class_1``, ... if None.

    Raises
    ------
    OutputError
        If it cannot be written.
    UsageError
        If the names do not fit the classes.
    """
    summary = {"imported_from": imported.sources}
    backbone = {f"backbone.{name}": tensor for name, tensor in imported.backbone.items()}
    if imported.kind == "teacher":
        if class_names is not None:
            raise UsageError("a teacher has no classes of its own", cure="Leave out --classes")
        about = TeacherInfo(imported.backbone_name, imported.concat_support, summary=summary)
        write_teacher(out, about, backbone | {f"teacher.{name}": t for name, t in imported.head.items()})
        return about
    chosen = tuple(class_names or (f"class_{number}" for number in range(1, imported.ways + 1)))
    if len(chosen) != imported.ways:
        raise UsageError(
            f"{len(chosen)} class names for a student of {imported.ways} classes", cure=f"Give {imported.ways} names"
        )
    info = ModelInfo(
        class_names=chosen,
        backbone=imported.backbone_name,
        backbone_sha256=imported.backbone_sha256,
        backbone_embedded=True,
        size=SIZE,
        preprocessing={**PREPROCESSING, "normalise": IN_WORDS},
        summary=summary,
        architecture=ARCHITECTURE,
    )
    # the authors' student sees the backbone's features as they are: mean 0, deviation 1
    standardize = Standardize(names.skeleton(imported.backbone_name).layers).state_dict()
    tensors = {f"student.{name}": t for name, t in imported.head.items()}
    write_model(out, info, tensors | backbone | {f"standardize.{name}": t for name, t in standardize.items()})
    return info


def _check_known(parts: Parts, ignore_unknown: bool) -> None:
    if parts.backbone_name is None:
        raise ModelFileError(
            f"this is neither a DCAMA teacher nor a DistillFSS student with ResNet-50 or Swin-B; "
            f"it holds {listed(parts.unknown)}",
            path=parts.path,
            cure="Give a file that the authors' code wrote",
        )
    if parts.unknown and not ignore_unknown:
        raise ModelFileError(
            f"{len(parts.unknown)} tensors in it are unknown: {listed(parts.unknown)}",
            path=parts.path,
            cure="If they are not needed, add --ignore-unknown",
        )


def _holder(files: Sequence[Parts], part: str, asked: Path | None, option: str) -> Parts:
    """The one file that holds a part."""
    holders = [parts for parts in files if getattr(parts, part)]
    what = "mixer" if part == "teacher" else part
    if not holders:
        raise ModelFileError(
            f"the {what} is not in it", path=files[0].path, cure=f"Give the file that holds it with {option} FILE"
        )
    if asked is not None and holders[0].path != asked:
        raise UsageError(f"{holders[0].path.name} holds the {what} already", cure=f"Leave out {option}")
    return holders[0]


def _concatenates(file: Parts, layers: Sequence[names.Layer]) -> bool:
    """Whether the mixer's first convolution is wide enough for the support's features too."""
    key = "mixer.refine.4.0.weight"
    return file.teacher[key].shape == names.teacher_shapes(tuple(layers), concat_support=True)[key]


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
