"""What the folder of a data set holds, and whether that is what it should be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distillfss.bench.contents import open_dataset
from distillfss.bench.releases.base import Release
from distillfss.errors import DataError
from distillfss.io.annotations import is_annotated
from distillfss.io.annotations.base import Pictures
from distillfss.io.legend import META, Legend, foreground_names, is_binary, made_names
from distillfss.io.masks import IGNORE
from distillfss.io.opening import open_picture

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many pictures of it are done, and how many there are."""


@dataclass(frozen=True)
class Check:
    """One thing that should hold of a data set, whether it does, and the figures."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Survey:
    """Figures of a data set.

    Attributes
    ----------
    images_per_class
        In how many images a class occurs.
    areas
        Mean share of the image a class covers, over the images it occurs in.
    sizes
        Number of images by ``WIDTHxHEIGHT``, the five commonest.
    faults
        What is wrong with single files.
    """

    folder: Path
    pairs: int
    classes: tuple[str, ...]
    images_per_class: Mapping[str, int]
    areas: Mapping[str, float]
    ignored: float
    sizes: Mapping[str, int]
    parts: Mapping[str, int]
    faults: tuple[str, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)


def is_dataset(folder: Path) -> bool:
    """Whether a folder looks like our layout."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def datasets_in(folder: Path) -> list[Path]:
    """The folder itself if it is in our layout, else its sub-folders with annotated images, else itself if it has some.

    In that order, because some formats are also looked for one folder further down.
    """
    if is_dataset(folder):
        return [folder]
    inside = sorted(path for path in folder.iterdir() if is_annotated(path) and Pictures(path).paths)
    return inside or [folder] * is_annotated(folder)


def survey(folder: Path, progress: Progress | None = None, meta: Mapping[str, Any] | None = None) -> Survey:
    """Read every mask, and the header of every image, of a data set.

    Parameters
    ----------
    meta
        Content of ``meta.json`` where the file is not written yet.
    """
    labelled = open_dataset(folder)
    legend = labelled.legend if meta is None else _legend(meta)
    sizes: Counter[str] = Counter()
    shares: list[dict[int, float]] = []
    faults = []
    for index in range(len(labelled)):
        try:
            mask = labelled.raw_mask(index)
            with open_picture(labelled.image_path(index)) as image:
                size = image.size
        except DataError as fault:
            faults.append(str(fault))
            continue
        if sorted(size) != sorted(mask.shape):  # sides may be swapped by EXIF
            faults.append(f"{labelled.mask_path(index)}: not of the size of its image")
        sizes[f"{size[0]}x{size[1]}"] += 1
        values, counts = np.unique(mask, return_counts=True)
        shares.append(dict(zip(values.tolist(), (counts / mask.size).tolist(), strict=True)))
        if progress is not None:
            progress("reading masks", index + 1, len(labelled))
    meta = read_meta(folder) if meta is None else meta
    names = legend.names or _made_names(shares)
    if is_binary(shares, legend):
        shares = [{1 if value == IGNORE else value: share for value, share in each.items()} for each in shares]
    showing = {name: [each[v] for each in shares if v in each] for v, name in enumerate(names, start=1)}
    unnamed = sorted({v for each in shares for v in each if len(names) < v < IGNORE})
    if unnamed:
        faults.append(f"{folder}: mask value {unnamed[0]} without a class name")
    split = meta.get("split")
    return Survey(
        folder=folder,
        pairs=len(labelled),
        classes=names,
        images_per_class={name: len(each) for name, each in showing.items()},
        areas={name: float(np.mean(each)) if each else 0.0 for name, each in showing.items()},
        ignored=float(np.mean([each.get(IGNORE, 0.0) for each in shares])) if shares else 0.0,
        sizes=dict(sizes.most_common(5)),
        parts=dict(Counter(split[name] for name in labelled.names if name in split)) if isinstance(split, dict) else {},
        faults=tuple(faults),
        meta=meta,
    )


def _legend(meta: Mapping[str, Any]) -> Legend:
    return Legend(foreground_names(meta["classes"]), meta["ignore_index"] is not None)


def _made_names(shares: list[dict[int, float]]) -> tuple[str, ...]:
    return made_names(value for each in shares for value in each) or made_names([1])


def read_meta(folder: Path) -> dict[str, Any]:
    """``meta.json`` of a folder, empty where there is none; ``read_legend`` tells what is wrong with one."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def check(found: Survey, release: Release | None) -> list[Check]:
    """Compare a folder with what is known of its release (or only with itself, if it is none)."""
    faults = len(found.faults)
    checks = [Check("files", not faults, found.faults[0] if faults else "every mask is sound and fits its image")]
    absent = [name for name, count in found.images_per_class.items() if not count]
    checks.append(
        Check("classes", not absent, f"no mask holds {', '.join(absent)}" if absent else "every class occurs")
    )
    recorded = found.meta.get("n")
    if release is None:
        if isinstance(recorded, int):
            checks.append(Check("pairs", found.pairs == recorded, f"{found.pairs}, {META} says {recorded}"))
        return checks
    if release.classes:
        checks.append(Check("names", found.classes == release.classes, f"{', '.join(found.classes)}"))
    if release.pairs:
        expected = " or ".join(f"{count:,}" for count in release.pairs)
        checks.append(Check("pairs", found.pairs in release.pairs, f"{found.pairs:,} of {expected}"))
    elif isinstance(recorded, int):
        checks.append(Check("pairs", found.pairs == recorded, f"{found.pairs:,}, {META} says {recorded:,}"))
    if found.parts:
        for part, count in release.parts.items():
            have = found.parts.get(part, 0)
            checks.append(Check(f"{part} part", have == count, f"{have:,} of {count:,}"))
    for name, count in release.images_per_class.items():
        have = found.images_per_class.get(name, 0)
        checks.append(Check(f"images with {name}", have == count, f"{have:,} of {count:,}"))
    for name, (low, high) in release.areas.items():
        area = found.areas.get(name, 0.0)
        detail = f"{100 * area:.1f} % of an image, expected {100 * low:.0f} to {100 * high:.0f} %"
        checks.append(Check(f"area of {name}", low <= area <= high, detail))
    return checks
