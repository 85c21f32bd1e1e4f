"""Supervisely: ``img/`` and ``ann/``, classes in the project's ``meta.json``; bitmaps, polygons with holes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Bitmap, Outline, box
from distillfss.io.annotations.base import (
    DEEPEST,
    Annotations,
    Pictures,
    assemble,
    is_dir,
    is_file,
    json_keys,
    parsing,
    read_json,
)
from distillfss.io.annotations.drawing import NameTable, Thing, name_table, paint, sized
from distillfss.io.annotations.runs import png_bitmap
from distillfss.io.legend import META, Legend
from distillfss.io.pairs import Drawn, Pair

NESTED = "datasets"
"""Folder of a data set that holds the data sets within it."""


def detect(folder: Path) -> bool:
    parts = _parts(folder)
    return bool(parts) and (_meta(folder) is not None or any(map(_is_annotated, parts)))


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    parts, meta = _parts(folder), _meta(folder)
    if not parts:
        raise DataError(
            f"holds no Supervisely project (DATASET/img, DATASET/ann and {META})",
            cure="Give the folder of the project or of one of its data sets",
            path=folder,
        )
    if meta is None:
        for path in filter(is_file, _described_in(folder)):
            read_json(path)  # damaged, it looks as if it were not there
        raise DataError(
            f"is a Supervisely data set without the {META} of its project, which lists the classes",
            cure=f"Put that {META} into this folder or the one above",
            path=folder,
        )
    with parsing(meta):
        declared = [str(each["title"]) for each in read_json(meta)["classes"]]
    table = name_table(folder, labels=declared, declared=declared, legend=Legend(), chosen=chosen)
    pictures = Pictures(folder)
    inside = {part: Pictures(part / "img") for part in parts}
    # a data set within another lies deeper than pictures are looked for otherwise
    pictures.paths = sorted({*pictures.paths, *(path for each in inside.values() for path in each.paths)})
    pairs: list[Pair] = []
    faults: list[DataError] = []
    for part in parts:
        for path in sorted((part / "ann").glob("*.json")):
            try:
                with parsing(path):
                    content = read_json(path)
                    size = int(content["size"]["height"]), int(content["size"]["width"])
                    image = inside[part].named(path.name.removesuffix(".json"), path)
            except DataError as fault:
                faults.append(fault)
                continue
            pairs.append(Pair(image.stem, image, path, sized(image, path, size, partial(_draw, path, table))))
    return assemble("supervisely", pictures, pairs, faults, table)


def _parts(folder: Path) -> list[Path]:
    """Data sets: the folder itself, those in it, and those in ``datasets/`` of any of them."""
    level = [folder, *_folders(folder)]
    places = list(level)
    for _ in range(DEEPEST):
        level = [each for place in level for each in _folders(place / NESTED)]
        places += level
    return [place for place in places if is_dir(place / "img") and is_dir(place / "ann")]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if is_dir(each))
    except OSError:
        return []


def _is_annotated(part: Path) -> bool:
    return any({"objects", "size"} <= json_keys(path) for path in (part / "ann").glob("*.json"))


def _described_in(folder: Path) -> list[Path]:
    """Where the project's description may be: in the folder, above it, or above the data sets that it is within."""
    place = Path(os.path.abspath(folder))  # noqa: PTH100 (of a link, what lies above the link itself)
    above = [place.parent]
    while NESTED in (place.name, place.parent.name):
        place = place.parent if place.name == NESTED else place.parent.parent
        above.append(place.parent)
    return [each / META for each in (folder, *above)]


def _meta(folder: Path) -> Path | None:
    for path in filter(is_file, _described_in(folder)):
        try:
            if all(isinstance(each, dict) and "title" in each for each in read_json(path)["classes"]):
                return path
        except (DataError, KeyError, TypeError):
            continue
    return None


def _draw(path: Path, table: NameTable, size: tuple[int, int]) -> Drawn:
    with parsing(path):
        objects = read_json(path)["objects"]
        return paint((thing for each in objects for thing in _things(each)), size, table, path)


def _things(each: Any) -> Iterator[Thing]:
    label, kind = str(each["classTitle"]), each["geometryType"]
    if kind == "bitmap":
        left, top = each["bitmap"]["origin"]
        yield Thing(label, Bitmap(int(top), int(left), png_bitmap(each["bitmap"]["data"])))
    elif kind == "polygon":
        points = each["points"]
        yield Thing(label, Outline.of([points["exterior"], *points.get("interior", [])]))
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = each["points"]["exterior"]
        yield Thing(label, box(x0, y0, x1, y1), boxed=True)
    elif kind == "alpha_mask":
        raise DataError(
            f"an object of {label} is an alpha mask, whose pixels belong to it in part",
            cure="Convert it to a bitmap in Supervisely",
        )
    else:
        yield Thing(label, None)
