"""Mask pictures that ``read_mask`` refuses or that hold odd values: what is wrong, and the repaired mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.checking.findings import Finding, from_fault
from distillfss.checking.shapes import solid_counts
from distillfss.errors import DataError
from distillfss.io.annotations.colour_png import codes
from distillfss.io.decode import load_upright
from distillfss.io.legend import MAX_CLASSES
from distillfss.io.masks import IGNORE, read_mask
from distillfss.io.opening import decoding, open_picture
from distillfss.wording import counted

LOSSY_SPREAD = 12
"""Channels of a grey picture saved as JPEG differ by no more than this."""
NEAR = 16
"""A value this near to one that is meant is that one, damaged."""
LEAST_BETWEEN = 3
"""Distinct values between those that are meant, from which on a mask counts as smoothed."""
SOLID_SHARE = 0.05
"""Values between classes form lines, not areas: no more of them than this have their own value all around."""
AREA_SHARE = 0.1
"""A value that is meant has at least this share of all areas that are not 0."""
MOST_COLOURS = 64

_SAVE = "Save the mask without smoothing from the tool it was drawn with, or let --fix take the nearest class"


@dataclass(frozen=True, eq=False)
class RawMask:
    """A mask as its file holds it.

    Attributes
    ----------
    mask
        Its values (H, W), repaired as far as that can be done; None if it cannot be read at all.
    findings
        What is wrong with it; ``fixable`` where ``mask`` is free of it.
    colours
        Of a colour mask: its colours as numbers 0xRRGGBB, black left out.
    guessed
        Whether black and white were found in a damaged mask and white was taken for the class 1: right only if there
        is no other class.
    """

    mask: NDArray[np.uint8] | None
    findings: list[Finding] = field(default_factory=list)
    colours: frozenset[int] = frozenset()
    guessed: bool = False


def read_raw(path: Path, image: Path, named: int | None) -> RawMask:
    """Read an index mask, whatever is wrong with it. ``named``: how many classes have names, if anybody named them."""
    try:
        return _smoothed(read_mask(path), path, image, named)
    except DataError as fault:
        try:
            return _other(fault, path, image, named)
        except DataError as worse:
            return RawMask(None, [from_fault(worse, "unreadable", path, image)])


def _other(fault: DataError, path: Path, image: Path, named: int | None) -> RawMask:
    """A mask that was refused: lossy or coloured masks can be looked at all the same."""
    with open_picture(path) as picture:
        lossy = picture.format in ("JPEG", "MPO", "WEBP")
        upright, _, deep, _ = load_upright(picture, path)
        if deep is not None or upright.mode in ("F", "I") or upright.mode.startswith("I;"):
            return RawMask(None, [from_fault(fault, "unknown-class", path, image)])
        if upright.mode in ("RGBA", "LA") and np.asarray(upright)[..., -1].min() < 255:
            return RawMask(None, [from_fault(fault, "annotation", path, image)])
        with decoding(path):
            rgb = np.asarray(upright.convert("RGB")).astype(np.int16)
    grey = int((rgb.max(2) - rgb.min(2)).max()) <= (LOSSY_SPREAD if lossy else 0)
    if not grey:
        present = frozenset(np.unique(codes(rgb.astype(np.uint8))).tolist())
        cure = "Write the colours' names into palette.json, or save class indices"
        if lossy:
            return RawMask(None, [Finding("lossy-mask", path, fault.problem, fault.cure, image)])
        finding = Finding("colour-mask", path, f"has {counted(len(present), 'colour')}", cure, image)
        if len(present) > MOST_COLOURS:
            problem = f"has {len(present)} colours, most of them between those of classes"
            return RawMask(None, [Finding("colour-mask", path, problem, fault.cure, image)])
        return RawMask((rgb.max(2) > 0).astype(np.uint8), [finding], present - {0})
    if not lossy:
        return RawMask(None, [from_fault(fault, "annotation", path, image)])
    mask = rgb.mean(2).round().astype(np.uint8)
    meant = _meant(
        np.bincount(mask.ravel(), minlength=256), solid_counts(mask), MAX_CLASSES if named is None else named
    )
    if meant is None:
        return RawMask(None, [Finding("lossy-mask", path, fault.problem, fault.cure, image)])
    nearest, guessed = _nearest(mask, meant, named)
    cure = "Let --fix take the nearest class, or save it as PNG from the tool it was drawn with"
    return RawMask(nearest, [Finding("lossy-mask", path, fault.problem, cure, image, fixable=True)], guessed=guessed)


def _smoothed(mask: NDArray[np.uint8], path: Path, image: Path, named: int | None) -> RawMask:
    """Tell values between those that are meant from values that mean something, and take the nearest meant one."""
    counts, solid = np.bincount(mask.ravel(), minlength=256), solid_counts(mask)
    highest = MAX_CLASSES if named is None else named
    between = np.flatnonzero(counts)
    between = between[(between > highest) & (between != IGNORE)]
    if len(between) < LEAST_BETWEEN or solid[between].sum() > SOLID_SHARE * counts[between].sum():
        return RawMask(mask)
    meant = _meant(counts, solid, highest)
    if meant is None or len(meant) < 2:
        problem = f"holds {len(between)} values between those of classes"
        return RawMask(mask, [Finding("smoothed-mask", path, problem, _SAVE.partition(", or")[0], image)])
    nearest, guessed = _nearest(mask, meant, named)
    problem = f"holds {len(between)} values between {' and '.join(map(str, meant.tolist()))}"
    finding = Finding("smoothed-mask", path, problem, _SAVE, image, fixable=True)
    return RawMask(nearest, [finding], guessed=guessed)


def _nearest(mask: NDArray[np.uint8], meant: NDArray[np.int64], named: int | None) -> tuple[NDArray[np.uint8], bool]:
    """Every pixel with the nearest value that is meant; and whether white was taken for the class 1."""
    table = meant[np.abs(np.arange(256)[:, None] - meant[None]).argmin(1)]
    guessed = IGNORE in meant and set(meant.tolist()) <= {0, IGNORE} and named in (None, 1)
    if guessed:
        table = (table > 0).astype(np.int64)
    return table[mask].astype(np.uint8), guessed


def _meant(counts: NDArray[np.int64], solid: NDArray[np.int64], highest: int) -> NDArray[np.int64] | None:
    """The values that areas have; None if they lie too close together to take the nearest, or one is no class."""
    enough = AREA_SHARE * solid[1:].sum()
    areas = [value for value in np.argsort(-solid).tolist() if value == 0 or solid[value] > enough]
    chosen: list[int] = []
    for value in areas:
        settled = next((known for known in (0, IGNORE) if abs(value - known) <= NEAR), value)
        if all(abs(settled - other) > NEAR for other in chosen) and counts[value] > 0:
            chosen.append(settled)
    # without white, low values are class indices, which damage has mixed up; beside it they are damaged black
    close = IGNORE not in chosen and any(0 < value <= NEAR for value in areas)
    if close or any(highest < value < IGNORE for value in chosen):
        return None
    return np.array(sorted(chosen))
