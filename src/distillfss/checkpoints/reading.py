"""Tensors of a foreign weight file, whatever it is wrapped in. Nothing in a file is ever executed."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distillfss.checkpoints.guarded import (
    MAX_FILE_BYTES,
    MAX_REPEATED_BYTES,
    MAX_TENSORS,
    check_file,
    check_tensor,
    open_tensors,
    read_all,
)
from distillfss.errors import ModelFileError
from distillfss.io.description import printable

TRAINING_STATE = re.compile(r"optim|sched|scaler", re.IGNORECASE)
"""Branches of a checkpoint that are no weights."""
MAX_DEPTH = 20
"""Dictionaries within dictionaries."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a ``.pt``, ``.pth`` or ``.safetensors`` file by name, on the CPU.

    Dictionaries within dictionaries (``{"model": {...}, "epoch": 3}``) are joined with dots; optimizer and scheduler
    states are left out.

    Raises
    ------
    ModelFileError
        If it is missing, damaged, holds no tensors, or holds objects other than tensors and plain values.
    """
    size = check_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error})", path=path, cure="Check it") from error
    # eight bytes of length, then JSON; a .pt file is a zip archive or a pickle
    if start[8:] == b"{":
        with open_tensors(path, "weight file", "Fetch it again") as opened:
            found = read_all(opened, path, "Fetch it again")
    else:
        found = _tensors_in(_unpickled(path, size), path)
    if not found:
        raise ModelFileError(
            "there are no tensors in it", path=path, cure="Give a state dict: torch.save(model.state_dict(), FILE)"
        )
    return found


def _unpickled(path: Path, size: int) -> Any:
    try:
        _check_archive(path, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except ModelFileError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            "it holds more than tensors or is no weight file, and nothing in it is executed",
            path=path,
            cure="Save its weights alone where it comes from: torch.save(model.state_dict(), FILE)",
        ) from error
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error})", path=path, cure="Check it") from error
    except Exception as error:  # what a damaged archive makes torch.load raise has no end
        reason = printable(str(error).split("\n")[0])
        raise ModelFileError(
            f"it is no weight file, or damaged ({reason})", path=path, cure="Fetch it again"
        ) from error


def _check_archive(path: Path, size: int) -> None:
    """PyTorch stores what it writes as it is: an archive that unpacks to more than itself is none of PyTorch's."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > 2 * size:
        problem = f"it would unpack from {size / 2**20:.1f} to {unpacked / 2**20:.1f} MB"
        raise ModelFileError(problem, path=path, cure="Give a file that torch.save wrote")


def _tensors_in(content: Any, path: Path) -> dict[str, Tensor]:
    """Tensors of nested dictionaries by joined names; a dictionary may hold itself, or another a million times.

    A pickle may also describe a tensor of a million million elements over one stored number: harmless until something
    computes with it. Tensors expanded to the size of a layer are read.
    """
    found: dict[str, Tensor] = {}
    waiting, total, repeated, looked_at = [("", content, 0)], 0, 0, 0
    while waiting:
        prefix, value, depth = waiting.pop()
        looked_at += 1
        if depth > MAX_DEPTH or looked_at > 10 * MAX_TENSORS or len(found) > MAX_TENSORS:
            raise ModelFileError("it is nested too deeply, or holds too much", path=path, cure="Give a state dict")
        if isinstance(value, Tensor):
            check_tensor(prefix, value, path, "Give a state dict: torch.save(model.state_dict(), FILE)")
            claimed = value.numel() * value.element_size()
            repeated += max(0, claimed - value.untyped_storage().nbytes())
            if repeated > MAX_REPEATED_BYTES:
                problem = f"tensor {printable(prefix)} has {value.numel()} elements but fewer numbers"
                raise ModelFileError(problem, path=path, cure="Give a state dict: torch.save(model.state_dict(), FILE)")
            total += claimed
            if total > MAX_FILE_BYTES:  # names without end for the same stored numbers
                raise ModelFileError("its tensors are too large", path=path, cure="Give a state dict")
            found[prefix] = value.detach()
        elif isinstance(value, Mapping):
            waiting += [
                (f"{prefix}.{key}" if prefix else key, inner, depth + 1)
                for key, inner in reversed(list(value.items()))
                if isinstance(key, str) and not (isinstance(inner, Mapping) and TRAINING_STATE.search(key))
            ]
    return found
