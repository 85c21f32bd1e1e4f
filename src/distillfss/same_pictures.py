"""The same picture twice, also mirrored, turned or stored anew.

Small grey pictures are compared, upright, mirrored and turned, without what varies slowly over them (lighting) and
without what all pictures of the set have in common (the rim of an endoscope, a scale bar). On seven public data sets
copies correlate above 0.95, pictures of different things hardly ever above 0.85. Descriptors of the backbone, by which
``pick`` finds images that teach the same, missed two thirds of the mirrored copies and took lighting for likeness.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.grouping import equal, firsts

SIDE = 32
REACH = 2
"""Half the side of the square over which the lighting is taken, in cells of the small picture."""
ALIKE = 0.9
LEAST_CONTRAST = 0.25
"""Grey levels: below, a small picture shows nothing to tell it by."""
LEAST_FOR_COMMON = 10
"""Fewer pictures than this do not say what is common to all."""
VERSION = re.compile(r"(.+)\.rf\.[0-9a-f]{32}")
"""How Roboflow names what it exports, several versions of one image among it: cropped and turned by any angle, too."""
LEAST_OVERLAP = 0.8
"""IoU of the masks of two pictures that look alike, for them to be one scene."""
_BLOCK = 512

CRITERION = f"{SIDE} {REACH} {ALIKE} {LEAST_CONTRAST} {LEAST_FOR_COMMON}"
"""What decides whether two pictures are the same, for whoever keeps the answer."""


@dataclass(frozen=True)
class Twins:
    """Two pictures that show nearly the same; places in the list they were looked for in, ``first`` the earlier."""

    first: int
    second: int
    mirrored: bool


def small_picture(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 → (32, 32): grey, without lighting, of length 1; all 0 if there is nothing to see."""
    grey = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=3.0)
    values = np.asarray(grey, np.float64)
    padded = np.pad(values, REACH, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * REACH + 1, 2 * REACH + 1))
    fine = values - windows.mean((2, 3))
    length = float(np.linalg.norm(fine))
    shows = length > LEAST_CONTRAST * SIDE
    return (fine / length if shows else np.zeros_like(fine)).astype(np.float32)


def twins(pictures: NDArray[np.float32], partners: int) -> list[Twins]:
    """Every picture that has an earlier twin, with that twin; only the first ``partners`` pictures count as earlier.

    ``pictures`` (N, 32, 32) come from ``small_picture``.
    """
    found = []
    for start, likely in _alike(pictures, partners):
        for index in range(start, start + likely.shape[1]):
            views = likely[:, index - start, :index]
            if views.any():
                straight = views[0].any()
                first = int(np.flatnonzero(views[0] if straight else views.any(0))[0])
                found.append(Twins(first, index, not straight))
    return found


def same_pictures(pictures: NDArray[np.float32], digests: Sequence[str]) -> list[tuple[int, int]]:
    """Every pair of pictures that show the same, mirrored or turned or not, the earlier first.

    Parameters
    ----------
    pictures
        (N, 32, 32) from ``small_picture``.
    digests
        Of the pixels: pictures in which there is nothing to see are the same only pixel by pixel.
    """
    found: set[tuple[int, int]] = set()
    for start, likely in _alike(pictures, len(pictures)):
        for place, earlier in np.argwhere(likely.any(axis=0)).tolist():
            if earlier < start + place:
                found.add((earlier, start + place))
    return sorted(found | set(equal(digests)))


def digest_of(pixels: NDArray[np.uint8]) -> str:
    """Hex digest of shape and content."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def scenes(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], ways: int, names: Sequence[str] = ()
) -> list[int]:
    """For every annotated image the place of the first one of its scene, its own where there is none before it.

    One scene are an image and its copies, also mirrored, turned, lighter, blurred: pictures that are the same with
    masks that are (``LEAST_OVERLAP``, in the same view), the same pixel by pixel, or copies by their names
    (``VERSION``); and whatever these have in common with others. Of parts before a fixed camera, which look alike as
    well, the masks differ.

    Parameters
    ----------
    images, masks
        (H, W, 3) uint8 and (H, W) class indices, 0 to ``ways``, 255 = ignore.
    names
        The files' stems.
    """
    pictures = np.stack([small_picture(image) for image in images])

    @functools.cache
    def shown(place: int) -> list[NDArray[np.float32]]:
        """Masks in all eight views."""
        return _views(_small_masks(masks[place], ways))

    pairs: list[tuple[int, int]] = []
    for start, likely in _alike(pictures, len(pictures)):
        for view, place, earlier in np.argwhere(likely).tolist():
            later = start + place
            if earlier < later and _overlap(shown(later)[view], shown(earlier)[0]) >= LEAST_OVERLAP:
                pairs.append((earlier, later))
    versions = [VERSION.fullmatch(name) for name in names]
    origins = [None if match is None else match[1] for match in versions]
    copies = [*pairs, *equal([digest_of(image) for image in images]), *equal(origins)]
    return list(firsts(copies, len(images)))


def _small_masks(mask: NDArray[np.uint8], ways: int) -> NDArray[np.float32]:
    """(ways, 32, 32): share of every class, 0 to 1, in every cell."""
    each = [Image.fromarray(((mask == value) * 255).astype(np.uint8)) for value in range(1, ways + 1)]
    return np.stack([np.asarray(one.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255 for one in each])


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """IoU of shares; 1 where neither shows anything."""
    either = float(np.maximum(one, other).sum())
    return float(np.minimum(one, other).sum()) / either if either else 1.0


def _alike(pictures: NDArray[np.float32], partners: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Block by block: the place of its first picture, and (8, block, partners) which views are like which partner."""
    if len(pictures) < 2:
        return
    told = np.abs(pictures).max((1, 2)) > 0
    common = pictures[told].mean(0) if told.sum() >= LEAST_FOR_COMMON else np.zeros((SIDE, SIDE), np.float32)
    own = np.where(told[:, None, None], pictures - common, 0)
    own = own / np.maximum(np.linalg.norm(own, axis=(1, 2), keepdims=True), 1e-6)
    earlier = own[:partners].reshape(-1, SIDE * SIDE).T
    views = [view.reshape(len(own), -1) for view in _views(own)]
    for start in range(0, len(own), _BLOCK):
        yield start, np.stack([view[start : start + _BLOCK] @ earlier for view in views]) > ALIKE


def _views(pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The pictures (N, S, S), first as they are, then mirrored and turned in the seven other ways."""
    both = (pictures, pictures.swapaxes(1, 2))
    return [np.ascontiguousarray(each[:, ::down, ::right]) for each in both for down in (1, -1) for right in (1, -1)]
