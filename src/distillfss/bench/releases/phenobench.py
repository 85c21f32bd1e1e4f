"""PhenoBench: sugar beet and weeds from the air, 1024x1024.

Layout, from the authors' development kit (github.com/PRBonn/phenobench) and the data page (phenobench.org)::

    PhenoBench/{train,val}/images/NAME.png
    PhenoBench/{train,val}/semantics/NAME.png      0 soil, 1 crop, 2 weed, 3 and 4 crop and weed cut by the border
    PhenoBench/{train,val}/{plant_instances,leaf_instances,plant_visibility,leaf_visibility}/NAME.png     not read
    PhenoBench/test/images/NAME.png                labels are not public

1,407 and 772 pairs. As in the kit's default, which the paper uses, plants cut by the border count as whole ones. The
paper's code tests on ``val``, so that is the test part here.

Not verified: depth of the masks (any is read).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import TEST, TRAIN, Entry, Found, Release, beside, locate, pictures
from distillfss.bench.releases.decoding import by_number, numbers

PARTS = {"train": TRAIN, "val": TEST}
VALUES = {0: 0, 1: 1, 2: 2, 3: 1, 4: 2}


def find(root: Path) -> Found:
    base = locate(root, *PARTS)
    entries = []
    for folder, part in PARTS.items():
        for image in pictures(base / folder / "images"):
            mask = beside(base / folder / "semantics", [image.name], image)
            entries.append(Entry(image.stem, partial(_read, image, mask), part))
    return Found(entries)


def _read(image: Path, mask: Path) -> tuple[Path, NDArray[np.uint8]]:
    return image, by_number(numbers(mask), VALUES, mask)


RELEASE = Release(
    name="phenobench",
    title="PhenoBench",
    domain="agriculture, from the air",
    classes=("crop", "weed"),
    licence="CC BY-SA 4.0",
    where="phenobench.org/dataset.html (PhenoBench-v110.zip)",
    cite="Weyler et al., PhenoBench, IEEE TPAMI 2024, arXiv 2306.04557",
    download="7.6 GB",
    layout="PhenoBench/{train,val}/images/NAME.png and PhenoBench/{train,val}/semantics/NAME.png",
    notes="Plants cut by the border count as whole ones; val is the test part.",
    find=find,
    pairs=(2179,),
    parts={TRAIN: 1407, TEST: 772},
    in_paper=False,
)
