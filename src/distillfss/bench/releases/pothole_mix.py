"""Pothole Mix: potholes and cracks in roads, six older data sets in one (SHREC 2022 track). Mendeley Data kfth5g2xk3.

Layout, from its readme as cited by public users of the official archive, and the paper's loader::

    pothole-mix/{training,validation,testing}/SOURCE/images/NAME.jpg (or .JPG, .png)
    pothole-mix/{training,validation,testing}/SOURCE/masks/NAME.png      RGB: red pothole, green crack, black neither

SOURCE is cnr-road-dataset, cracks-and-potholes-in-road, crack500, edmcrack600, gaps384 or pothole600. 3,340, 496 and
504 pairs. Version 1 of the archive lacks ``testing``.

The paper has one class, "pothole", and counts every pixel that is not black, so cracks as well: ``pothole_mix``. The
two kinds apart are ``pothole_mix_cracks``. The paper draws support from training and tests on testing.

A public user of the archive checked that its masks hold these three colours and no others; another reads them with a
tolerance. Here an unknown colour is an error. Not verified: the licence, which the data page (CC BY 4.0) and the readme
(CC BY-NC-SA 4.0 for the authors' own part; GAPs384 academic, EdmCrack600 not commercial) are said to state differently.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import (
    TEST,
    TRAIN,
    VALIDATION,
    Entry,
    Found,
    Misplaced,
    Release,
    beside,
    folders_in,
    locate,
    pictures,
)
from distillfss.bench.releases.decoding import Colour, by_colour, colours

PARTS = {"training": TRAIN, "validation": VALIDATION, "testing": TEST}
BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)
DAMAGE: dict[Colour, int] = {BLACK: 0, RED: 1, GREEN: 1}
KINDS: dict[Colour, int] = {BLACK: 0, RED: 1, GREEN: 2}


def find(table: dict[Colour, int], root: Path) -> Found:
    base = locate(root, *PARTS)
    entries = []
    for folder, part in PARTS.items():
        sources = folders_in(base / folder)
        if not sources:
            raise Misplaced("holds no folder SOURCE/images", base / folder)
        for source in sources:
            for image in pictures(source / "images"):
                mask = beside(source / "masks", [f"{image.stem}.png"], image)
                entries.append(Entry(f"{source.name}__{image.stem}", partial(_read, image, mask, table), part))
    return Found(entries)


def _read(image: Path, mask: Path, table: dict[Colour, int]) -> tuple[Path, NDArray[np.uint8]]:
    return image, by_colour(colours(mask), table, mask)


def _release(name: str, title: str, classes: tuple[str, ...], table: dict[Colour, int], notes: str) -> Release:
    return Release(
        name=name,
        title=title,
        domain="industry, roads",
        classes=classes,
        licence="CC BY-NC-SA 4.0; GAPs384 academic use only, EdmCrack600 not commercial",
        where="Mendeley Data, doi 10.17632/kfth5g2xk3.2 (pothole-mix-v1.0-20220526.zip)",
        cite="Thompson et al., SHREC 2022, Computers & Graphics 107, arXiv 2205.13326",
        download="3.6 GB",
        layout="pothole-mix/{training,validation,testing}/SOURCE/{images,masks}/NAME",
        notes=notes,
        find=partial(find, table),
        pairs=(4340,),
        parts={TRAIN: 3340, VALIDATION: 496, TEST: 504},
        in_paper=len(classes) == 1,
    )


RELEASE = _release(
    "pothole_mix",
    "Pothole Mix (damage of any kind)",
    ("pothole",),
    DAMAGE,
    "As in the paper, cracks count as potholes. Official split; many masks are empty.",
)
CRACKS = _release(
    "pothole_mix_cracks",
    "Pothole Mix (potholes and cracks apart)",
    ("pothole", "crack"),
    KINDS,
    "Red is pothole, green is crack. Official split; many masks are empty.",
)
