"""YOLO-seg: ``data.yaml`` with the classes, and a text file per image with a line per object, in shares of its size.

An empty text file says that nothing is there; an image without a text file counts as not annotated. A text file with
objects but without an image is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Outline
from distillfss.io.annotations.base import (
    Annotations,
    Pictures,
    assemble,
    is_dir,
    is_file,
    malformed,
    parsing,
    read_text,
    settle,
)
from distillfss.io.annotations.deep import deep_files, place_in
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized
from distillfss.io.annotations.extra import needed
from distillfss.io.annotations.outside import inside
from distillfss.io.files import pictures_in
from distillfss.io.pairs import Drawn, Pair

TABLES = ("data.yaml", "data.yml", "dataset.yaml")
ABOVE = 3
"""Folders above in which ``data.yaml`` is looked for: a part of a data set may be given alone."""
_OUTSIDE = "Coordinates are fractions of the image, from 0 to 1: divide x by its width and y by its height"


def detect(folder: Path) -> bool:
    return _table(folder) is not None


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    yaml_path = _table(folder)
    if yaml_path is None:
        raise DataError(f"has no {TABLES[0]} with the classes", cure="Put it into the folder", path=folder)
    names = _names(yaml_path)
    table = settle(folder, (), names, chosen)
    images, labels = _places(folder)
    pictures = Pictures(images)
    texts = {place_in(labels, path.with_suffix("")): path for path in deep_files(labels, ".txt")}
    pairs = []
    orphans = dict(texts)
    for image in pictures.paths:
        place = place_in(images, image.with_suffix(""))
        orphans.pop(place, None)
        if place in texts:
            path = texts[place]
            draw = partial(_draw, path, names, table)
            pairs.append(Pair(image.stem, image, path, sized(image, path, None, draw)))
    if not pairs:
        raise DataError(f"has no text file of the name of an image in {images}", cure="Check the folder", path=labels)
    faults = [
        DataError(f"its image {place} is not in the folder", cure="Put the image there, or remove the file", path=path)
        for place, path in orphans.items()
        if _has_objects(path)
    ]
    return assemble("yolo", pictures, pairs, faults, table)


def _table(folder: Path) -> Path | None:
    absolute = folder.absolute()
    for place in (absolute, *absolute.parents[: ABOVE - 1]):
        for name in TABLES:
            if is_file(place / name) and (place == absolute or _has_labels(folder)):
                return folder / name if place == absolute else place / name
    return None


def _has_labels(folder: Path) -> bool:
    return is_dir(folder / "labels") or _swapped(folder.absolute()) is not None


def _names(path: Path) -> list[str]:
    yaml = needed("yaml", "data.yaml")
    try:
        names: Any = yaml.safe_load(read_text(path))["names"]
        listed = [names[key] for key in range(len(names))] if isinstance(names, dict) else list(names)
    except (yaml.YAMLError, KeyError, TypeError, RecursionError, ValueError) as exc:
        raise malformed(path, "it needs names: [first, second, ...] or names: {0: first, ...}") from exc
    return [str(name) for name in listed]


def _places(folder: Path) -> tuple[Path, Path]:
    """Where images and text files lie: ``images/`` and ``labels/`` of the folder, or of the one above it."""
    if (folder / "images").is_dir():
        parts = [] if pictures_in(folder / "images") else sorted(p for p in (folder / "images").iterdir() if p.is_dir())
        if len(parts) > 1:
            raise DataError(
                f"holds several parts: images/{', images/'.join(part.name for part in parts[:4])}",
                cure=f"Give one of them, such as {parts[0]}",
                path=folder,
            )
        if parts:
            return parts[0], folder / "labels" / parts[0].name
        return folder / "images", folder / "labels"
    swapped = _swapped(folder)
    if swapped is not None:
        return folder, swapped
    inside = sorted(each.parent for each in folder.glob("*/images") if each.is_dir())
    if inside:
        raise DataError(
            f"holds several parts: {', '.join(part.name for part in inside[:4])}",
            cure=f"Give one of them, such as {inside[0]}",
            path=folder,
        )
    return folder, folder


def _swapped(images: Path) -> Path | None:
    """``.../labels/train`` for ``.../images/train``."""
    parts = list(images.parts)
    for place in range(len(parts) - 1, max(-1, len(parts) - 3), -1):
        if parts[place] == "images":
            labels = Path(*parts[:place], "labels", *parts[place + 1 :])
            return labels if is_dir(labels) else None
    return None


def _has_objects(path: Path) -> bool:
    """Whether a text file begins with a line of numbers, as for an object; lists of classes and notes do not."""
    try:
        words = next((line.split() for line in read_text(path).splitlines() if line.strip()), [])
        return len([float(word) for word in words]) >= 5
    except (DataError, ValueError):
        return False


def _draw(path: Path, names: Sequence[str], table: NameTable, size: tuple[int, int]) -> Drawn:
    with parsing(path):
        return paint(inside(_things(path, names, size), size, _OUTSIDE, path), size, table, path)


def _things(path: Path, names: Sequence[str], size: tuple[int, int]) -> Iterator[Thing]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) == 5:
            raise DataError(
                f"line {number} is a bounding box, not an outline",
                cure="Export for segmentation: a box says where something is, not which pixels it has",
                path=path,
            )
        if len(words) < 7 or len(words) % 2 == 0:
            raise malformed(path, f"line {number} is no class with an outline")
        index = int(words[0])
        if not 0 <= index < len(names):
            raise DataError(
                f"line {number} has the class {index}, {len(names)} are named", cure="Correct it", path=path
            )
        shares = np.array(words[1:], np.float64).reshape(-1, 2)
        yield Thing(names[index], Outline.of([shares * (size[1], size[0])]))
