"""WeedMap: sugar beet and weeds from the air, tiles of multispectral orthomosaics; the paper uses the RedEdge camera.

Layout, from the data set's page (projects.asl.ethz.ch, "Remote Sensing 2018 Weed Map Dataset") and public loaders::

    Tiles/RedEdge/XXX/tile/{R,G,B,...}/frameYYYY.png                    one 8-bit channel each, 480x360
    Tiles/RedEdge/XXX/groundtruth/XXX_frameYYYY_GroundTruth_iMap.png    16 bit: 0 ground, 10000 crop, 2 weed
    Tiles/RedEdge/XXX/mask/frameYYYY.png                                footprint of the map

XXX is 000 to 004 (RedEdge) or 005 to 007 (Sequoia, which has no blue channel). The paper takes its support from 000 and
tests on 003; those two are read. Its authors' loader stacks R, G and B, maps 10000 to crop and leaves 2 as weed, as is
done here. It reads a processed copy, 256x256 corners of the tiles (``frame0009_2.png``) in the same folders without
``mask``, whose wholly empty tiles were removed. That copy is read just as well. Of the original tiles those without any
map are left out by their pixels, all black, not by ``mask``: the page says white is valid, several public readers found
white outside the map.

Pixels outside the map inside a tile that shows some are background, as in the paper.

Not verified: the number of tiles, and a licence, of which the page says nothing.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import (
    TEST,
    TRAIN,
    Entry,
    Found,
    LeftOut,
    Misplaced,
    Release,
    beside,
    locate,
    pictures,
)
from distillfss.bench.releases.decoding import by_number, numbers
from distillfss.errors import DataError

MAPS = {"000": TRAIN, "003": TEST}
CHANNELS = ("R", "G", "B")
VALUES = {0: 0, 1: 1, 10000: 1, 2: 2}
"""1 is not in the release; copies that were made 8 bit deep hold it for crop."""


def find(root: Path) -> Found:
    try:
        base = locate(root, *MAPS)
    except Misplaced:
        sequoia = any((folder / "006").is_dir() for folder in (root, root / "Sequoia", root / "Tiles" / "Sequoia"))
        if sequoia:
            raise Misplaced(
                "holds the Sequoia maps only; the benchmark uses the RedEdge maps 000 and 003", root
            ) from None
        raise
    entries = []
    for name, part in MAPS.items():
        tiles, truth = base / name / "tile", base / name / "groundtruth"
        for red in pictures(tiles / CHANNELS[0]):
            mask = beside(truth, [f"{name}_{red.stem}_GroundTruth_iMap.png"], red, "ground truth")
            channels = [beside(tiles / channel, [red.name], red, "channel") for channel in CHANNELS]
            entries.append(Entry(f"{name}_{red.stem}", partial(_read, channels, mask), part))
    return Found(entries)


def _read(channels: list[Path], truth: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    planes: list[NDArray[np.uint8]] = []
    for path in channels:
        plane = numbers(path)
        if plane.max() > 255 or (planes and plane.shape != planes[0].shape):
            raise DataError(
                "is no 8-bit channel of the size of the others", cure="Copy it again from the release", path=path
            )
        planes.append(plane.astype(np.uint8))
    image = np.stack(planes, axis=-1)
    if not image.any():
        raise LeftOut("a tile outside the map, all black")
    return image, by_number(numbers(truth), VALUES, truth)


RELEASE = Release(
    name="weedmap",
    title="WeedMap (RedEdge maps 000 and 003)",
    domain="agriculture, from the air",
    classes=("crop", "weed"),
    licence="not stated on its page",
    where="projects.asl.ethz.ch/datasets, weedmap:remotesensing2018weedmap",
    cite="Sa et al., WeedMap, Remote Sensing 10(9):1423, 2018",
    download="5.36 GB with the orthomosaics",
    layout="Tiles/RedEdge/{000,003}/tile/{R,G,B}/frameYYYY.png and groundtruth/XXX_frameYYYY_GroundTruth_iMap.png",
    notes="R, G and B channels as RGB; tiles wholly outside the map left out, black borders are background.",
    find=find,
)
