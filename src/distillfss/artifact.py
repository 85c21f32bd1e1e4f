"""One file in, one file out: a fitted model as safetensors with everything it needs to know in its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from distillfss.backbones.base import Backbone
from distillfss.checkpoints.guarded import (
    check_file,
    format_version,
    open_tensors,
    read_all,
)
from distillfss.errors import ModelFileError, OutputError
from distillfss.io.description import printable
from distillfss.io.files import atomic_write
from distillfss.model_info import FETCH_AGAIN, MAX_CLASSES, ModelInfo, parsed_info

__all__ = ["MAX_CLASSES", "ModelInfo", "load_strictly", "load_student", "read_model", "tensors_sha256", "write_model"]

FORMAT = "distillfss-model"
FORMAT_VERSION = 1
PARTS_VERSION = 2
"""Of a model with several students, which a reader from before there were any refuses."""
DETAILS_VERSION = 3
"""Of a model that draws details, likewise."""
NEWEST_VERSION = DETAILS_VERSION
"""That is read."""
MAX_BYTES = {"distillfss": 256 * 2**20, "dcama": 4 * 2**30}
"""Largest file by architecture, without backbone: the paper's own student costs up to 200 MB per class, ours 0.1."""
A_DETAIL = "detail.correct.weight"
"""A tensor that a student has if, and only if, it draws details."""
A_FINE_JOIN = "mixer.join.4.weight"
"""One that it has if, and only if, the query's own features join at stride 4 (``models.mixer.MANY_CLASSES``)."""
MAX_BACKBONE_BYTES = 32 * 2**30
"""What an embedded backbone may add. A ViT-L has 1.2 GB; the largest DINOv3, with 7 billion parameters, 27 GB."""

_NOT_A_MODEL = "Give a file written by `distillfss fit` or Segmenter.save"


