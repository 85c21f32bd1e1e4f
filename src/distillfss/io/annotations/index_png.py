"""Index PNG: ``masks/STEM.png`` beside ``images/STEM.*``, the class index as value.

Names are those of ``meta.json``. Given names that are all among them choose; others take their place in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distillfss.io.annotations.base import Annotations, is_dir
from distillfss.io.legend import META, foreground_names, read_legend, renamed
from distillfss.io.pairs import Choice, find_pairs


def detect(folder: Path) -> bool:
    return is_dir(folder / "images") and is_dir(folder / "masks")


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    pairs, faults = find_pairs(folder)
    legend = read_legend(folder)
    named = legend.names or ()
    names = legend.names if chosen is None else foreground_names(chosen)
    if names == legend.names or names is None:
        return Annotations("index-png", pairs, faults, legend)
    if not set(names) <= set(named):
        legend = replace(legend, names=names)
        return Annotations("index-png", pairs, faults, legend, notices=renamed(folder, named, names))
    choice = Choice(len(named), tuple(named.index(name) + 1 for name in names))
    left = ", ".join(name for name in named if name not in names)
    notices = [f"{folder}: {left} of {META} not chosen: counted as background"] if left else []
    pairs = [replace(pair, choice=choice) for pair in pairs]
    return Annotations("index-png", pairs, faults, replace(legend, names=names, chosen=True), notices=notices)
