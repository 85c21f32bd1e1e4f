"""Supervisely: ``img/`` and ``ann/``, classes in the project's ``meta.json``; bitmaps, polygons with holes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Bitmap, Outline, box
from distillfss.io.annotations.base import DEEPEST, Annotations, Pictures, assemble, is_dir, is_file, parsing, read_json
from distillfss.io.annotations.drawing import NameTable, Thing, name_table, paint, sized
from distillfss.io.annotations.runs import png_bitmap
from distillfss.io.legend import META, Legend
from distillfss.io.pairs import Drawn, Pair


def detect(folder: Path) -> bool:
    return bool(_parts(folder)) and _meta(folder) is not None


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    parts, meta = _parts(folder), _meta(folder)
    if not parts or meta is None:
        raise DataError(
            f"holds no Supervisely project (DATASET/img, DATASET/ann and {META})",
            cure="Give the folder of the project or of one of its data sets",
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
        level = [each for place in level for each in _folders(place / "datasets")]
        places += level
    return [place for place in places if is_dir(place / "img") and is_dir(place / "ann")]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if is_dir(each))
    except OSError:
        return []


def _meta(folder: Path) -> Path | None:
    for place in (folder, folder.absolute().parent):
        if is_file(place / META):
            try:
                content = read_json(place / META)
                if all(isinstance(each, dict) and "title" in each for each in content["classes"]):
                    return place / META
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
