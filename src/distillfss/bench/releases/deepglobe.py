"""DeepGlobe land cover 2018: satellite pictures of 2448x2448, every pixel of one of six classes.

Layout, from the challenge's page (competitions.codalab.org 18468) and its readme as quoted by public loaders::

    train/ID_sat.jpg
    train/ID_mask.png      RGB: cyan urban, yellow agriculture, magenta rangeland, green forest, blue water,
                           white barren, black unknown (clouds and others)

803 pairs; ``valid`` and ``test`` hold pictures without masks and are not read. "The values of the mask image may not be
pure 0 and 255. When converting to labels, please binarize them at threshold 128", says the readme; so it is done, per
channel, and the colours that remain are decoded exactly (red is none of them).

Unknown becomes 255, not to be counted, as in the challenge. There is no background. The paper's loader reads another
form, cut by the authors of PATNet, and gives unknown to the first class.

Not verified: size and terms of the download (registration; used for research).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import Entry, Found, Misplaced, Release, beside, folders_in
from distillfss.bench.releases.decoding import HALF, Colour, by_colour, colours
from distillfss.io.masks import IGNORE

COLOURS: dict[Colour, int] = {
    (0, 255, 255): 1,
    (255, 255, 0): 2,
    (255, 0, 255): 3,
    (0, 255, 0): 4,
    (0, 0, 255): 5,
    (255, 255, 255): 6,
    (0, 0, 0): IGNORE,
}


def find(root: Path) -> Found:
    base = _locate(root)
    images = sorted(base.glob("*_sat.jpg"))
    entries = []
    for image in images:
        stem = image.stem.removesuffix("_sat")
        mask = beside(base, [f"{stem}_mask.png"], image)
        entries.append(Entry(stem, partial(_read, image, mask)))
    return Found(entries)


def _locate(root: Path) -> Path:
    """The folder with masks; ``valid`` and ``test`` have none."""
    for folder in (root, *folders_in(root), *(deep for below in folders_in(root) for deep in folders_in(below))):
        if next(folder.glob("*_mask.png"), None) is not None:
            return folder
    raise Misplaced("holds no ID_mask.png", root)


def _read(image: Path, mask: Path) -> tuple[Path, NDArray[np.uint8]]:
    pure = np.where(colours(mask) >= HALF, 255, 0).astype(np.uint8)
    return image, by_colour(pure, COLOURS, mask)


RELEASE = Release(
    name="deepglobe",
    title="DeepGlobe land cover 2018",
    domain="remote sensing",
    classes=("urban land", "agriculture land", "rangeland", "forest land", "water", "barren land"),
    licence="terms of the DeepGlobe challenge (research)",
    where="competitions.codalab.org/competitions/18468",
    cite="Demir et al., DeepGlobe 2018, CVPR Workshops, arXiv 1805.06561",
    download="not stated",
    layout="train/ID_sat.jpg and train/ID_mask.png",
    notes="Unknown (black) is 255; channels cut at half as the readme says.",
    find=find,
    pairs=(803,),
    ignore=True,
    in_paper=False,
)
