"""YOLO-seg: a text file of polygons per image, and ``data.yaml``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from distillfss.outputs.base import Output, OutputSettings, Segmented, require
from distillfss.outputs.rings import polygons

# No "path": what reads it then looks beside this file; "." is where a program happens to be started
_YAML = """# YOLO segmentation labels written by distillfss predict. The pictures belong into images/ beside labels/.
train: images
val: images
names:
"""


class Yolo(Output):
    """One line per connected component: class from 0 on (mask value - 1), then x y of every corner, over its size.

    Corners lie on pixel edges and have eight decimals, so multiplying by width and height gives the integers back.
    Holes are cut open (``rings.cut_open``).
    """

    where = "yolo/labels/STEM.txt, yolo/data.yaml"
    folder = "yolo/labels"
    suffix = ".txt"

    def __init__(self, settings: OutputSettings) -> None:
        super().__init__(settings)
        require("rasterio", "--outputs yolo")

    def encode(self, seen: Segmented) -> bytes:
        size = np.array(seen.mask.shape[::-1], np.float64)
        lines = []
        for polygon in polygons(seen.mask):
            corners = " ".join(f"{number:.8f}".rstrip("0").rstrip(".") for number in (polygon.ring / size).ravel())
            lines.append(f"{polygon.value - 1} {corners}\n")
        return "".join(lines).encode()

    def shared_files(self) -> tuple[str, ...]:
        return ("yolo/data.yaml",)

    def collect(self, records: Mapping[str, Any]) -> dict[str, bytes]:
        # a JSON string is a YAML string, whatever a class is called
        names = "".join(f"  {index}: {json.dumps(name)}\n" for index, name in enumerate(self.settings.class_names))
        return {"yolo/data.yaml": (_YAML + names).encode()}
