"""What is in a file of the authors: backbone, teacher (attention and mixer) and student, under our names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from distillfss.artifact import MAX_CLASSES
from distillfss.checkpoints import names
from distillfss.errors import ModelFileError
from distillfss.models.dcama.attention import positional_encoding

SHOWN = 8
"""Names of missing or unknown tensors that a message lists."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Parts:
    """Tensors of one file, sorted; a part that is not there is empty.

    Attributes
    ----------
    path
        The file.
    backbone_name
        A key of ``names.BACKBONES``, also known if the backbone itself is elsewhere. None for a file of no such part.
    backbone, teacher, student
        Tensors under our names, as stored. ``teacher`` may hold the mixer without the attention.
    unknown
        Names, as in the file, of tensors that belong to none of them.
    """

    path: Path
    backbone_name: str | None
    backbone: Tensors = field(default_factory=dict)
    teacher: Tensors = field(default_factory=dict)
    student: Tensors = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def ways(self) -> int:
        """Number of classes of the student; 0 without one."""
        return 1 + max((int(name.split(".")[1]) for name in self.student), default=-1)


@dataclass(frozen=True)
class _Role:
    """One part under one prefix: where a name of the file goes."""

    part: str
    prefix: str
    ours: Mapping[str, str]
    unused: Callable[[str], bool]

    def place(self, name: str) -> str | None:
        """Our name; an empty one for a tensor we compute ourselves; None if it does not belong here."""
        if not name.startswith(self.prefix):
            return None
        rest = name.removeprefix(self.prefix)
        return "" if self.unused(rest) else self.ours.get(rest)


def sort_tensors(tensors: Mapping[str, Tensor], path: Path) -> Parts:
    """Find the parts of a file, whatever their names begin with (``module.``, ``teacher.``, nothing, ...).

    A part stored twice (modules that share it) counts once if both copies are equal.

    Raises
    ------
    ModelFileError
        If two parts of the same kind differ, or positional encodings are not those of the method.
    """
    prefixes = {kind: _prefixes(tensors, anchor) for kind, anchor in names.ANCHORS.items()}
    backbone_name = _backbone_name(tensors, prefixes, path)
    if backbone_name is None:
        return Parts(path, None, unknown=tuple(sorted(tensors)))
    # longest first: what stands under "teacher.model." must not be taken for something under ""
    roles = sorted(_roles(backbone_name, prefixes, _ways(tensors, path)), key=lambda role: -len(role.prefix))
    found: dict[str, Tensors] = {"backbone": {}, "teacher": {}, "student": {}}
    unknown = []
    for name, tensor in tensors.items():
        for role in roles:
            ours = role.place(name)
            if ours is None:
                continue
            if ours == "":
                _check_positions(name.removeprefix(role.prefix), tensor, path)
            elif ours in found[role.part] and not torch.equal(found[role.part][ours], tensor):
                raise ModelFileError(
                    f"there are two different {role.part}s in it (see {name})",
                    path=path,
                    cure="Save the one you mean alone",
                )
            else:
                found[role.part][ours] = tensor
            break
        else:
            unknown.append(name)
    return Parts(path, backbone_name, found["backbone"], found["teacher"], found["student"], tuple(sorted(unknown)))


def check_complete(given: Mapping[str, Tensor], wanted: names.Shapes, what: str, path: Path) -> None:
    """Every tensor there, in its shape, with finite numbers.

    Raises
    ------
    ModelFileError
        Naming, as the authors do, what is missing or misshapen.
    """
    missing = [names.authors_name(name) for name in wanted if name not in given]
    if missing:
        raise ModelFileError(
            f"{len(missing)} of the {len(wanted)} tensors of the {what} are missing: {listed(missing)}",
            path=path,
            cure="Give the whole file, as the authors' code writes it",
        )
    misshapen = [
        f"{names.authors_name(name)} {tuple(given[name].shape)} instead of {tuple(shape)}"
        for name, shape in wanted.items()
        if given[name].shape != shape
    ]
    if misshapen:
        raise ModelFileError(
            f"{len(misshapen)} tensors of the {what} have the wrong shape: {listed(misshapen)}",
            path=path,
            cure="Only ResNet-50 and Swin-B (384 px, window 12) are known",
        )
    for name in wanted:
        if not given[name].is_floating_point() or not bool(given[name].isfinite().all()):
            raise ModelFileError(
                f"{names.authors_name(name)} of the {what} holds impossible numbers", path=path, cure="Fetch it again"
            )


def listed(items: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    rest = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _prefixes(tensors: Mapping[str, Tensor], anchor: re.Pattern[str]) -> list[str]:
    return [match[1] for name in tensors if (match := anchor.match(name))]


def _ways(tensors: Mapping[str, Tensor], path: Path) -> int:
    numbers = (re.search(r"student\.(\d+)\.coarse_extractor\.", name) for name in tensors)
    ways = 1 + max((int(match[1]) for match in numbers if match), default=-1)
    if ways > MAX_CLASSES:
        raise ModelFileError(f"{ways} classes are too many (limit {MAX_CLASSES})", path=path, cure="Check the file")
    return ways


def _backbone_name(tensors: Mapping[str, Tensor], prefixes: Mapping[str, list[str]], path: Path) -> str | None:
    inside = [name for name in names.BACKBONES if prefixes[name]]
    if len(inside) > 1:
        raise ModelFileError(
            f"there are two backbones in it: {' and '.join(inside)}", path=path, cure="Save the one you mean alone"
        )
    if inside:
        return inside[0]
    # apart from its backbone, a part's width at stride 8 gives it away
    widths = {
        next(layer.channels for layer in names.skeleton(name).layers if layer.stride == 8): name
        for name in names.BACKBONES
    }
    for name, tensor in tensors.items():
        if re.search(r"(DCAMA_blocks\.0\.linears\.0|coarse_extractor\.0\.0)\.weight$", name):
            return widths.get(tensor.shape[0])
    return None


def _roles(backbone_name: str, prefixes: Mapping[str, list[str]], ways: int) -> list[_Role]:
    backbone = names.skeleton(backbone_name)
    kinds: list[tuple[str, str, names.Shapes, Callable[[str], bool]]] = [
        ("backbone", backbone_name, names.shapes(backbone), lambda rest: backbone.our_name(rest) is None),
        (
            "teacher",
            "teacher",
            names.teacher_shapes(backbone.layers, concat_support=False),
            lambda rest: names.POSITIONS.match(rest) is not None,
        ),
    ]
    if ways:
        kinds.append(("student", "student", names.student_shapes(backbone.layers, ways), lambda rest: False))
    return [
        _Role(part, prefix, {names.authors_name(ours): ours for ours in shapes}, unused)
        for part, anchor, shapes, unused in kinds
        for prefix in prefixes[anchor]
    ]


def _check_positions(rest: str, tensor: Tensor, path: Path) -> None:
    """Positional encodings are computed, not read: those in the file must be the same."""
    if names.POSITIONS.match(rest) is None:
        return
    rows = tensor.float().flatten(0, -2)[:64]
    if not torch.allclose(rows, positional_encoding(rows.shape[1], len(rows)), atol=1e-3):
        raise ModelFileError(
            f"{rest} holds other positional encodings than the method's",
            path=path,
            cure="A teacher trained with those cannot be imported",
        )
