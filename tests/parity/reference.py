"""The reference outputs beside the checkout (shared/parity): cases, inputs, weights filled from their names."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from helpers import REPOSITORY
from torch import Tensor

FOLDER = REPOSITORY.parent / "shared" / "parity"
SIZE = 384
FAMILIES = {"resnet50": "resnet50", "swin": "swin_b"}
"""The reference's name of a backbone -> ours."""

needs_reference = pytest.mark.skipif(
    not (FOLDER / "manifest.json").is_file(),
    reason="the authors' outputs are not here: no folder shared/parity beside the checkout",
)


def cases() -> list[dict[str, Any]]:
    path = FOLDER / "manifest.json"
    return json.loads(path.read_text()) if path.is_file() else []


def author_shapes(key: str) -> dict[str, list[int]]:
    """Names and shapes of the tensors of one of the authors' state dicts."""
    return json.loads((FOLDER / "author_state_dict_keys.json").read_text())[key]


def outputs(case: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{case}.npz") as file:
        return dict(file)


def filler() -> ModuleType:
    """The module that makes weights from names, and inputs from seeds."""
    spec = importlib.util.spec_from_file_location("parity_fill", Path(FOLDER / "fill.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_filled: dict[tuple[str, tuple[int, ...]], Tensor] = {}


def filled(shapes: dict[str, Any]) -> dict[str, Tensor]:
    """Tensors by the reference's names; each is made once until ``forget``."""
    for name, shape in shapes.items():
        if (name, tuple(shape)) not in _filled:
            one = {name: torch.zeros(*shape)}
            filler().fill_(one)
            _filled[name, tuple(shape)] = one[name]
    return {name: _filled[name, tuple(shape)] for name, shape in shapes.items()}


def forget() -> None:
    """Give the memory of all filled tensors back."""
    _filled.clear()


def mean_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean absolute difference over mean absolute value."""
    return float(np.abs(ours - theirs).mean() / np.abs(theirs).mean())
