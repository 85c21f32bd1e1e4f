"""CVAT for images 1.1: ``annotations.xml``; polygons, brushed masks, boxes and ellipses, the lowest z-order first.

Read with defusedxml: entities, which can blow a small file up to gigabytes or read other files, are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Area, Bitmap, Ellipse, Outline, box
from distillfss.io.annotations.base import (
    Annotations,
    Pictures,
    assemble,
    files_with,
    is_file,
    parsing,
    read_bytes,
    settle,
)
from distillfss.io.annotations.coco import only_file
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized
from distillfss.io.annotations.extra import needed
from distillfss.io.annotations.runs import fill_runs
from distillfss.io.pairs import Drawn, Pair

SHAPES = ("polygon", "mask", "box", "ellipse", "polyline", "points", "cuboid", "skeleton")


def detect(folder: Path) -> bool:
    return bool(_files(folder))


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    path = only_file(folder, _files(folder), "annotations.xml of CVAT for images 1.1")
    parse = needed("defusedxml.ElementTree", "XML").fromstring
    try:
        root = parse(read_bytes(path))
    except DataError:
        raise
    except Exception as exc:  # the parser's own errors and those of defusedxml have no common base
        problem = f"is not XML that can be read ({' '.join(str(exc).split())[:120] or type(exc).__name__})"
        raise DataError(problem, cure="Export it from CVAT again", path=path) from exc
    if root.find("track") is not None:
        raise DataError("holds tracks of a video", cure="Export as 'CVAT for images 1.1'", path=path)
    pictures = Pictures(folder)
    pairs, faults = [], []
    with parsing(path):
        images = [(each, _shapes(each)) for each in root.iter("image")]
        listed = [
            label.findtext("name") or ""
            for label in root.iterfind("meta//labels/label")
            if not label.findtext("parent")
        ]
        labels = {shape.attrib["label"] for _, shapes in images for shape in shapes}
        table = settle(folder, labels, listed or None, chosen)
        for each, shapes in images:
            try:
                image = pictures.named(each.attrib["name"], path)
            except DataError as fault:
                faults.append(fault)
                continue
            size = int(each.attrib["height"]), int(each.attrib["width"])
            pairs.append(Pair(image.stem, image, path, sized(image, path, size, partial(_draw, shapes, table, path))))
    return assemble("cvat", pictures, pairs, faults, table)


def _files(folder: Path) -> list[Path]:
    found = []
    for path in files_with(folder, ".xml"):
        if not is_file(path):  # a pipe would wait for ever
            continue
        try:
            with path.open("rb") as file:
                start = file.read(4096)
        except OSError:
            continue
        if b"<annotations" in start:
            found.append(path)
    return found


def _shapes(image: Any) -> list[Any]:
    shapes = [shape for shape in image if shape.tag in SHAPES]
    return sorted(shapes, key=lambda shape: int(shape.attrib.get("z_order", 0)))


def _draw(shapes: Sequence[Any], table: NameTable, path: Path, size: tuple[int, int]) -> Drawn:
    with parsing(path):
        return paint((_thing(shape) for shape in shapes), size, table, path)


def _thing(shape: Any) -> Thing:
    has = shape.attrib
    area: Area | None = None
    if shape.tag == "polygon":
        area = Outline.of([[point.split(",") for point in has["points"].split(";")]])
    elif shape.tag == "mask":
        counts = [int(count) for count in has["rle"].split(",")]
        pixels = fill_runs(counts, int(has["height"]), int(has["width"]), by_column=False)
        area = Bitmap(int(has["top"]), int(has["left"]), pixels)
    elif shape.tag == "box":
        left, top, right, bottom = (float(has[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        area = box(left, top, right, bottom, float(has.get("rotation", 0)))
    elif shape.tag == "ellipse":
        x, y, radius_x, radius_y = (float(has[key]) for key in ("cx", "cy", "rx", "ry"))
        area = Ellipse(x, y, radius_x, radius_y, float(has.get("rotation", 0)))
    return Thing(has["label"], area, boxed=shape.tag == "box")
