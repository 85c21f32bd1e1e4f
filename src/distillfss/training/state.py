"""The state of an unfinished fit on disk: safetensors, whole or not at all, bound to its support and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distillfss.errors import OutputError
from distillfss.io.files import atomic_write, check_writable

FORMAT = "distillfss-fit-state-1"


@dataclass(frozen=True)
class FitState:
    """Where a fit stands: phase and step, seconds spent so far, and every tensor that decides what follows."""

    phase: int
    step: int
    seconds: float
    tensors: Mapping[str, Tensor]


def save_state(path: Path, state: FitState, fingerprint: str) -> None:
    """Write a state for the fit with this fingerprint.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    position = {"phase": state.phase, "step": state.step, "seconds": state.seconds}
    metadata = {"format": FORMAT, "fingerprint": fingerprint, "position": json.dumps(position)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    atomic_write(path, save(tensors, metadata))


def load_state(path: Path, fingerprint: str) -> FitState | None:
    """The state of the fit with this fingerprint, or None if the file is missing, damaged or another fit's."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("fingerprint") != fingerprint:
                return None
            position = json.loads(metadata["position"])
            return FitState(
                int(position["phase"]),
                int(position["step"]),
                float(position["seconds"]),
                {name: file.get_tensor(name) for name in file.keys()},  # noqa: SIM118  (no mapping)
            )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def is_state(path: Path) -> bool:
    """Whether a file is the state of some fit."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def check_state(path: Path) -> None:
    """Before any work: refuse to replace a file that is no state of a fit, and prove that one can be written there.

    Raises
    ------
    OutputError
        There is another file, or none can be written.
    """
    if path.exists() and not is_state(path):
        cure = "Move it away, or choose another name: this one is needed for the state of the fit"
        raise OutputError("is no state of a fit", cure=cure, path=path)
    check_writable(path)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's tensors by parameter number and name."""
    return {
        f"optimizer.{number}.{name}": value
        for number, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The reverse of ``optimizer_tensors``."""
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            entries.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
