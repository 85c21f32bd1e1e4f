"""Annotation files as deep in a folder as pictures are looked for."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from distillfss.io.annotations.base import DEEPEST


def deep_files(folder: Path, suffix: str) -> list[Path]:
    """Files with this suffix in the folder and ``DEEPEST`` levels below, sorted; hidden ones are not."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = [name for name in folders if depth < DEEPEST and name[0] != "."]
        found += [Path(place, name) for name in names if name.lower().endswith(suffix) and name[0] != "."]
    return sorted(found)


def place_in(folder: Path, path: Path) -> str:
    """The path from the folder on, alike for names that macOS and other systems spell differently."""
    return unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
