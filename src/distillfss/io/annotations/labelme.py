"""LabelMe: one JSON file per image; polygons, rectangles, circles and bitmaps.

``_background_`` painted over an object cuts a hole, ``__ignore__`` marks pixels that do not count, and
``labels.txt``, if there is one, lists the classes in their order.
"""

from __future__ import annotations

import contextlib
import math
import posixpath
import unicodedata
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
    json_keys,
    parsing,
    read_json,
    read_text,
    settle,
    text_of,
)
from distillfss.io.annotations.deep import deep_files, place_in
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized
from distillfss.io.annotations.runs import png_bitmap
from distillfss.io.legend import META
from distillfss.io.pairs import Drawn, Pair

_KEYS = {"shapes", "imagePath"}
LABELS = "labels.txt"


def detect(folder: Path) -> bool:
    return any(json_keys(path) >= _KEYS for path in _files(folder))


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    images = _Images(folder)
    faults: list[DataError] = []
    found: list[tuple[Path, Path, Any]] = []
    labels: set[str] = set()
    for path in _files(folder):
        try:
            content = read_json(path)
            if not isinstance(content, dict) or "shapes" not in content:
                continue
            with parsing(path):
                labels |= {text_of(shape["label"], "a label", path) for shape in content["shapes"]}
                image = images.of(content["imagePath"], path)
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
    return assemble("labelme", images.pictures, pairs, faults, table)


class _Images:
    """The pictures of a folder as its annotation files name them."""

    def __init__(self, folder: Path) -> None:
        self.pictures = Pictures(folder)
        self._at = {place_in(folder, path): path for path in self.pictures.paths}
        self._beside: dict[Path, dict[str, list[Path]]] = {}
        for path in self.pictures.paths:
            self._beside.setdefault(path.parent, {}).setdefault(_nfc(path.stem), []).append(path)

    def of(self, given: object, path: Path) -> Path:
        """The image that the file ``path`` calls so: where this leads from there; else, if it was moved, elsewhere.

        A mere name stands for an image beside the file. If other images are there, it is not looked for elsewhere,
        where one of the same name may show something else.

        Raises
        ------
        DataError
            There is none, or several fit equally well.
        """
        name = given.replace("\\", "/") if isinstance(given, str) else ""
        place = posixpath.normpath(posixpath.join(place_in(self.pictures.folder, path.parent), _nfc(name)))
        if place in self._at:
            return self._at[place]
        beside = self._beside.get(path.parent)
        if beside and "/" not in name:
            renamed = beside.get(_nfc(path.stem), [])
            if len(renamed) == 1:  # together with its annotation
                return renamed[0]
            if not renamed:
                raise DataError(
                    f"its image {name} is not in the folder beside it, where other images are",
                    cure="Put the image there, or correct imagePath",
                    path=path,
                )
        try:
            return self.pictures.named(name, path)
        except DataError as fault:
            with contextlib.suppress(DataError):  # renamed, and moved as well
                return self.pictures.with_stem(path.stem, path)
            raise fault from None


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _files(folder: Path) -> list[Path]:
    return [path for path in deep_files(folder, ".json") if path.name != META]


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
