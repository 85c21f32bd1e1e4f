"""A folder as a whole: what its mask values mean, and faults no single file shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distillfss.checking.findings import Finding, from_fault
from distillfss.checking.inspecting import Look, Shrink, class_counts, look_at
from distillfss.errors import DataError
from distillfss.io.annotations import Annotations, read_annotations
from distillfss.io.class_names import perhaps_one
from distillfss.io.legend import (
    MAX_CLASSES,
    META,
    is_binary,
    made_names,
    nothing_marked,
    too_many,
    unnamed_value,
    without_foreground,
)
from distillfss.io.masks import IGNORE

Tell = Callable[[int, int], None]

THIN_SHARE = 0.9
"""Of a class' pixels in an image, or in all images: from here on it is too small."""
RARE_PIXELS, RARE_IMAGES = 0.01, 0.05
"""A class with less than these shares of what the most frequent one has is rare."""


@dataclass(eq=False)
class Inspection:
    """A folder, looked at.

    Attributes
    ----------
    names
        Foreground classes; made up where nobody named them.
    binary
        Whether 255 is the one class.
    undecided
        Whether 255 may as well be the class as be there to be ignored.
    shots, pixels
        Images and pixels by mask value (1 is the first class).
    findings
        All of them, those of single pairs included.
    """

    root: Path
    annotations: Annotations
    looks: list[Look]
    names: tuple[str, ...]
    binary: bool
    undecided: bool
    shots: Counter[int]
    pixels: Counter[int]
    findings: list[Finding]

    def classes(self) -> list[dict[str, Any]]:
        """Rows for the report."""
        total = sum(self.pixels.values())
        return [
            {
                "name": name,
                "images": self.shots[value],
                "pixels": self.pixels[value],
                "share": round(self.pixels[value] / total, 6) if total else 0.0,
            }
            for value, name in enumerate(self.names, start=1)
        ]

    def refused(self, looks: Sequence[Look]) -> DataError | None:
        """Why a fit to these pairs is refused, sound as each may be; None if it is not."""
        values = [[1 if self.binary and value == IGNORE else value for value in look.values] for look in looks]
        return too_many(self.names, self.root) or nothing_marked(values, self.root)


def inspect(
    root: Path, classes: Sequence[str] | None, format: str, size: int, shrink: Shrink, tell: Tell
) -> Inspection:
    """Look at every file of a folder.

    Raises
    ------
    DataError
        The folder itself cannot be read: nothing there, no known format, a bad ``meta.json``.
    """
    annotations = read_annotations(root, classes, format)
    findings = [_unpaired(fault, root) for fault in annotations.faults]
    for path in annotations.unlabelled:
        findings.append(Finding("unlabelled", path, "has no annotation", "Annotate it, or leave it out", path))
    looks = []
    for number, pair in enumerate(annotations.pairs):
        tell(number, len(annotations.pairs))
        looks.append(look_at(pair, annotations, size, shrink))
    tell(len(looks), len(looks))
    names, binary, more = _meaning(annotations, looks, root)
    for look in looks:
        if look.guessed and len(names) > 1:
            _take_back(look)
        findings += look.findings
    findings += more
    shots, pixels = class_counts(looks, binary)
    inspection = Inspection(
        root=root,
        annotations=annotations,
        looks=looks,
        names=names,
        binary=binary,
        undecided=any(each.kind == "ambiguous-255" for each in more),
        shots=shots,
        pixels=pixels,
        findings=findings,
    )
    for look in looks:
        findings += _of_values(look, inspection)
    findings += [*_depths(looks, root), *_classes(inspection), *_too_small(inspection)]
    return inspection


def _unpaired(fault: DataError, root: Path) -> Finding:
    return from_fault(fault, "unpaired", root)


def _meaning(
    annotations: Annotations, looks: Sequence[Look], root: Path
) -> tuple[tuple[str, ...], bool, list[Finding]]:
    """Class names, whether 255 is the class, and the finding where that cannot be told."""
    legend = annotations.legend
    sound = [look for look in looks if look.counts is not None and not look.colours and not look.guessed]
    found = []
    try:
        binary = is_binary([look.values for look in sound], legend, [look.pair.mask for look in sound])
    except DataError as fault:
        binary, found = False, [from_fault(fault, "ambiguous-255", root)]
    if legend.names is not None:
        return legend.names, binary, found
    highest = max((value for look in sound for value in look.values if value != IGNORE), default=0)
    if binary or not highest:
        return made_names([1]), binary, found
    return made_names([min(highest, MAX_CLASSES)]), binary, found


