"""ISIC 2018 task 1 with the lesions' kinds from the 2019 table: skin lesions, three classes as in the paper.

Layout, from the challenge's data page (challenge.isic-archive.com/data) and the paper's loader::

    ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg
    ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png      8-bit grey, 0 and 255
    ISIC_2019_Training_GroundTruth.csv                                     image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK

The table has 1.0 in one column of every row; its names end in ``_downsampled`` for some pictures. Of the 2,594 pictures
1,867 are nevi (NV), 519 melanomas (MEL) and 208 of the kind the authors call seborrheic keratosis (BKL), says their
code. A picture of another kind, or without a row, is left out.

The paper tests on a list of its own (``test.csv``) that is not published, so there is no split.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import Entry, Found, Misplaced, Release, beside, locate, pictures
from distillfss.bench.releases.decoding import white
from distillfss.errors import DataError

IMAGES, MASKS = "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"
TABLE = "ISIC_2019_Training_GroundTruth.csv"
KINDS = {"NV": 1, "MEL": 2, "BKL": 3}


def find(root: Path) -> Found:
    base = locate(root, IMAGES, MASKS, TABLE)
    kinds = _kinds(base / TABLE)
    entries, left_out = [], []
    for image in pictures(base / IMAGES):
        mask = beside(base / MASKS, [f"{image.stem}_segmentation.png"], image)
        kind = kinds.get(image.stem)
        if kind in KINDS:
            entries.append(Entry(image.stem, partial(_read, image, mask, KINDS[kind])))
        else:
            left_out.append((image.stem, f"kind {kind} is none of the paper's" if kind else f"no row in {TABLE}"))
    return Found(entries, left_out=left_out)


def _kinds(table: Path) -> dict[str, str]:
    """Name of every picture of the table, and the column that holds its one."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"cannot be read ({error})", cure="Copy it again from the release", path=table) from None
    lacking = [column for column in ("image", *KINDS) if column not in (rows[0] if rows else ())]
    if lacking:
        raise Misplaced(f"has no column {lacking[0]}", table)
    kinds = {}
    for number, row in enumerate(rows, start=2):
        try:
            ones = [column for column, value in row.items() if column != "image" and float(value) == 1]
        except (TypeError, ValueError):
            ones = []
        if len(ones) != 1:
            raise DataError(f"line {number} does not name one kind", cure="Copy it again from the release", path=table)
        kinds[row["image"].removesuffix("_downsampled")] = ones[0]
    return kinds


def _read(image: Path, mask: Path, value: int) -> tuple[Path, NDArray[np.uint8]]:
    return image, white(mask).astype(np.uint8) * np.uint8(value)


RELEASE = Release(
    name="isic2018",
    title="ISIC 2018 task 1, kinds of lesions from ISIC 2019",
    domain="medicine, dermoscopy",
    classes=("nevus", "melanoma", "seborrheic keratosis"),
    licence="CC BY-NC 4.0",
    where="challenge.isic-archive.com/data (2018 task 1-2 training input, task 1 ground truth; 2019 training table)",
    cite="Codella et al., arXiv 1902.03368; Tschandl et al., Scientific Data 5:180161, 2018",
    download="about 10 GB",
    layout=f"{IMAGES}/ISIC_NNNNNNN.jpg, {MASKS}/ISIC_NNNNNNN_segmentation.png and {TABLE} in one folder",
    notes="NV, MEL and BKL of the 2019 table are the classes; every picture holds one lesion of one class.",
    find=find,
    pairs=(2594,),
    images_per_class={"nevus": 1867, "melanoma": 519, "seborrheic keratosis": 208},
)
