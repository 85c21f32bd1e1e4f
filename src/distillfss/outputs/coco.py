"""COCO: one JSON file about all images, with run lengths or polygons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss import __version__
from distillfss.outputs.base import Output, OutputSettings, Segmented, require
from distillfss.outputs.rings import Polygon, polygons


class Coco(Output):
    """``coco.json`` in the format of COCO's instance annotations; category id = mask value.

    Both kinds of segmentation decode to exactly the mask with pycocotools. Polygons run along pixel edges, and those
    with holes are cut open (``rings.cut_open``).
    """

    where = "coco.json"

    def __init__(self, settings: OutputSettings) -> None:
        super().__init__(settings)
        require("pycocotools", "--outputs coco")
        if settings.coco_segmentation == "polygon" or settings.instances == "component":
            require("rasterio", "--outputs coco")

    @property
    def record_key(self) -> str:
        return f"coco-{self.settings.coco_segmentation}-{self.settings.instances}"

    def record(self, seen: Segmented) -> dict[str, Any]:
        height, width = seen.mask.shape
        return {"width": width, "height": height, "annotations": self._annotations(seen.mask)}

    def shared_files(self) -> tuple[str, ...]:
        return ("coco.json",)

    def collect(self, records: Mapping[str, Any]) -> dict[str, bytes]:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, (name, record) in enumerate(sorted(records.items()), start=1):
            images.append({"id": image_id, "file_name": name, "width": record["width"], "height": record["height"]})
            for annotation in record["annotations"]:
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image_id, "iscrowd": 0} | annotation,
                )
        names = self.settings.class_names
        document = {
            "info": {"description": f"masks predicted by distillfss {__version__}"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [{"id": value, "name": name} for value, name in enumerate(names, start=1)],
        }
        return {"coco.json": json.dumps(document, separators=(",", ":")).encode()}

    def _annotations(self, mask: NDArray[np.uint8]) -> list[dict[str, Any]]:
        if self.settings.instances == "component":
            return [self._annotation(polygon.value, mask.shape, [polygon]) for polygon in polygons(mask)]
        values = [int(value) for value in np.unique(mask) if value]
        if self.settings.coco_segmentation == "rle":
            return [_described(value, _run_lengths(mask == value)) for value in values]
        found = polygons(mask)
        return [
            self._annotation(value, mask.shape, [polygon for polygon in found if polygon.value == value])
            for value in values
        ]

    def _annotation(self, value: int, shape: tuple[int, ...], parts: list[Polygon]) -> dict[str, Any]:
        from pycocotools import mask as coco  # type: ignore[import-untyped]

        flat = [part.flat() for part in parts]
        annotation = _described(value, coco.merge(coco.frPyObjects(flat, *shape)))
        if self.settings.coco_segmentation == "polygon":
            annotation["segmentation"] = flat
        return annotation


def _run_lengths(where: NDArray[np.bool_]) -> dict[str, Any]:
    from pycocotools import mask as coco

    encoded: dict[str, Any] = coco.encode(np.asfortranarray(where, np.uint8))
    return encoded


def _described(value: int, encoded: dict[str, Any]) -> dict[str, Any]:
    """The annotation of a region given as run lengths."""
    from pycocotools import mask as coco

    return {
        "category_id": value,
        "area": int(coco.area(encoded)),
        "bbox": [int(side) for side in coco.toBbox(encoded)],
        "segmentation": {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")},
    }
