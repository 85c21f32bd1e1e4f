"""GeoJSON, one file per image: polygons with holes and several parts, in pixels as QuPath writes them.

Where the image is a GeoTIFF, coordinates of the world are taken as well, as ``predict --polygons geojson`` writes them.
A single file that is called as none of the GeoTIFFs is a layer over all of them, as QGIS exports it: those in which
something is drawn are annotated.
The class is ``properties.classification.name`` (or ``names``, joined as QuPath shows them: "Tumor: Positive"), or
``class``, ``label`` or ``class_name`` of the properties, in capitals or not. Where no object of the whole folder has
one, all are one class, unless they differ in some other property, which may be meant; where some have, those without
are a fault.
"""

from __future__ import annotations

from collections import Counter
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
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized, upright_size
from distillfss.io.annotations.outside import inside
from distillfss.io.annotations.places import Move, as_they_are, to_pixels
from distillfss.io.kinds import Kind, kind_of
from distillfss.io.legend import read_legend
from distillfss.io.pairs import Drawn, Pair

SINGLE = "object"
LABELS = ("classification", "class", "label", "class_name", "classname")
"""Properties that say the class, the first that is there."""
NO_LABELS = {"objecttype", "islocked", "color", "colorrgb"}
"""What QuPath says of objects besides."""
SHOWN = 5
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
    told = _Told()
    files = _files(folder)
    for path in files:
        try:
            with parsing(path):
                content = read_json(path)
                features = _features(content, path)
                labels |= {_label(feature) for feature in features}
                told.of(features)
                images = _images(pictures, path, content, layer=len(files) == 1)
        except DataError as fault:
            faults.append(fault)
        else:
            found += [(path, image) for image in images]
    none = labels == {None}
    named = chosen is not None or read_legend(folder).names is not None
    table = settle(folder, [label for label in labels if label] or [SINGLE] * (none and not named), None, chosen)
    single = table.names[0] if none and len(table.names) == 1 else None
    if none and not (named and single) and (differ := told.differing()):
        raise DataError(
            f"no object has a class, and they differ in {differ}",
            cure='Rename the property that says the class to "class", or name the one class of all (--classes)',
            path=folder,
        )
    pairs = [
        Pair(
            image.stem,
            image,
            path,
            sized(image, path, None, partial(_draw, path, image, single, table)),
        )
        for path, image in found
    ]
    lone = f"{folder}: no object has a class, so all are one, {SINGLE}; name it with --classes, or give each its class"
    return assemble("geojson", pictures, pairs, faults, table, [lone] if none and not named else [])


def _files(folder: Path) -> list[Path]:
    def is_one(path: Path) -> bool:
        keys = json_keys(path)
        return path.suffix.lower() == ".geojson" or (
            "type" in keys and bool(keys & {"features", "geometry"}) and not keys & {"shapes", "images"}
        )

    return [path for path in files_with(folder, ".geojson", ".json") if is_one(path)]


def _images(pictures: Pictures, path: Path, content: Any, *, layer: bool) -> list[Path]:
    """The image that is called as the file; of a layer over several maps, those in which something is drawn."""
    try:
        return [pictures.with_stem(path.name.rsplit(".", 1)[0], path)]
    except DataError as fault:
        maps = [image for image in pictures.paths if layer and kind_of(image) is Kind.RASTER]
        found = [image for image in maps if _draws_in(image, content, path)]
        if found:
            return found
        cure = "Call the file as its image (a.geojson beside a.tif)"
        if maps:
            cure = f"{cure}, or export the layer with its crs: it meets none of the maps"
        raise type(fault)(fault.problem, cure=cure, path=path) from None


def _draws_in(image: Path, content: Any, path: Path) -> bool:
    """Whether an object, in coordinates of the world, reaches into a map."""
    size = upright_size(image)
    polygons = [polygon for each in _features(content, path) for polygon in _polygons(each) if polygon]
    try:
        move = _move(image, size, content, polygons, path)
    except DataError:  # on another part of the Earth
        return False
    return move is not as_they_are and any(
        not Outline.of([move(points_of(polygon[0]))]).is_outside(*size) for polygon in polygons
    )


def _move(image: Path, size: tuple[int, int], content: Any, polygons: Sequence[Any], path: Path) -> Move:
    crs = content.get("crs") if isinstance(content, dict) else None
    return to_pixels(image, size, crs, [points_of(polygon[0]) for polygon in polygons], path)


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
    plain = {str(key).casefold(): value for key, value in properties.items()} | properties
    names = (_classification(plain.get(key)) for key in LABELS)
    return next((str(name) for name in names if name is not None and name != ""), None)


class _Told:
    """What objects say besides their class: texts and whole numbers, by property."""

    def __init__(self) -> None:
        self._values: dict[str, Counter[str]] = {}

    def of(self, features: Sequence[Any]) -> None:
        for feature in features:
            for key, value in (feature.get("properties") or {}).items():
                kept = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
                if kept and value != "" and str(key).casefold() not in NO_LABELS:
                    self._values.setdefault(str(key), Counter())[str(value)] += 1

    def differing(self) -> str:
        """Those of several values of which some are shared, as a number or name of every object would not be."""
        differ = {key: len(count) for key, count in self._values.items() if 1 < len(count) < count.total()}
        shown = [f"{key} ({values} values)" for key, values in list(differ.items())[:SHOWN]]
        return ", ".join(shown + ["..."] * (len(differ) > SHOWN))


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
        polygons = [polygon for each in features for polygon in _polygons(each) if polygon]
        move = _move(image, size, content, polygons, path)
        things = inside(
            (thing for each in features for thing in _things(each, single, move, path)), size, _OUTSIDE, path
        )
        if move is not as_they_are:  # what lies beside a map is no fault of it
            things = [each for each in things if not (isinstance(each.area, Outline) and each.area.is_outside(*size))]
        return paint(things, size, table, path)


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
