"""Folders of one annotated image, and simple shapes that are drawn into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely

from distillfss.support import LabelledFolder

TRIANGLE = [[10.13, 10.29], [60.41, 12.07], [30.71, 50.83]]


def circle(x: float, y: float, radius: float) -> shapely.Geometry:
    return shapely.Point(x, y).buffer(radius, quad_segs=2000)


def only_mask(folder: Path) -> np.ndarray:
    data = LabelledFolder.open(folder)
    assert len(data) == 1
    return data[0].mask
