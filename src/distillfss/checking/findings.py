"""Kinds of faults: how bad each is, and what it means for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillfss.errors import DistillFSSError
from distillfss.io.faults import BetweenFaultError, FormatFaultError, LabelFaultError, SizeFaultError, ValuesFaultError

ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels of the image, the last two exclusive."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes
    ----------
    severity
        ``error``: a fit refuses it, or what is learnt or measured would be wrong. ``warning``: probably not meant.
        ``note``: good to know.
    title
        In a few words.
    meaning
        What it is and does, in a sentence or two.
    """

    severity: str
    title: str
    meaning: str


KINDS: dict[str, Kind] = {
    "unreadable": Kind(ERROR, "files that cannot be read", "Damaged, of a format that is not read, or too large."),
    "unpaired": Kind(ERROR, "images without mask, masks without image", "Image and mask need the same name."),
    "annotation": Kind(ERROR, "annotation that cannot be used", "What was drawn cannot be turned into a mask."),
    "size-mismatch": Kind(
        ERROR, "masks of another size", "Nobody can tell which pixel of the mask is meant for which."
    ),
    "exif-turned": Kind(
        ERROR,
        "turned by EXIF on one side only",
        "The picture is stored lying on its side and says so in its EXIF data; the mask was drawn on it as stored.",
    ),
    "unknown-class": Kind(ERROR, "classes without a name", "A value or label in a mask that is no class."),
    "colour-mask": Kind(ERROR, "colour masks", "Colours stand for classes, and nobody said which for which."),
    "smoothed-mask": Kind(
        ERROR,
        "smoothed masks",
        "Values between those of the classes along every outline: the mask was resized or blurred like a photograph.",
    ),
    "lossy-mask": Kind(ERROR, "masks saved as JPEG or WebP", "Compression changes values, most of all along outlines."),
    "ambiguous-255": Kind(ERROR, "255 may mean two things", "Foreground in some masks, pixels to ignore in others?"),
    "ambiguous-value": Kind(
        ERROR,
        "black-and-white masks of several values",
        "The values may be classes, and what was taken for the name of a class be none.",
    ),
    "unlearnable": Kind(ERROR, "nothing a model can learn", "No foreground at all, or more classes than a model has."),
    "leak": Kind(
        ERROR,
        "test images that are in the support",
        "The same picture, or nearly, to learn from and to test on: the figures would be too good.",
    ),
    "contradiction": Kind(ERROR, "one image, two different masks", "The same pixels are annotated in two ways."),
    "near-duplicate": Kind(
        WARNING, "near-duplicates", "Another image shows nearly the same: it teaches nothing new, and weighs double."
    ),
    "empty-mask": Kind(WARNING, "masks without foreground", "Right only if the image shows nothing of any class."),
    "stray-pixels": Kind(
        WARNING, "stray pixels", "Specks or pinholes of a few pixels, a slip of the brush most often."
    ),
    "too-small": Kind(
        WARNING,
        "too small for the working resolution",
        "Nearly all of what is marked is thinner than two cells of the finest features the model sees.",
    ),
    "mixed-depth": Kind(
        WARNING, "mixed bit depths", "16-bit pictures are stretched each by itself, 8-bit ones are not."
    ),
    "misplaced": Kind(WARNING, "masks of another place", "Image and mask are maps, and not of the same ground."),
    "absent-class": Kind(WARNING, "classes without a pixel", "The model would never find them."),
    "alike-classes": Kind(
        WARNING, "classes named nearly alike", "They are two classes to the model, whatever was meant."
    ),
    "imbalance": Kind(WARNING, "rare classes", "Hardly annotated, compared with the others."),
    "overlap": Kind(WARNING, "objects of different classes overlap", "The later one wins."),
    "no-area": Kind(WARNING, "points and lines", "They have no area and were left out."),
    "no-pixel": Kind(WARNING, "objects without a pixel", "Smaller than a pixel, or outside the image."),
    "boxes": Kind(WARNING, "rectangles", "They were filled. If they are bounding boxes, outline the objects instead."),
    "unlabelled": Kind(NOTE, "images nobody annotated", "They are left out."),
    "converted": Kind(NOTE, "pictures that had to be converted", "Read, but not as they are."),
}


@dataclass(frozen=True, eq=False)
class Finding:
    """A fault found.

    Attributes
    ----------
    kind
        Key of ``KINDS``.
    file
        The file or folder concerned.
    problem, cure
        What is wrong and what to do about it, in a sentence each, without a full stop.
    image
        The image it is about, to be shown.
    boxes
        Where in the image.
    other
        A second image: the twin, the copy.
    fixable
        Whether ``fix`` repairs it.
    """

    kind: str
    file: Path
    problem: str
    cure: str
    image: Path | None = None
    boxes: tuple[Box, ...] = ()
    other: Path | None = None
    fixable: bool = False

    @property
    def severity(self) -> str:
        return KINDS[self.kind].severity

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "file": str(self.file),
            "problem": self.problem,
            "cure": self.cure,
            "image": None if self.image is None else str(self.image),
            "boxes": [list(box) for box in self.boxes],
            "other": None if self.other is None else str(self.other),
            "fixable": self.fixable,
        }


def from_fault(fault: DistillFSSError, kind: str, file: Path, image: Path | None = None) -> Finding:
    """The finding of an error; some errors know their kind better."""
    known: dict[type[DistillFSSError], str] = {
        FormatFaultError: "annotation",
        SizeFaultError: "size-mismatch",
        LabelFaultError: "unknown-class",
        BetweenFaultError: "smoothed-mask",
        ValuesFaultError: "ambiguous-value",
    }
    return Finding(known.get(type(fault), kind), fault.path or file, fault.problem, fault.cure, image)
