"""The images an export is checked on and quantised with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.class_matching import match_classes
from distillfss.errors import DataError
from distillfss.io.decode import read_image
from distillfss.io.files import list_images
from distillfss.io.special import bands_and_range
from distillfss.metrics import IGNORE

ODD_SIZES = (
    (61, 47),
    (97, 131),
    (199, 333),
    (255, 511),
    (384, 384),
    (401, 577),
    (513, 319),
    (701, 293),
    (64, 517),
    (767, 1021),
)
"""(height, width): smaller and larger than the working size, square, long and tall, prime, and its own working size."""
MOST = 64
"""Images a calibration uses; more change the ranges hardly and take longer."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image uint8 (H, W, 3) and its mask (H, W) in the model's classes, where there is one.

    ``annotated`` are the mask values of the classes it is annotated for, None if for all; of the others its background
    says nothing.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None = None
    annotated: frozenset[int] | None = None


def read_examples(
    folders: Sequence[Path], class_names: Sequence[str], most: int = MOST, reading: Any = None
) -> list[Example]:
    """Images of folders, with their masks where a folder is annotated, in any format; at most ``most`` of each.

    Of a folder with more, as many, evenly spread over the sorted names, are taken. GeoTIFF and DICOM files are read as
    the model's ``reading`` says.

    Raises
    ------
    DataError
        If a folder has no image that can be read, or none of its classes is the model's.
    """
    return [example for folder in folders for example in _of_folder(folder, class_names, most, reading)]


def _of_folder(folder: Path, class_names: Sequence[str], most: int, reading: Any) -> Iterator[Example]:
    from distillfss.io.annotations import is_annotated

    if is_annotated(folder):
        from distillfss.support import LabelledFolder

        data = LabelledFolder.open(folder).named_as(class_names).read_as(reading)
        # what extends a model is annotated for the new classes alone
        table, _ = match_classes(class_names, data.class_names, partial=True)
        data.refuse_white()
        annotated = frozenset(int(value) for value in table[1:IGNORE]) - {0}
        for index in _spread(len(data), most):
            sample = data[index]
            yield Example(sample.image, table[sample.mask], annotated)
        return
    paths = list_images(folder)
    if not paths:
        raise DataError("no pictures in this folder", cure="Name a folder with images", path=folder)
    for index in _spread(len(paths), most):
        yield Example(read_image(paths[index], *bands_and_range(reading)).pixels)


def _spread(count: int, most: int) -> list[int]:
    taken = min(count, most)
    return [place * count // taken for place in range(taken)]


def sample_examples() -> list[Example]:
    """What the package brings along, for a check without images of one's own."""
    from distillfss.sample import sample_tiles

    return [Example(tile.image) for tile in sample_tiles()]


def in_odd_sizes(examples: Sequence[Example]) -> Iterator[NDArray[np.uint8]]:
    """One image (H, W, 3) of every one of ``ODD_SIZES``, made from the examples in turn."""
    for number, (height, width) in enumerate(ODD_SIZES):
        pixels = examples[number % len(examples)].pixels
        yield np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
