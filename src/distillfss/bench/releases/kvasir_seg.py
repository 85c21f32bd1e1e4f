"""Kvasir-SEG: polyps in endoscopy.

Layout, from the data set's page (datasets.simula.no/kvasir-seg) and many public loaders::

    Kvasir-SEG/images/NAME.jpg
    Kvasir-SEG/masks/NAME.jpg             black and white as RGB JPEG, so with grey at the edges
    Kvasir-SEG/kavsir_bboxes.json         (spelt so) NAME -> height, width and boxes

1,000 pairs. Masks are cut at half (128); the paper's loader takes only what is brighter than 245, which makes the
polyps a rim of compression errors smaller.

No official split in this layout; the paper's is a random fifth of ``os.listdir``'s order, which nobody can repeat.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import Entry, Found, Misplaced, Release, beside, locate, pictures
from distillfss.bench.releases.decoding import white
from distillfss.errors import DataError

BOXES = "kavsir_bboxes.json"


def find(root: Path) -> Found:
    base = locate(root, "images", "masks")
    images = pictures(base / "images")
    _compare(base / BOXES, images)
    return Found([Entry(path.stem, partial(_read, path, _mask(base, path))) for path in images])


def _mask(base: Path, image: Path) -> Path:
    return beside(base / "masks", [image.name, f"{image.stem}.png"], image)


def _compare(table: Path, images: list[Path]) -> None:
    """Every picture the release's table names must be there; the table itself may be missing."""
    if not table.is_file():
        return
    try:
        names = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", cure="Copy it again from the release", path=table) from None
    if not isinstance(names, dict):
        raise DataError("is no table of pictures by their names", cure="Copy it again from the release", path=table)
    absent = sorted(set(names) - {path.stem for path in images})
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise Misplaced(f"names {absent[0]}{more}, which images/ does not hold", table)


def _read(image: Path, mask: Path) -> tuple[Path, NDArray[np.uint8]]:
    return image, white(mask).astype(np.uint8)


RELEASE = Release(
    name="kvasir_seg",
    title="Kvasir-SEG (polyps)",
    domain="medicine, endoscopy",
    classes=("polyp",),
    licence="free for research and education",
    where="datasets.simula.no/kvasir-seg",
    cite="Jha et al., Kvasir-SEG, MMM 2020, arXiv 1911.07069",
    download="46 MB (kvasir-seg.zip)",
    layout=f"Kvasir-SEG/images/NAME.jpg, Kvasir-SEG/masks/NAME.jpg and Kvasir-SEG/{BOXES}",
    notes="JPEG masks cut at half.",
    find=find,
    pairs=(1000,),
    areas={"polyp": (0.13, 0.18)},
)
