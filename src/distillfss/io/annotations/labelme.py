"""LabelMe: one JSON file per image; polygons, rectangles, circles and bitmaps.

``_background_`` painted over an object cuts a hole, ``__ignore__`` marks pixels that do not count, and
``labels.txt``, if there is one, lists the classes in their order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Area, Bitmap, Ellipse, Outline, box
from distillfss.io.annotations.base import (
    Annotations,
    Pictures,
    assemble,
    files_with,
    json_keys,
    parsing,
    read_json,
    read_text,
    settle,
    text_of,
)
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized
from distillfss.io.annotations.runs import png_bitmap
from distillfss.io.pairs import Drawn, Pair

_KEYS = {"shapes", "imagePath"}
LABELS = "labels.txt"


def detect(folder: Path) -> bool:
    return any(json_keys(path) >= _KEYS for path in files_with(folder, ".json"))


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    pictures = Pictures(folder)
    faults: list[DataError] = []
    found: list[tuple[Path, Path, Any]] = []
    labels: set[str] = set()
    for path in files_with(folder, ".json"):
        try:
            content = read_json(path)
            if not isinstance(content, dict) or "shapes" not in content:
                continue
            with parsing(path):
                labels |= {text_of(shape["label"], "a label", path) for shape in content["shapes"]}
                image = _image(pictures, content, path)
                size = content.get("imageHeight"), content.get("imageWidth")
        except DataError as fault:
            faults.append(fault)
        else:
            found.append((path, image, None if None in size else size))
    table = settle(folder, labels, _declared(folder), chosen)
    pairs = [
        Pair(image.stem, image, path, sized(image, path, size, partial(_draw, path, table)))
        for path, image, size in found
    ]
    return assemble("labelme", pictures, pairs, faults, table)


def _image(pictures: Pictures, content: Any, path: Path) -> Path:
    try:
        return pictures.named(text_of(content["imagePath"], "imagePath", path), path)
    except DataError:  # files renamed together with their annotation
        return pictures.with_stem(path.stem, path)


def _declared(folder: Path) -> list[str] | None:
    path = folder / LABELS
    if not path.exists():
        return None
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _draw(path: Path, table: NameTable, size: tuple[int, int]) -> Drawn:
    with parsing(path):
        shapes = read_json(path)["shapes"]
        return paint((_thing(shape) for shape in shapes), size, table, path)


def _thing(shape: Any) -> Thing:
    kind = shape.get("shape_type") or "polygon"
    area: Area | None = None
    points = shape.get("points") or []
    if kind in ("polygon", "oriented_rectangle"):
        area = Outline.of([points])
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = (points[0], points[len(points) // 2])  # two corners, or all four
        area = box(x0, y0, x1, y1)
    elif kind == "circle":
        (x, y), rim = points
        radius = math.dist((x, y), rim)
        area = Ellipse(x, y, radius, radius)
    elif kind == "mask":
        left, top = np.floor(np.asarray(points, np.float64).min(0)).astype(int)
        area = Bitmap(int(top), int(left), png_bitmap(shape["mask"]))
    return Thing(shape["label"], area, boxed=kind == "rectangle")
