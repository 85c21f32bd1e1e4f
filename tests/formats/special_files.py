"""What tests of files of all kinds write and read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin


def write_map(path: Path, pixels: np.ndarray) -> None:
    height, width = pixels.shape[:2]
    place = {"crs": "EPSG:32633", "transform": from_origin(500000, 5000000, 0.5, 0.5)}
    profile = {"driver": "GTiff", "count": 3, "height": height, "width": width, "dtype": "uint8", **place}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.moveaxis(pixels, -1, 0))


def rows(table: Path) -> dict[tuple[str, str], dict[str, str]]:
    with table.open() as file:
        return {(row["image"], row["class"]): row for row in csv.DictReader(file)}
