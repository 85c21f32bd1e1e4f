"""What a fit's teacher starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distillfss.backbones import BACKBONES, weights_sha256
from distillfss.backbones.weights import file_sha256
from distillfss.checkpoints.teacher_file import load_start
from distillfss.models.mixer import JOINING_STRIDES
from distillfss.models.teacher import Teacher
from distillfss.weights import shipped_start

AUTO, SCRATCH = "auto", "scratch"


@dataclass(frozen=True)
class Start:
    """Name of what a teacher started from, and SHA-256 of its file (empty for a start from scratch)."""

    name: str
    sha256: str = ""


def start_file(init: str, backbone: str, backbone_sha256: str) -> Path | None:
    """The meta-trained teacher that ``init`` means for a backbone; None for a start from scratch.

    ``auto`` makes do with scratch where none was shipped, or the backbone has weights of its own.
    """
    if init == SCRATCH:
        return None
    if init != AUTO:
        return Path(init)
    known = backbone in BACKBONES and weights_sha256(backbone) == backbone_sha256
    return shipped_start(backbone) if known else None


def initialise(teacher: Teacher, init: str, backbone: str, backbone_sha256: str) -> Start:
    """Give a teacher its first weights.

    Parameters
    ----------
    teacher
        With random weights, which stay if there is nothing to start from.
    init
        ``auto``, ``scratch`` or the name of a file.
    backbone, backbone_sha256
        The backbone and the SHA-256 of its weights.

    Raises
    ------
    ModelFileError
        If the file asked for is no meta-trained teacher of this backbone.
    """
    path = start_file(init, backbone, backbone_sha256)
    if path is None:
        return Start(SCRATCH)
    if teacher.mixer.joining == JOINING_STRIDES:
        load_start(path, teacher, backbone, backbone_sha256)
    else:  # what many classes make do without was meta-trained like all else
        whole = Teacher(teacher.layers)
        load_start(path, whole, backbone, backbone_sha256)
        learnt = whole.state_dict()
        teacher.load_state_dict({name: learnt[name] for name in teacher.state_dict()})
    return Start(path.stem, file_sha256(path))
