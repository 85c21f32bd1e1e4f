"""COCO JSON: one file for all images; outlines of several parts, run lengths plain or compressed (holes: run lengths).

The parts of an object are united. ``iscrowd`` changes nothing: CVAT and others mark every brushed mask that way. An
image without annotations shows nothing; an object with a bounding box alone makes its image a fault.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Bitmap, Outline
from distillfss.io.annotations.base import (
    Annotations,
    Pictures,
    assemble,
    files_with,
    json_keys,
    parsing,
    read_json,
    settle,
    text_of,
)
from distillfss.io.annotations.deep import place_in
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized
from distillfss.io.annotations.runs import coco_counts, fill_runs
from distillfss.io.pairs import Drawn, Pair

_KEYS = {"images", "annotations", "categories"}


def detect(folder: Path) -> bool:
    return bool(_files(folder))


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    path = only_file(folder, _files(folder), "COCO JSON file (with images, annotations and categories)")
    content = read_json(path)
    pairs: list[Pair] = []
    faults: list[DataError] = []
    with parsing(path):
        categories = sorted(content["categories"], key=lambda each: int(each["id"]))
        label = _by_id(categories, "categories", "name", path)
        listed = _by_id(content["images"], "images", "file_name", path)
        objects: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for each in content["annotations"]:
            if _key(each["category_id"]) not in label:
                raise DataError(
                    f"the category {each['category_id']} is not listed", cure="Export the annotation again", path=path
                )
            if _key(each["image_id"]) not in listed:
                raise DataError(
                    f"the object {each.get('id')} is of the image {each['image_id']!r}, which is not listed",
                    cure="List every image under images, or take its objects out of the annotations",
                    path=path,
                )
            objects[_key(each["image_id"])].append((label[_key(each["category_id"])], each))
        used = {name for group in objects.values() for name, _ in group}
        # Roboflow lists the project itself as the category 0, above all others; COCO's own person is above itself alone
        above = {each.get("supercategory") for each in categories if each.get("supercategory") != each["name"]} - used
        declared = [name for name in label.values() if name not in above]
        table = settle(folder, used, declared, chosen)
        pictures = Pictures(folder)
        for each in content["images"]:
            try:
                image = pictures.named(listed[_key(each["id"])], path)
            except DataError as fault:
                faults.append(fault)
                continue
            size = (each["height"], each["width"]) if "height" in each and "width" in each else None
            draw = partial(_draw, objects.get(_key(each["id"]), []), table, path)
            pairs.append(Pair(image.stem, image, path, sized(image, path, size, draw)))
    return assemble("coco", pictures, pairs, faults, table)


def only_file(folder: Path, files: Sequence[Path], what: str) -> Path:
    """The one file of a format that keeps all images in one."""
    if not files:
        raise DataError(f"holds no {what}", cure="Put it into the folder", path=folder)
    if len(files) > 1:
        raise DataError(
            f"{place_in(folder, files[0])} and {place_in(folder, files[1])} both annotate images",
            cure="Give a folder that holds one of them with its images",
            path=folder,
        )
    return files[0]


def _files(folder: Path) -> list[Path]:
    return [path for path in files_with(folder, ".json") if json_keys(path) >= _KEYS]


def _by_id(entries: Any, what: str, name: str, path: Path) -> dict[str, str]:
    """Id → name. Raises ``DataError`` if an id stands for two names: nobody can say which is meant."""
    names: dict[str, str] = {}
    for each in entries:
        found = text_of(each[name], f"a {name} of the {what}", path)
        if names.setdefault(_key(each["id"]), found) != found:
            raise DataError(
                f"the {what} {names[_key(each['id'])]} and {found} have the same id {each['id']}",
                cure="Give each an id of its own; files that are merged have to be numbered anew",
                path=path,
            )
    return names


def _key(number: Any) -> str:
    """An id for comparing: tools write the same number as 1, as 1.0 and as "1"."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def _draw(objects: Sequence[tuple[str, Any]], table: NameTable, path: Path, size: tuple[int, int]) -> Drawn:
    with parsing(path):
        return paint((thing for label, each in objects for thing in _things(label, each, size)), size, table, path)


def _things(label: str, each: Any, size: tuple[int, int]) -> Iterator[Thing]:
    drawn = each.get("segmentation")
    if isinstance(drawn, dict):
        if list(drawn["size"]) != list(size):
            raise DataError("run lengths of another size than their image", cure="Export the annotation again")
        counts = drawn["counts"]
        runs = coco_counts(counts) if isinstance(counts, str) else counts
        yield Thing(label, Bitmap(0, 0, fill_runs(runs, *size, by_column=True)))
    elif drawn:
        for part in drawn:
            if len(part) % 2:
                raise DataError("an outline with an odd number of coordinates", cure="Export the annotation again")
            yield Thing(label, Outline.of([list(zip(part[::2], part[1::2], strict=True))]))
    elif each.get("bbox"):
        raise DataError(
            f"the object {each.get('id')} ({label}) has a bounding box but no outline",
            cure="Outline the objects; a box says where something is, not which pixels it has",
        )
    else:
        yield Thing(label, None)
