"""Meta-trained teachers that come with the package, each with a model card beside it."""

from __future__ import annotations

from pathlib import Path

SHIPPED = {"efficientnet_lite0": "dcama-lite0"}
"""Backbone -> name of the teacher that was meta-trained on it."""


def shipped_start(backbone: str) -> Path | None:
    """File of the meta-trained teacher for a backbone, if there is one."""
    if backbone not in SHIPPED:
        return None
    path = Path(__file__).parent / f"{SHIPPED[backbone]}.safetensors"
    return path if path.is_file() else None
