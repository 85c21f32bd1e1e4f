"""EVICAN: cells and nuclei of 30 cell lines in bright-field and phase-contrast microscopy, partly annotated.

Layout, from the files on Edmond (doi 10.17617/3.AJBV1S) as named by public loaders, and the paper's loader::

    Images/EVICAN_train2019/NAME.jpg, Images/EVICAN_val2019/NAME.jpg      (the paper's loader: Images/train, Images/val)
    annotations_EVICAN2/instances_train2019_EVICAN2.json
    annotations_EVICAN2/instances_val2019_EVICAN2.json

COCO format: ``images`` (id, file_name, height, width), ``categories`` (Cell, Nucleus) and ``annotations`` (image_id,
category_id, segmentation as polygons or run lengths; ``area`` is missing). Pictures ``*_Background.jpg`` without cells
have no annotation and are not read, nor is the evaluation set of three grades, which the paper does not use.

A nucleus lies in its cell, so nuclei are painted over cells; instances of one class are merged by "or". Crowds, if
there are any, are passed over like in the paper. The paper's code tests on the validation set: here the test part. Only
some cells of a training picture are annotated: the others are background, wrongly.

Not verified: the number of annotated pictures by part and the licence.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import TEST, TRAIN, Entry, Found, Misplaced, Release, locate
from distillfss.errors import DataError, UsageError
from distillfss.io.opening import quiet

ANNOTATIONS, IMAGES = "annotations_EVICAN2", "Images"
PARTS = {"train": TRAIN, "val": TEST}
CLASSES = ("cell", "nucleus")


def find(root: Path) -> Found:
    base = locate(root, ANNOTATIONS, IMAGES)
    entries = []
    for name, part in PARTS.items():
        table = base / ANNOTATIONS / f"instances_{name}2019_EVICAN2.json"
        folder = _folder(base / IMAGES, name)
        for image, instances in _images(table):
            path = folder / str(image["file_name"])
            if not path.is_file():
                raise Misplaced(f"names {image['file_name']}, which {folder.name} does not hold", table)
            shape = int(image["height"]), int(image["width"])
            entries.append(Entry(path.stem, partial(_read, path, shape, instances, table), part))
    return Found(entries)


def _folder(images: Path, name: str) -> Path:
    for folder in (images / f"EVICAN_{name}2019", images / name):
        if folder.is_dir():
            return folder
    raise Misplaced(f"holds no folder EVICAN_{name}2019", images)


def _images(table: Path) -> list[tuple[dict[str, Any], list[tuple[int, Any]]]]:
    """Every annotated picture, and (class, segmentation) of its instances, cells first."""
    if not table.is_file():
        raise Misplaced(f"holds no file {table.name}", table.parent)
    try:
        content: Any = json.loads(table.read_text(encoding="utf-8"))
        names = {category["id"]: str(category["name"]).casefold() for category in content["categories"]}
        unknown = sorted(set(names.values()) - set(CLASSES))
        instances: dict[Any, list[tuple[int, Any]]] = defaultdict(list)
        for each in content["annotations"]:
            if not each.get("iscrowd") and names.get(each["category_id"]) in CLASSES:
                value = CLASSES.index(names[each["category_id"]]) + 1
                instances[each["image_id"]].append((value, each["segmentation"]))
        found = [
            (image, sorted(instances[image["id"]], key=lambda item: item[0]))
            for image in content["images"]
            if image["id"] in instances
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"is no COCO annotation ({error!r})", cure="Copy it again from the release", path=table
        ) from None
    if unknown:
        raise DataError(
            f"has the category {unknown[0]}, known are Cell and Nucleus",
            cure="Take the EVICAN2 annotations, not EVICAN60",
            path=table,
        )
    return found


def _read(
    image: Path, shape: tuple[int, int], instances: list[tuple[int, Any]], table: Path
) -> tuple[Path, NDArray[np.uint8]]:
    mask = np.zeros(shape, np.uint8)
    for value, segmentation in instances:
        try:
            mask[_paint(segmentation, shape)] = value
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise DataError(
                f"a segmentation of {image.name} cannot be drawn ({error})",
                cure="Copy it again from the release",
                path=table,
            ) from None
    return image, mask


def _paint(segmentation: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W): the area of polygons (their union) or run lengths, by the rules of the COCO tools themselves."""
    try:
        coco = import_module("pycocotools.mask")
    except ImportError:
        raise UsageError(
            "drawing COCO annotations needs pycocotools", cure="Install it: pip install 'distillfss[bench]'"
        ) from None
    height, width = shape
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        # the tools leave what too short a list does not cover as it was in memory
        if not isinstance(counts, list) or sum(counts) != height * width or segmentation["size"] != [height, width]:
            raise ValueError(f"its run lengths do not make {width}x{height} pixels")
    with quiet():  # of the tools, about NumPy 2
        lengths = coco.frPyObjects(segmentation, height, width)
        areas: NDArray[np.uint8] = coco.decode(lengths if isinstance(lengths, list) else [lengths])
    return areas.max(axis=2) > 0


RELEASE = Release(
    name="evican",
    title="EVICAN (EVICAN2 annotations)",
    domain="medicine, microscopy",
    classes=CLASSES,
    licence="see its page",
    where="Edmond, doi 10.17617/3.AJBV1S",
    cite="Schwendy, Unger and Parekh, EVICAN, Bioinformatics 36(12):3863, 2020",
    download="not stated",
    layout="Images/EVICAN_{train,val}2019/NAME.jpg and annotations_EVICAN2/instances_{train,val}2019_EVICAN2.json",
    notes="Nuclei painted over cells; training pictures are annotated in part only; val is the test part.",
    find=find,
    in_paper=False,
)
