"""Tensors of a foreign weight file, whatever it is wrapped in. Nothing in a file is ever executed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from distillfss.errors import ModelFileError

TRAINING_STATE = re.compile(r"optim|sched|scaler", re.IGNORECASE)
"""Branches of a checkpoint that are no weights."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a ``.pt``, ``.pth`` or ``.safetensors`` file by name, on the CPU.

    Dictionaries within dictionaries (``{"model": {...}, "epoch": 3}``) are joined with dots; optimizer and scheduler
    states are left out.

    Raises
    ------
    ModelFileError
        If it is missing, damaged, holds no tensors, or holds objects other than tensors and plain values.
    """
    if not path.is_file():
        raise ModelFileError("there is no such file", path=path, cure="Check the path")
    try:
        with path.open("rb") as file:
            start = file.read(9)
        # eight bytes of length, then JSON; a .pt file is a zip archive or a pickle
        content = load_file(path) if start[8:] == b"{" else _unpickled(path)
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error})", path=path, cure="Check it") from error
    except SafetensorError as error:
        raise ModelFileError(f"it is damaged or cut short ({error})", path=path, cure="Fetch it again") from error
    found = dict(_flat(content, ""))
    if not found:
        raise ModelFileError(
            "there are no tensors in it", path=path, cure="Give a state dict: torch.save(model.state_dict(), FILE)"
        )
    return found


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            "it holds more than tensors or is no weight file, and nothing in it is executed",
            path=path,
            cure="Save its weights alone where it comes from: torch.save(model.state_dict(), FILE)",
        ) from error
    except OSError:
        raise
    except Exception as error:  # what a damaged archive makes torch.load raise has no end
        reason = str(error).split("\n")[0]
        raise ModelFileError(
            f"it is no weight file, or damaged ({reason})", path=path, cure="Fetch it again"
        ) from error


def _flat(content: Any, prefix: str) -> list[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        return [(prefix, content.detach())]
    if not isinstance(content, Mapping):
        return []
    return [
        pair
        for key, value in content.items()
        if isinstance(key, str) and not (isinstance(value, Mapping) and TRAINING_STATE.search(key))
        for pair in _flat(value, f"{prefix}.{key}" if prefix else key)
    ]
