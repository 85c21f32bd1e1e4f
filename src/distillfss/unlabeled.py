"""Images without annotation, as a fit learns from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    annotated: Iterable[NDArray[np.uint8]] = (),
) -> list[Tensor]:
    """Up to ``MOST`` images, evenly spread over those given, each (3, h, w) uint8 at the working resolution.

    What is annotated already teaches nothing here: the model was fitted to it, and is sure of it.

    Parameters
    ----------
    images
        Pictures, files of pictures or both, or one folder, file or pattern of them (see ``list_images``).
    size
        Working resolution.
    reading
        Bands and range that files are to be read with, as ``SupportSet.reading`` has them.
    left_out
        Told which files of a folder or pattern could not be read, and how many are annotated, if there are such.
    annotated
        Images (H, W, 3) of the support.

    Raises
    ------
    DataError
        If there are none, none can be read, or all are annotated; or naming one of a sequence that is no picture.
    """
    chosen: Sequence[Picture] = list_images(images) if isinstance(images, str | Path) else images
    if not len(chosen):
        raise DataError("there are no images without annotation", cure="Pass some, or none at all: None")
    # one bad file of a folder among thousands, which nobody picked, is no reason to stop
    picked = not isinstance(images, str | Path)
    known = {_digest(image) for image in annotated}
    found: list[Tensor] = []
    faults: list[DataError] = []
    twice = 0
    for index in spread(range(len(chosen))):
        try:
            pixels = _pixels(chosen[index], index, reading)
        except DataError as fault:
            if picked:
                raise
            faults.append(fault)
        else:
            if known and _digest(pixels) in known:
                twice += 1
            else:
                found.append(_small(pixels, size))
    if not found and twice:
        raise DataError(
            "all of the images without annotation are annotated in the support", cure="Give others, or none at all"
        )
    if not found:
        raise_faults(faults)
    total = len(found) + len(faults) + twice
    if faults:
        left_out(f"{len(faults)} of {total} images without annotation, such as {faults[0]}")
    if twice:
        left_out(f"{twice} of {total} images without annotation, which the support shows with it")
    return found


def _digest(pixels: NDArray[np.uint8]) -> bytes:
    """Of an image as a support set keeps it: pixels and size."""
    from distillfss.support import MAX_KEPT_PIXELS, at_most

    kept, _ = at_most(pixels, np.zeros(pixels.shape[:2], np.uint8), MAX_KEPT_PIXELS)
    return hashlib.sha256(kept.tobytes()).digest() + bytes(str(kept.shape), "ascii")


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
