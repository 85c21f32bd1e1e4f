"""Images without annotation, as a fit learns from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillfss.errors import DataError
from distillfss.io.decode import read_image, to_rgb8
from distillfss.io.faults import raise_faults
from distillfss.io.files import list_images
from distillfss.io.special import bands_and_range
from distillfss.preprocess import at_working_size

if TYPE_CHECKING:
    from distillfss.segmenter import Picture

MOST = 100
"""Images that are learnt from, of any number. A step sees four views; more images would hardly be seen twice."""

Item = TypeVar("Item")


def working_images(
    images: Sequence[Picture] | str | Path,
    size: int,
    reading: Mapping[str, Any] | None = None,
    left_out: Callable[[str], None] = lambda _: None,
) -> list[Tensor]:
    """Up to ``MOST`` images, evenly spread over those given, each (3, h, w) uint8 at the working resolution.

    Parameters
    ----------
    images
        Pictures, files of pictures or both, or one folder, file or pattern of them (see ``list_images``).
    size
        Working resolution.
    reading
        Bands and range that files are to be read with, as ``SupportSet.reading`` has them.
    left_out
        Told which files of a folder or pattern could not be read, if there are such.

    Raises
    ------
    DataError
        If there are none, or none can be read; or naming one of a sequence that is no picture.
    """
    if isinstance(images, str | Path):
        return _readable(list_images(images), size, reading, left_out)
    if not len(images):
        raise DataError("there are no images without annotation", cure="Pass some, or none at all: None")
    return [_small(_pixels(images[index], index, reading), size) for index in spread(range(len(images)))]


def _readable(
    paths: Sequence[Path], size: int, reading: Mapping[str, Any] | None, left_out: Callable[[str], None]
) -> list[Tensor]:
    """Those that can be read: one bad file among thousands, which nobody picked, is no reason to stop."""
    found: list[Tensor] = []
    faults: list[DataError] = []
    for index, path in enumerate(spread(paths)):
        try:
            found.append(_small(_pixels(path, index, reading), size))
        except DataError as fault:
            faults.append(fault)
    if not found:
        raise_faults(faults)
    if faults:
        left_out(f"{len(faults)} of {len(found) + len(faults)} images without annotation, such as {faults[0]}")
    return found


def spread(items: Sequence[Item]) -> list[Item]:
    """Up to ``MOST`` of ``items``, at equal distances: neighbours in a film or a series are much alike."""
    number = min(MOST, len(items))
    return [items[index * len(items) // number] for index in range(number)]


def _pixels(image: Picture, index: int, reading: Mapping[str, Any] | None) -> NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return read_image(image, *bands_and_range(reading)).pixels
    try:
        return to_rgb8(image)
    except DataError as fault:
        raise DataError(f"unlabeled[{index}]: {fault.problem}", cure=fault.cure) from None


def _small(pixels: NDArray[np.uint8], size: int) -> Tensor:
    return at_working_size(pixels, size).to(torch.uint8)  # whole numbers: it shrinks bytes
