"""GeoJSON, one file per image: polygons with holes and several parts, in pixels as QuPath writes them.

Where the image is a GeoTIFF, coordinates of the world are taken as well, as ``predict --polygons geojson`` writes them.
The class is ``properties.classification.name`` (or ``names``, joined as QuPath shows them: "Tumor: Positive"), or
``class`` or ``label`` of the properties. Where no object of the whole folder has one, all are one class; where some
have, those without are a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Outline, points_of
from distillfss.io.annotations.base import (
    Annotations,
    Pictures,
    assemble,
    files_with,
    json_keys,
    parsing,
    read_json,
    settle,
)
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized
from distillfss.io.annotations.outside import inside
from distillfss.io.annotations.places import Move, to_pixels
from distillfss.io.legend import read_legend
from distillfss.io.pairs import Drawn, Pair

SINGLE = "object"
_OUTSIDE = (
    "Export it for this image: in pixels, or beside a GeoTIFF in longitude and latitude or with its crs; "
    "an empty list of features says that nothing is there"
)


def detect(folder: Path) -> bool:
    return bool(_files(folder))


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    pictures = Pictures(folder)
    faults: list[DataError] = []
    found: list[tuple[Path, Path]] = []
    labels: set[str | None] = set()
    for path in _files(folder):
        try:
            with parsing(path):
                content = read_json(path)
                labels |= {_label(feature) for feature in _features(content, path)}
                image = pictures.with_stem(path.name.rsplit(".", 1)[0], path)
        except DataError as fault:
            faults.append(fault)
        else:
            found.append((path, image))
    none = labels == {None}
    named = chosen is not None or read_legend(folder).names is not None
    table = settle(folder, [label for label in labels if label] or [SINGLE] * (none and not named), None, chosen)
    single = table.names[0] if none and len(table.names) == 1 else None
    pairs = [
        Pair(image.stem, image, path, sized(image, path, None, partial(_draw, path, image, single, table)))
        for path, image in found
    ]
    return assemble("geojson", pictures, pairs, faults, table)


def _files(folder: Path) -> list[Path]:
    def is_one(path: Path) -> bool:
        keys = json_keys(path)
        return path.suffix.lower() == ".geojson" or (
            "type" in keys and bool(keys & {"features", "geometry"}) and not keys & {"shapes", "images"}
        )

    return [path for path in files_with(folder, ".geojson", ".json") if is_one(path)]


def _features(content: Any, path: Path) -> list[Any]:
    """The objects of a FeatureCollection, a list of features, or one feature."""
    if isinstance(content, list):
        return content
    if content["type"] == "FeatureCollection":
        return list(content["features"])
    if content["type"] == "Feature":
        return [content]
    raise DataError(
        f"is a {content['type']}, not a FeatureCollection", cure="Export the objects as features", path=path
    )


def _label(feature: Any) -> str | None:
    properties = feature.get("properties") or {}
    named = properties.get("classification")
    names = (_classification(named), properties.get("class"), properties.get("label"))
    return next((str(name) for name in names if name is not None and name != ""), None)


def _classification(named: Any) -> Any:
    """The name of a class as QuPath shows it; of a derived one, such as Tumor: Positive, it writes the parts."""
    if not isinstance(named, dict):
        return named
    parts = named.get("names")
    return ": ".join(map(str, parts)) if parts and isinstance(parts, list) else named.get("name")


def _draw(path: Path, image: Path, single: str | None, table: NameTable, size: tuple[int, int]) -> Drawn:
    with parsing(path):
        content = read_json(path)
        features = _features(content, path)
        crs = content.get("crs") if isinstance(content, dict) else None
        polygons = [polygon for each in features for polygon in _polygons(each) if polygon]
        move = to_pixels(image, size, crs, [points_of(polygon[0]) for polygon in polygons], path)
        things = (thing for each in features for thing in _things(each, single, move, path))
        return paint(inside(things, size, _OUTSIDE, path), size, table, path)


def _things(feature: Any, single: str | None, move: Move, path: Path) -> Iterator[Thing]:
    label = _label(feature) or single
    if label is None:
        raise DataError(
            f"the object {feature.get('id', '')} has no class",
            cure="Give every object a class, or delete it; where none has one, name a single class",
            path=path,
        )
    polygons = _polygons(feature)
    for rings in polygons:
        yield Thing(label, Outline.of([move(points_of(ring)) for ring in rings]))
    if not polygons:
        yield Thing(label, None)


def _polygons(feature: Any) -> list[Any]:
    """The polygons of an object, each a list of rings; empty where it has none."""
    found: list[Any] = []
    waiting = [feature.get("geometry") or {"type": None}]
    while waiting:
        geometry = waiting.pop()
        if geometry["type"] == "Polygon":
            found.append(geometry["coordinates"])
        elif geometry["type"] == "MultiPolygon":
            found += geometry["coordinates"]
        elif geometry["type"] == "GeometryCollection":
            waiting += geometry["geometries"][::-1]
    return found