def _take_back(look: Look) -> None:
    """White in a damaged mask could be any of several classes."""
    look.counts, look.thin = None, {}
    cure = "Save the mask without smoothing, as PNG, from the tool it was drawn with"
    look.findings = [
        replace(each, cure=cure, fixable=False) if each.kind in ("smoothed-mask", "lossy-mask") else each
        for each in look.findings
    ]


def _of_values(look: Look, folder: Inspection) -> list[Finding]:
    """Values without a name, and masks without foreground."""
    if look.counts is None:
        return []
    mask = look.pair.mask
    fault = unnamed_value(look.values, folder.names, mask, made=folder.annotations.legend.names is None)
    if fault is not None and not look.colours:
        return [from_fault(fault, "unknown-class", mask, look.pair.image)]
    if any(value and (value != IGNORE or folder.binary or folder.undecided) for value in look.values):
        return []
    return [Finding("empty-mask", mask, *without_foreground(look.values), look.pair.image)]


def unlearnable(folder: Inspection) -> list[Finding]:
    """What keeps a fit to the whole folder from starting; masks that cannot be read may hold what is missing."""
    if folder.annotations.faults or any(look.counts is None for look in folder.looks):
        fault = too_many(folder.names, folder.root)
    else:
        fault = folder.refused(folder.looks)
    return [] if fault is None else [from_fault(fault, "unlearnable", folder.root)]


def _depths(looks: Sequence[Look], root: Path) -> list[Finding]:
    by_bits: dict[int, list[Look]] = {}
    for look in looks:
        if look.header is not None:
            by_bits.setdefault(look.header.bits, []).append(look)
    if len(by_bits) < 2:
        return []
    usual = max(by_bits, key=lambda bits: len(by_bits[bits]))
    cure = "Save all images with the same number of bits"
    return [
        Finding(
            "mixed-depth", look.pair.image, f"has {bits} bits per channel, most have {usual}", cure, look.pair.image
        )
        for bits, odd in by_bits.items()
        if bits != usual
        for look in odd
    ]


def _classes(folder: Inspection) -> list[Finding]:
    """Classes that are nowhere, rare, or perhaps one."""
    found: list[Finding] = []
    where = folder.root / META if (folder.root / META).exists() else folder.root
    found += [Finding("alike-classes", where, problem, cure) for problem, cure in perhaps_one(folder.names)]
    most_pixels, most_images = (max(each.values(), default=0) for each in (folder.pixels, folder.shots))
    for value, name in enumerate(folder.names, start=1):
        if not folder.shots[value]:
            cure = "Annotate an image that shows it, or take it off the list of classes"
            found.append(Finding("absent-class", where, f"no pixel of {name} in any mask", cure))
        elif folder.pixels[value] < RARE_PIXELS * most_pixels or folder.shots[value] < RARE_IMAGES * most_images:
            share = 100 * folder.pixels[value] / sum(folder.pixels.values())
            digits = max(1, 1 - math.floor(math.log10(share)))
            problem = (
                f"{name} is {share:.{digits}f} % of what is annotated, in {folder.shots[value]} of {most_images} images"
            )
            found.append(Finding("imbalance", where, problem, f"Annotate more images that show {name}"))
    return found


def _too_small(folder: Inspection) -> list[Finding]:
    """Per image, and one for the class if that holds of the whole folder."""
    found = []
    cure = "Cut the images into tiles, or fit with a larger --size"
    totals: dict[int, list[int]] = {}
    for look in folder.looks:
        small = []
        for raw, (thin, total) in look.thin.items():
            if raw > len(folder.names) or not total:
                continue
            sums = totals.setdefault(raw, [0, 0])
            sums[0], sums[1] = sums[0] + thin, sums[1] + total
            if thin >= THIN_SHARE * total:
                small.append(folder.names[raw - 1])
        if small:
            problem = f"nearly all of {', '.join(small)} is thinner than 8 pixels at the working resolution"
            found.append(Finding("too-small", look.pair.mask, problem, cure, look.pair.image))
    for value, (thin, total) in sorted(totals.items()):
        if thin >= THIN_SHARE * total:
            problem = f"{100 * thin / total:.0f} % of all {folder.names[value - 1]} is thinner than 8 pixels"
            found.insert(0, Finding("too-small", folder.root, f"{problem} at the working resolution", cure))
    return found
