"""Index PNG: ``masks/STEM.png`` beside ``images/STEM.*``, the class index as value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distillfss.io.annotations.base import Annotations, is_dir
from distillfss.io.legend import foreground_names, read_legend
from distillfss.io.pairs import find_pairs


def detect(folder: Path) -> bool:
    return is_dir(folder / "images") and is_dir(folder / "masks")


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    pairs, faults = find_pairs(folder)
    legend = read_legend(folder)
    if chosen is not None:
        legend = replace(legend, names=foreground_names(chosen))
    return Annotations("index-png", pairs, faults, legend)
