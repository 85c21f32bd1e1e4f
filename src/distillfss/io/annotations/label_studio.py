"""Label Studio: its JSON export (not JSON-MIN); brushes, bitmasks, polygons, rectangles, ellipses, in per cent.

An object has its label in a result of its own kind (``polygonlabels``) or, where a configuration keeps shapes and
labels apart (``polygon``), in a second one of the same id (``labels``), which repeats the shape. An object whose label
or outline cannot be had makes its image a fault; choices, texts, relations and the like are passed over.

Of several annotations of an image the one marked as ground truth counts, else the latest; skipped ones and predictions
never do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Area, Bitmap, Ellipse, Outline
from distillfss.io.annotations.base import (
    Annotations,
    Pictures,
    assemble,
    files_with,
    json_keys,
    malformed,
    parsing,
    read_json,
    settle,
    text_of,
)
from distillfss.io.annotations.coco import only_file
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized
from distillfss.io.annotations.runs import label_studio_alpha, png_bitmap
from distillfss.io.faults import FormatFaultError
from distillfss.io.opening import SUFFIXES
from distillfss.io.pairs import Drawn, Pair
from distillfss.wording import counted

_KEYS = {"[]", "data", "annotations"}
_UPLOAD = re.compile(r"[0-9a-f]{8}-(.+)")
KINDS = {
    "polygon": "points",
    "brush": "rle",
    "bitmask": "imageDataURL",
    "vector": "vertices",
    "ellipse": "radiusX",
    "rectangle": "height",
    "keypoint": "width",
}
"""Kinds of objects, and by what their value is known where the type does not say it; the first that fits."""
LABELLED = {"labels", *(f"{kind}labels" for kind in KINDS)}
BARE = {"magicwand", *KINDS} - {"keypoint"}
"""Types of results that are an area and have their label in another result."""


@dataclass(frozen=True, eq=False)
class Region:
    """An object of an image: its label, its kind (a key of ``KINDS``), and the result that describes it."""

    label: str
    kind: str
    result: Any


def detect(folder: Path) -> bool:
    return bool(_files(folder))


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    path = only_file(folder, _files(folder), "Label Studio JSON export")
    pictures = Pictures(folder)
    pairs: list[Pair] = []
    faults: list[DataError] = []
    found: list[tuple[Path, list[Region]]] = []
    several = 0
    with parsing(path):
        for task in read_json(path):
            made = [each for each in task["annotations"] if not each.get("was_cancelled")]
            if not made:
                continue  # not annotated (yet), or skipped
            several += len(made) > 1
            best = max(made, key=lambda each: (bool(each.get("ground_truth")), str(each.get("updated_at", ""))))
            try:
                image = _image(pictures, task["data"], path)
                found.append((image, _regions(best["result"], image, path)))
            except DataError as fault:
                faults.append(fault)
        labels = {each.label for _, regions in found for each in regions}
        table = settle(folder, labels, None, chosen)
        for image, regions in found:
            size = _size(regions, path)
            pairs.append(Pair(image.stem, image, path, sized(image, path, size, partial(_draw, regions, table, path))))
    notices = [f"{path}: {counted(several, 'image')} annotated several times; the latest counts"] if several else []
    return assemble("label-studio", pictures, pairs, faults, table, notices)


def _files(folder: Path) -> list[Path]:
    return [path for path in files_with(folder, ".json") if json_keys(path) >= _KEYS]


def _image(pictures: Pictures, data: Any, path: Path) -> Path:
    """The picture a task is about: the first of its values that names one."""
    for value in data.values():
        if not isinstance(value, str):
            continue
        parts = urlsplit(value)
        name = unquote(parse_qs(parts.query).get("d", [parts.path])[0])
        if Path(name).suffix.lower() not in SUFFIXES:
            continue
        try:
            return pictures.named(name, path)
        except DataError:  # an upload gets eight digits before its name
            upload = _UPLOAD.fullmatch(Path(name).name)
            if upload is None:
                raise
            return pictures.named(upload[1], path)
    raise malformed(path, "a task names no picture")


def _regions(results: Any, image: Path, path: Path) -> list[Region]:
    """The objects of an image. Raises ``DataError`` if one has no label, or several."""
    regions = []
    for each in results:
        if each.get("type") in LABELLED and _kind(each):
            labels = each["value"].get(each["type"]) or []
            if len(labels) != 1:
                raise _not_one(len(labels), image, path)
            regions.append(Region(text_of(labels[0], "a label", path), _kind(each), each))
    labelled = {each.result.get("id") for each in regions} - {None}
    if any(each.get("type") in BARE and each.get("id") not in labelled for each in results):
        raise _not_one(0, image, path)
    return regions


def _kind(result: Any) -> str:
    """Of a result with labels; empty if they are not about an object of an image, but of a text, say."""
    kind = result["type"].removesuffix("labels")
    return kind or next((each for each, key in KINDS.items() if key in result["value"]), "")


def _not_one(count: int, image: Path, path: Path) -> DataError:
    problem = f"{image.name} has an object with {count} labels"
    return FormatFaultError(problem, cure="Give every object one label", path=path)


def _size(regions: Sequence[Region], path: Path) -> tuple[int, int] | None:
    sizes = {(each.result["original_height"], each.result["original_width"]) for each in regions}
    if len(sizes) > 1:
        raise malformed(path, "objects of one image have different original sizes")
    return sizes.pop() if sizes else None


def _draw(regions: Sequence[Region], table: NameTable, path: Path, size: tuple[int, int]) -> Drawn:
    with parsing(path):
        return paint((Thing(e.label, _area(e, size), boxed=e.kind == "rectangle") for e in regions), size, table, path)


def _area(each: Region, size: tuple[int, int]) -> Area | None:
    if each.result.get("image_rotation"):
        raise DataError("an image that was turned in Label Studio", cure="Turn the image file and annotate it again")
    value = each.result["value"]
    height, width = size
    across, down = width / 100, height / 100
    if each.kind == "polygon":
        return Outline.of([np.array(value["points"], np.float64).reshape(-1, 2) * (across, down)])
    if each.kind == "brush":
        return Bitmap(0, 0, label_studio_alpha(value["rle"], height, width))
    if each.kind == "bitmask":
        return _bitmask(value["imageDataURL"], size)
    if each.kind == "ellipse":
        radii = value["radiusX"] * across, value["radiusY"] * down
        return Ellipse(value["x"] * across, value["y"] * down, *radii, float(value.get("rotation", 0)))
    if each.kind == "rectangle":
        return _rectangle(value, across, down)
    if each.kind == "vector" and value.get("closed", True):
        raise DataError("an outline drawn as a vector, which is not read", cure="Draw it as a polygon or with a brush")
    return None


def _bitmask(url: str, size: tuple[int, int]) -> Bitmap:
    """A PNG in a data URL, opaque where the object is."""
    pixels = png_bitmap(url.partition(",")[2])
    if pixels.shape != size:
        raise DataError(
            f"a bitmask of {pixels.shape[1]}x{pixels.shape[0]} pixels, not {size[1]}x{size[0]}",
            cure="Export the annotation again",
        )
    return Bitmap(0, 0, pixels)


def _rectangle(value: Any, across: float, down: float) -> Outline:
    """Label Studio turns a rectangle about its upper left corner."""
    x, y, width, height = value["x"] * across, value["y"] * down, value["width"] * across, value["height"] * down
    angle = np.radians(float(value.get("rotation", 0)))
    right, below = np.array([np.cos(angle), np.sin(angle)]) * width, np.array([-np.sin(angle), np.cos(angle)]) * height
    corner = np.array([x, y])
    return Outline.of([[corner, corner + right, corner + right + below, corner + below]])
