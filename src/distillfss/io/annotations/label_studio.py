"""Label Studio: its JSON export (not JSON-MIN); brushes, polygons, rectangles and ellipses, in per cent of the image.

Of several annotations of an image the one marked as ground truth counts, else the latest; skipped ones and predictions
never do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
from distillfss.io.annotations.runs import label_studio_alpha
from distillfss.io.opening import SUFFIXES
from distillfss.io.pairs import Drawn, Pair

_KEYS = {"[]", "data", "annotations"}
_UPLOAD = re.compile(r"[0-9a-f]{8}-(.+)")
LABELLED = {"polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels", "keypointlabels"}


def detect(folder: Path) -> bool:
    return bool(_files(folder))


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    path = only_file(folder, _files(folder), "Label Studio JSON export")
    pictures = Pictures(folder)
    pairs: list[Pair] = []
    faults: list[DataError] = []
    found: list[tuple[Path, list[Any]]] = []
    several = 0
    with parsing(path):
        for task in read_json(path):
            made = [each for each in task["annotations"] if not each.get("was_cancelled")]
            if not made:
                continue  # not annotated (yet), or skipped
            several += len(made) > 1
            best = max(made, key=lambda each: (bool(each.get("ground_truth")), str(each.get("updated_at", ""))))
            results = [each for each in best["result"] if each.get("type") in LABELLED]
            try:
                found.append((_image(pictures, task["data"], path), results))
            except DataError as fault:
                faults.append(fault)
        labels = {_label(each) for _, results in found for each in results}
        table = settle(folder, labels, None, chosen)
        for image, results in found:
            size = _size(results, path)
            pairs.append(Pair(image.stem, image, path, sized(image, path, size, partial(_draw, results, table, path))))
    notices = [f"{path}: {several} images were annotated several times; the latest counts"] if several else []
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


def _size(results: Sequence[Any], path: Path) -> tuple[int, int] | None:
    sizes = {(each["original_height"], each["original_width"]) for each in results}
    if len(sizes) > 1:
        raise malformed(path, "objects of one image have different original sizes")
    return sizes.pop() if sizes else None


def _label(result: Any) -> str:
    labels = result["value"].get(result["type"]) or []
    if len(labels) != 1:
        raise DataError(f"an object with {len(labels)} labels", cure="Give every object one label")
    return text_of(labels[0], "a label", Path(result["type"]))


def _draw(results: Sequence[Any], table: NameTable, path: Path, size: tuple[int, int]) -> Drawn:
    with parsing(path):
        return paint((_thing(each, size) for each in results), size, table, path)


def _thing(result: Any, size: tuple[int, int]) -> Thing:
    if result.get("image_rotation"):
        raise DataError("an image that was turned in Label Studio", cure="Turn the image file and annotate it again")
    value, kind = result["value"], result["type"]
    height, width = size
    across, down = width / 100, height / 100
    area: Area | None = None
    if kind == "polygonlabels":
        area = Outline.of([np.array(value["points"], np.float64).reshape(-1, 2) * (across, down)])
    elif kind == "brushlabels":
        area = Bitmap(0, 0, label_studio_alpha(value["rle"], height, width))
    elif kind == "ellipselabels":
        radii = value["radiusX"] * across, value["radiusY"] * down
        area = Ellipse(value["x"] * across, value["y"] * down, *radii, float(value.get("rotation", 0)))
    elif kind == "rectanglelabels":
        area = _rectangle(value, across, down)
    return Thing(_label(result), area, boxed=kind == "rectanglelabels")


def _rectangle(value: Any, across: float, down: float) -> Outline:
    """Label Studio turns a rectangle about its upper left corner."""
    x, y, width, height = value["x"] * across, value["y"] * down, value["width"] * across, value["height"] * down
    angle = np.radians(float(value.get("rotation", 0)))
    right, below = np.array([np.cos(angle), np.sin(angle)]) * width, np.array([-np.sin(angle), np.cos(angle)]) * height
    corner = np.array([x, y])
    return Outline.of([[corner, corner + right, corner + right + below, corner + below]])
