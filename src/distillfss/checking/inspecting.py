"""One pair after the other: what is wrong with each, and the little that is kept of it to judge the whole folder."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from distillfss.checking.findings import Finding, from_fault
from distillfss.checking.header import Header, read_header
from distillfss.checking.raw_masks import RawMask, read_raw
from distillfss.checking.shapes import boxes_of, specks, thin
from distillfss.checking.turning import as_stored, drawn_as_stored
from distillfss.errors import DataError, UsageError
from distillfss.io.annotations import Annotations
from distillfss.io.annotations.places import place_of
from distillfss.io.decode import DecodedImage, read_image
from distillfss.io.kinds import Kind, kind_of
from distillfss.io.legend import Legend
from distillfss.io.masks import IGNORE
from distillfss.io.pairs import Pair
from distillfss.metrics import resize_mask
from distillfss.same_pictures import digest_of
from distillfss.wording import counted

Shrink = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels (H, W, 3) → the picture, small."""

SAME_SHAPE = 0.02
"""Sizes whose aspect ratios differ by no more than this are the same picture, resized."""

REMARKS = {
    "overlap": (
        "overlap",
        "1 pixel belongs to objects of different classes",
        "{n} pixels belong to objects of different classes",
        "Correct what should not overlap",
    ),
    "no area": (
        "no-area",
        "1 point, line or the like",
        "{n} points, lines or the like",
        "Outline what should be found",
    ),
    "no pixel": (
        "no-pixel",
        "1 object covers the centre of no pixel",
        "{n} objects cover the centre of no pixel",
        "Correct or delete what is so small or lies outside",
    ),
    "boxes": ("boxes", "1 rectangle", "{n} rectangles", "Outline the objects if bounding boxes were drawn"),
}
"""What is noticed while drawing: its kind, what is said of one and of many, and the cure."""


@dataclass(eq=False)
class Look:
    """What is kept of a pair.

    Attributes
    ----------
    header
        Of the image; None if it cannot be opened.
    counts
        (256,) pixels by raw mask value after what could be repaired; None without a usable mask.
    thin
        By class: pixels in thin parts and all, see ``shapes.thin``.
    small
        The image, small (``same_pictures.small_picture``); None if it cannot be read.
    image_digest, mask_digest
        Of the pixels.
    colours, guessed
        See ``RawMask``.
    findings
        Those of this pair alone.
    """

    pair: Pair
    header: Header | None = None
    counts: NDArray[np.int64] | None = None
    thin: dict[int, tuple[int, int]] = field(default_factory=dict)
    small: NDArray[np.float32] | None = None
    image_digest: str = ""
    mask_digest: str = ""
    colours: frozenset[int] = frozenset()
    guessed: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def values(self) -> list[int]:
        """Raw mask values that occur."""
        return [] if self.counts is None else np.flatnonzero(self.counts).tolist()


def look_at(pair: Pair, annotations: Annotations, size: int, shrink: Shrink) -> Look:
    """Examine a pair; whatever is wrong with it becomes a finding."""
    look = Look(pair)
    decoded = _look_at_image(look, annotations.legend, shrink)
    pixels = None if decoded is None else decoded.pixels
    raw, remarks = raw_mask(pair, annotations)
    look.findings += raw.findings
    look.colours, look.guessed = raw.colours, raw.guessed
    for remark, (kind, one, many, cure) in REMARKS.items():
        if number := remarks.get(remark):
            problem = one if number == 1 else many.format(n=number)
            look.findings.append(Finding(kind, pair.mask, problem, cure, pair.image))
    if raw.mask is None:
        return look
    mask = raw.mask
    if look.header is not None and pixels is not None:
        mask, finding = fitted(mask, pixels, look.header, pair)
        look.findings += [finding] if finding else _look_at_place(pair)
        if mask.shape != pixels.shape[:2]:
            return look
    # what is drawn where a map holds no data does not count
    seen = mask if decoded is None or decoded.valid is None else mask[decoded.valid]
    look.counts = np.bincount(seen.ravel(), minlength=256)
    look.mask_digest = digest_of(mask)
    if not look.colours:
        _look_at_shapes(look, mask, size)
    return look