def write_model(path: Path, info: ModelInfo, tensors: Mapping[str, Tensor]) -> None:
    """Write a model file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written, or could not be read again; an existing file stays as it was.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format": FORMAT,
        "format_version": _version(info),
        "info": _description(info, path),
        "sha256": tensors_sha256(plain),
    }
    atomic_write(path, save(plain, metadata))


def _description(info: ModelInfo, path: Path) -> str:
    """As JSON, in which NaN and infinity are no numbers: a reader refuses them."""
    try:
        return json.dumps(info.to_dict(), allow_nan=False)
    except (TypeError, ValueError) as error:
        cure = "Keep what you put into `summary` to text, finite numbers of Python, lists and dicts"
        raise OutputError(f"the model's description is no JSON ({error})", path=path, cure=cure) from None


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over names and bytes of contiguous CPU tensors: a flipped bit must not become a wrong mask."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)  # NumPy has no bfloat16
    return digest.hexdigest()


def read_model(path: Path) -> tuple[ModelInfo, dict[str, Tensor]]:
    """Read a model file.

    Raises
    ------
    ModelFileError
        If it is missing, truncated, too large, no model of ours, of a newer format, or holds impossible numbers.
    """
    with open_tensors(path, "model file", FETCH_AGAIN, max(MAX_BYTES.values()) + MAX_BACKBONE_BYTES) as file:
        metadata = file.metadata() or {}
        info = _checked_info(metadata, path)
        embedded = MAX_BACKBONE_BYTES if info.backbone_embedded else 0
        check_file(path, MAX_BYTES[info.architecture] + embedded)  # before any tensor is read
        tensors = read_all(file, path, FETCH_AGAIN)
    for name, tensor in tensors.items():
        # a backbone may count (the batches of BatchNorm), what is learnt from the support never does
        counts = name.startswith("backbone.") and not tensor.is_floating_point() and not tensor.is_complex()
        if not counts and not (tensor.is_floating_point() and bool(torch.isfinite(tensor).all())):
            raise ModelFileError(f"tensor {name} holds impossible numbers", path=path, cure=FETCH_AGAIN)
    if metadata.get("sha256") != tensors_sha256(tensors):
        raise ModelFileError("its tensors are not those that were written", path=path, cure=FETCH_AGAIN)
    return info, tensors


def _checked_info(metadata: Mapping[str, str], path: Path) -> ModelInfo:
    if metadata.get("format") != FORMAT:
        raise ModelFileError("this safetensors file is no distillfss model", path=path, cure=_NOT_A_MODEL)
    format_version(metadata, NEWEST_VERSION, path, FETCH_AGAIN)
    info = parsed_info(metadata.get("info"), path)
    if metadata["format_version"] != _version(info):
        raise ModelFileError("its description does not fit its format version", path=path, cure=FETCH_AGAIN)
    if info.architecture not in MAX_BYTES:
        raise ModelFileError(f"unknown architecture {info.architecture!r}", path=path, cure="Update distillfss")
    return info


def _version(info: ModelInfo) -> str:
    return str(DETAILS_VERSION if info.details else PARTS_VERSION if info.parts else FORMAT_VERSION)


def load_student(info: ModelInfo, backbone: Backbone, tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The student of a model file, or several side by side; each is built only if those before it are in the file.

    Raises
    ------
    ModelFileError
        If the tensors are not those of such students, or these do not fit the backbone.
    """
    from distillfss.models.composite import StudentParts, draws_details

    members: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):  # initial weights nobody will see should not cost the caller's seed
        for number, part in enumerate(info.parts or ((True,) * len(info.class_names),)):
            prefix = f"student.members.{number}." if info.parts else "student."
            has = {name: f"{prefix}{name}" in tensors for name in (A_DETAIL, A_FINE_JOIN)}
            member = _built(info, backbone, len(part), path, details=has[A_DETAIL], fine_join=has[A_FINE_JOIN])
            load_strictly(member, tensors, prefix, path)
            members.append(member)
    if info.details != any(draws_details(member) for member in members):
        raise ModelFileError("its description does not fit its tensors", path=path, cure=FETCH_AGAIN)
    if not info.parts:
        return members[0]
    student = StudentParts(members, info.parts)
    unknown = {name for name in tensors if name.startswith("student.")}
    unknown -= {f"student.{name}" for name in student.state_dict()}
    if unknown:
        raise ModelFileError(
            f"{len(unknown)} tensors belong to no student ({printable(min(unknown))})", path=path, cure=FETCH_AGAIN
        )
    return student


def _built(info: ModelInfo, backbone: Backbone, ways: int, path: Path, *, details: bool, fine_join: bool) -> nn.Module:
    """A student of n classes whose tensors are still to come."""
    from distillfss.models.mixer import JOINING_STRIDES
    from distillfss.models.student import Student
    from distillfss.models.students import STUDENTS

    kind = STUDENTS[info.architecture]
    try:
        if kind is not Student:
            return kind(backbone.layers, ways)
        if details and backbone.fine_channels is None:
            raise ValueError("the backbone has no map for its details")
        joining = JOINING_STRIDES if fine_join else JOINING_STRIDES[:1]
        return Student(backbone.layers, ways, backbone.fine_channels if details else None, joining)
    except ValueError as error:
        problem = f"a student of architecture {info.architecture!r} does not fit {info.backbone}"
        raise ModelFileError(problem, path=path, cure=FETCH_AGAIN) from error


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    """Load the tensors under ``prefix`` into a module; every name and shape must fit.

    Raises
    ------
    ModelFileError
        Naming what is missing, unexpected or of the wrong shape.
    """
    given = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    wanted = module.state_dict()
    wrong = sorted(
        (wanted.keys() ^ given.keys()) | {k for k in wanted.keys() & given.keys() if wanted[k].shape != given[k].shape}
    )
    if wrong:
        shown = ", ".join(printable(prefix + name) for name in wrong[:3])
        raise ModelFileError(
            f"{len(wrong)} tensors are missing, unknown or of the wrong shape ({shown})", path=path, cure=FETCH_AGAIN
        )
    module.load_state_dict(given)
