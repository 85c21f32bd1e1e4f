"""One file in, one file out: a fitted model as safetensors with everything it needs to know in its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distillfss import __version__
from distillfss.errors import ModelFileError
from distillfss.io.files import atomic_write
from distillfss.model_info import FETCH_AGAIN, MAX_CLASSES, ModelInfo, parsed_info

__all__ = ["MAX_CLASSES", "ModelInfo", "load_strictly", "read_model", "tensors_sha256", "write_model"]

FORMAT = "distillfss-model"
FORMAT_VERSION = 1
MAX_BYTES = {"distillfss": 256 * 2**20, "dcama": 4 * 2**30}
"""Largest file by architecture, without backbone: the paper's own student costs up to 200 MB per class, ours 0.1."""
MAX_BACKBONE_BYTES = 32 * 2**30
"""What an embedded backbone may add. A ViT-L has 1.2 GB; the largest DINOv3, with 7 billion parameters, 27 GB."""

_NOT_A_MODEL = "Give a file written by `distillfss fit` or Segmenter.save"


def write_model(path: Path, info: ModelInfo, tensors: Mapping[str, Tensor]) -> None:
    """Write a model file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written; an existing file stays as it was.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "info": json.dumps(asdict(info)),
        "sha256": tensors_sha256(plain),
    }
    atomic_write(path, save(plain, metadata))


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over names and bytes of contiguous CPU tensors: a flipped bit must not become a wrong mask."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()


def read_model(path: Path) -> tuple[ModelInfo, dict[str, Tensor]]:
    """Read a model file.

    Raises
    ------
    ModelFileError
        If it is missing, truncated, too large, no model of ours, of a newer format, or holds impossible numbers.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelFileError("this is not a file", path=path, cure=_NOT_A_MODEL)
        _check_size(size, max(MAX_BYTES.values()) + MAX_BACKBONE_BYTES, path)
        with safe_open(path, framework="pt", device="cpu") as file:
            info = _checked_info(file.metadata(), path)
            embedded = MAX_BACKBONE_BYTES if info.backbone_embedded else 0
            _check_size(size, MAX_BYTES[info.architecture] + embedded, path)  # before any tensor is read
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            recorded = file.metadata().get("sha256")
    except FileNotFoundError as error:
        raise ModelFileError("there is no such file", path=path, cure="Check the path") from error
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error})", path=path, cure="Check it") from error
    except SafetensorError as error:
        raise ModelFileError(
            f"this is no model file, or it is damaged or cut short ({error})", path=path, cure=FETCH_AGAIN
        ) from error
    for name, tensor in tensors.items():
        # a backbone may count (the batches of BatchNorm), what is learnt from the support never does
        counts = name.startswith("backbone.") and not tensor.is_floating_point() and not tensor.is_complex()
        if not counts and not (tensor.is_floating_point() and bool(torch.isfinite(tensor).all())):
            raise ModelFileError(f"tensor {name} holds impossible numbers", path=path, cure=FETCH_AGAIN)
    if recorded != tensors_sha256(tensors):
        raise ModelFileError("its tensors are not those that were written", path=path, cure=FETCH_AGAIN)
    return info, tensors


def _check_size(size: int, limit: int, path: Path) -> None:
    if size > limit:
        problem = f"{size / 2**20:.0f} MB is too large for a model (limit {limit // 2**20} MB)"
        raise ModelFileError(problem, path=path, cure=_NOT_A_MODEL)


def _checked_info(metadata: Mapping[str, str] | None, path: Path) -> ModelInfo:
    metadata = metadata or {}
    if metadata.get("format") != FORMAT:
        raise ModelFileError("this safetensors file is no distillfss model", path=path, cure=_NOT_A_MODEL)
    version = metadata.get("format_version", "")
    if not version.isdecimal():
        raise ModelFileError("its format version is missing", path=path, cure=FETCH_AGAIN)
    if int(version) > FORMAT_VERSION:
        raise ModelFileError(
            f"its format version {version} is newer than {FORMAT_VERSION}, which distillfss {__version__} reads",
            path=path,
            cure="Update distillfss: pip install --upgrade distillfss",
        )
    info = parsed_info(metadata.get("info"), path)
    if info.architecture not in MAX_BYTES:
        raise ModelFileError(f"unknown architecture {info.architecture!r}", path=path, cure="Update distillfss")
    return info


def load_strictly(module: torch.nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
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
        shown = ", ".join(prefix + name for name in wrong[:3])
        raise ModelFileError(
            f"{len(wrong)} tensors are missing, unknown or of the wrong shape ({shown})", path=path, cure=FETCH_AGAIN
        )
    module.load_state_dict(given)