def raw_mask(pair: Pair, annotations: Annotations) -> tuple[RawMask, Mapping[str, int]]:
    """The mask of a pair, repaired as far as the file alone allows, and what was noticed while drawing."""
    if pair.draw is None:
        names, choice = annotations.legend.names, pair.choice
        if choice is None:
            return read_raw(pair.mask, pair.image, None if names is None else len(names)), {}
        raw = read_raw(pair.mask, pair.image, choice.named)
        if raw.mask is not None and not raw.colours:  # colours are no values
            raw = replace(raw, mask=choice.of(raw.mask))
        return raw, {}
    try:
        drawn = pair.drawn()
    except DataError as fault:
        if fault.path == pair.image:  # of an image that cannot be read, which is told already
            return RawMask(None), {}
        kind = "annotation" if pair.mask.suffix != ".png" else "unreadable"
        return RawMask(None, [from_fault(fault, kind, pair.mask, pair.image)]), {}
    return RawMask(drawn.mask), drawn.remarks


def fitted(
    mask: NDArray[np.uint8], pixels: NDArray[np.uint8], header: Header, pair: Pair
) -> tuple[NDArray[np.uint8], Finding | None]:
    """The mask for the upright image (H, W, 3): turned or resized if that is what is wrong with it, and what was."""
    height, width = pixels.shape[:2]
    wrong = f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels but its image {width}x{height}"
    if mask.shape == (height, width):
        if header.orientation == 1 or not drawn_as_stored(pixels, mask, header.orientation):
            return mask, None
        problem = f"the image is turned by its EXIF orientation {header.orientation}, its mask seems not to be"
    elif header.turned and mask.shape == (header.height, header.width):
        problem = f"{wrong}, which EXIF turns"
    else:
        ratio = (mask.shape[1] / mask.shape[0]) / (width / height)
        alike = abs(ratio - 1) <= SAME_SHAPE
        cure = "Save the mask at the size of the image, without smoothing" + (", or let --fix resize it" * alike)
        finding = Finding("size-mismatch", pair.mask, wrong, cure, pair.image, fixable=alike)
        return (resize_mask(mask, (height, width)) if alike else mask), finding
    cure = "Turn the mask as well, or let --fix do it"
    finding = Finding("exif-turned", pair.mask, problem, cure, pair.image, fixable=True)
    return as_stored(mask, header.orientation), finding


def _look_at_image(look: Look, legend: Legend, shrink: Shrink) -> DecodedImage | None:
    pair = look.pair
    try:
        look.header = read_header(pair.image)
        decoded = read_image(pair.image, legend.bands, legend.value_range)
        look.small = shrink(decoded.pixels)
    except (DataError, UsageError) as fault:  # the latter if meta.json asks for bands that the file lacks
        look.findings.append(from_fault(fault, "unreadable", pair.image, None))
        return None
    look.image_digest = digest_of(decoded.pixels)
    for notice in decoded.notices:
        problem, _, cure = notice.removeprefix(f"{pair.image}: ").partition("; ")
        cure = cure[:1].upper() + cure[1:] or "Nothing, if that is what you see"
        look.findings.append(Finding("converted", pair.image, problem, cure, pair.image))
    return decoded


def _look_at_place(pair: Pair) -> list[Finding]:
    """A mask that is a map, too, may be of another one than its image."""
    if pair.draw is not None or Kind.RASTER not in (kind_of(pair.mask), kind_of(pair.image)):
        return []
    with contextlib.suppress(DataError):  # told where it is read
        image, mask = place_of(pair.image), place_of(pair.mask)
        if image is not None and mask is not None and not mask.lies_on(image):
            problem = "by its coordinates it lies elsewhere than its image, whose pixels it is taken for"
            cure = "Look whether it is the mask of this image, and write it on the image's grid"
            return [Finding("misplaced", pair.mask, problem, cure, pair.image)]
    return []


def _look_at_shapes(look: Look, mask: NDArray[np.uint8], size: int) -> None:
    pair = look.pair
    look.thin = thin(mask, size)
    stray = specks(mask)
    if stray.any():
        places, count = boxes_of(stray), int(stray.sum())
        finding = Finding(
            "stray-pixels",
            pair.mask,
            f"{counted(count, 'stray pixel')}: specks or pinholes",
            "Look at them; --fix takes them away",
            pair.image,
            places,
            fixable=True,
        )
        look.findings.append(finding)


def class_counts(looks: list[Look], binary: bool) -> tuple[Counter[int], Counter[int]]:
    """(images, pixels) by class value over all usable masks; ``binary``: 255 is the class 1."""
    images: Counter[int] = Counter()
    pixels: Counter[int] = Counter()
    for look in looks:
        if look.counts is None:
            continue
        counts = look.counts.copy()
        if binary:
            counts[1], counts[IGNORE] = counts[1] + counts[IGNORE], 0
        for value in np.flatnonzero(counts[1:IGNORE]).tolist():
            images[value + 1] += 1
            pixels[value + 1] += int(counts[value + 1])
    return images, pixels
