"""Lung nodules: slices of computed tomography with the area of the cancer. Mendeley Data 5rr22hgzwr.

Layout, from the data set's page and public loaders::

    Lung cancer segmentation dataset with Lung-RADS class/lung_cancer_train.pkl     708 slices
    Lung cancer segmentation dataset with Lung-RADS class/lung_cancer_test.pkl      264 slices

Each a pickled ``pandas.DataFrame`` with the columns ``label1`` (Lung-RADS class), ``mask`` (binary, (H, W)),
``hu_array_old`` (Hounsfield units, (H, W)) and ``hu_array`` (the same with everything but the lungs dropped). They are
read without pandas and without running them (see ``frames``).

As in the paper's loader the picture is ``hu_array``, stretched from the smallest to the largest value of all training
slices to 0...255 and cut off to whole numbers. Test values outside that range, which wrap around there, are clipped.

Not verified: the version of pandas that wrote the files, their size, the size of the slices and the licence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import TEST, TRAIN, Entry, Found, Misplaced, Release, locate
from distillfss.bench.releases.frames import Column, read_frame
from distillfss.errors import DataError

FILES = {TRAIN: "lung_cancer_train.pkl", TEST: "lung_cancer_test.pkl"}
COLUMNS = ("mask", "hu_array")


def find(root: Path) -> Found:
    base = locate(root, *FILES.values())

    @cache
    def table(part: str) -> dict[str, Column]:
        return read_frame(base / FILES[part], COLUMNS)

    if not len(table(TRAIN)["hu_array"]):
        raise Misplaced("holds no slices", base / FILES[TRAIN])

    @cache
    def span() -> tuple[float, float]:
        arrays = [np.asarray(each) for each in table(TRAIN)["hu_array"]]
        return min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)

    return Found(
        [
            Entry(f"{part}_{row:04d}", partial(_read, table, span, part, row, base / FILES[part]), part)
            for part in FILES
            for row in range(len(table(part)["mask"]))
        ]
    )


def _read(
    table: Callable[[str], dict[str, Column]], span: Callable[[], tuple[float, float]], part: str, row: int, path: Path
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    slice_: NDArray[Any] = np.asarray(table(part)["hu_array"][row], dtype=np.float64)
    mask: NDArray[Any] = np.asarray(table(part)["mask"][row])
    if slice_.ndim != 2 or mask.shape != slice_.shape:
        raise DataError(
            f"row {row} holds a slice of shape {slice_.shape} with a mask of shape {mask.shape}",
            cure="Download it again from its official page",
            path=path,
        )
    low, high = span()
    grey = np.clip((slice_ - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), (mask > 0).astype(np.uint8)


RELEASE = Release(
    name="lung_nodules",
    title="Lung cancer segmentation with Lung-RADS class",
    domain="medicine, computed tomography",
    classes=("nodule",),
    licence="see its page; it contains LIDC-IDRI (CC BY 3.0)",
    where="Mendeley Data, doi 10.17632/5rr22hgzwr.1",
    cite="Nam, Panina and Pak, Mendeley Data V1, 2024",
    download="not stated",
    layout="lung_cancer_train.pkl and lung_cancer_test.pkl in one folder",
    notes="hu_array stretched by the training set's range; official split.",
    find=find,
    pairs=(972,),
    parts={TRAIN: 708, TEST: 264},
)
