"""From drawn objects to a mask: labels become values, and objects are painted in their order."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Area
from distillfss.io.class_names import class_name
from distillfss.io.faults import LabelFaultError, SizeFaultError
from distillfss.io.legend import Legend, foreground_names, is_background
from distillfss.io.limits import limits
from distillfss.io.masks import IGNORE
from distillfss.io.opening import open_picture, too_many_pixels
from distillfss.io.pairs import Drawn
from distillfss.io.special import special_size
from distillfss.wording import counted

_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
IGNORED = frozenset({"__ignore__", "ignore*", "ignore"})
"""Labels for pixels that do not count: LabelMe's and QuPath's among them."""
MOST_NAMES = 254


@dataclass(frozen=True, eq=False)
class Thing:
    """A drawn object.

    Attributes
    ----------
    label
        Its class as the file calls it.
    area
        What it covers; None for points, lines and other things without an area.
    boxed
        Drawn as a rectangle: perhaps somebody meant a bounding box.
    """

    label: str
    area: Area | None
    boxed: bool = False


@dataclass(frozen=True, eq=False)
class NameTable:
    """What labels mean.

    Attributes
    ----------
    names
        The foreground classes; mask value i + 1 is ``names[i]``.
    collected
        Whether they were gathered from the labels, for want of a declaration.
    others
        Whether labels that are no class count as background (the user chose some classes), not as faults.
    """

    names: tuple[str, ...]
    collected: bool = False
    others: bool = False

    @property
    def legend(self) -> Legend:
        return Legend(self.names, ignore_declared=True)

    def value(self, label: str, path: Path) -> int:
        """The mask value of a label. Raises ``DataError`` about the file if it is no class."""
        label = class_name(label)
        if label in self.names:
            return self.names.index(label) + 1
        if label.casefold() in IGNORED:
            return IGNORE
        if self.others or is_background(label):
            return 0
        known = ", ".join(self.names[:8]) + (", ..." if len(self.names) > 8 else "")
        raise LabelFaultError(
            f"the label {label!r} is none of the classes ({known})",
            cure="Correct the label, name it in meta.json, or choose classes with --classes",
            path=path,
        )


def name_table(
    path: Path,
    *,
    labels: Iterable[str],
    declared: Sequence[str] | None,
    legend: Legend,
    chosen: Sequence[str] | None,
) -> NameTable:
    """Which classes there are: none where no object has a label, see ``read_annotations``.

    Parameters
    ----------
    path
        Folder or file to name in errors.
    labels
        Those of all objects.
    declared
        The classes the annotation file itself lists, in its order.
    legend
        What ``meta.json`` says; goes before ``declared``.
    chosen
        What the user said; goes before everything. Other labels are background then.
    """
    used = {class_name(label) for label in labels}
    used = {label for label in used if not is_background(label) and label.casefold() not in IGNORED}
    if chosen is not None:
        names = foreground_names(chosen)
        if used and not used & set(names):
            raise DataError(
                f"no object is labelled {', '.join(names)}; the labels are {', '.join(sorted(used)[:8])}",
                cure="Choose classes by the names the annotation gives them",
                path=path,
            )
        return NameTable(names, others=True)
    if legend.names is not None:
        return NameTable(legend.names)
    collected = declared is None
    names = tuple(dict.fromkeys(class_name(name) for name in (sorted(used) if declared is None else declared)))
    names = tuple(name for name in names if not is_background(name) and name.casefold() not in IGNORED)
    if not names:
        return NameTable((), collected=collected)
    if len(names) > MOST_NAMES:
        raise DataError(f"{len(names)} classes", cure="Choose some with --classes", path=path)
    return NameTable(foreground_names(names, path), collected=collected)


def paint(things: Iterable[Thing], size: tuple[int, int], table: NameTable, path: Path) -> Drawn:
    """Objects → mask (H, W) of this size, in their order: **where two overlap, the later one wins**.

    Raises
    ------
    DataError
        A label that is no class, or an outline that makes no sense; about the file ``path``.
    """
    mask = np.zeros(size, np.uint8)
    remarks: Counter[str] = Counter()
    for thing in things:
        value = table.value(thing.label, path)
        if value == 0 and not is_background(thing.label):
            remarks["unchosen"] += 1
            continue
        if thing.area is None:
            remarks["no area"] += 1
            continue
        with about(path):
            top, left, covered = thing.area.window(*size)
        if not covered.any():
            remarks["no pixel"] += 1
            continue
        remarks["boxes"] += thing.boxed
        under = mask[top : top + covered.shape[0], left : left + covered.shape[1]]
        if 0 < value < IGNORE:
            before = under[covered]
            remarks["overlap"] += int(((before > 0) & (before < IGNORE) & (before != value)).sum())
        under[covered] = value
    return Drawn(mask, +remarks)


@contextlib.contextmanager
def about(path: Path) -> Iterator[None]:
    """Give errors without a path this one."""
    try:
        yield
    except DataError as exc:
        if exc.path is not None:
            raise
        raise type(exc)(exc.problem, cure=exc.cure, path=path) from exc


def upright_size(image: Path) -> tuple[int, int]:
    """(height, width) of an image file as it is seen, from its header.

    Raises
    ------
    DataError
        It is missing or damaged, has more pixels than is allowed, or needs a library that is not installed.
    """
    special = special_size(image)
    if special is not None:
        if special[0] * special[1] > limits().pixels:
            raise too_many_pixels(image, special[1], special[0])
        return special
    with open_picture(image) as picture:
        width, height = picture.size
        try:
            orientation = picture.getexif().get(_ORIENTATION, 1)
        except Exception:  # damaged metadata is no reason to refuse, as in decode
            orientation = 1
    return (width, height) if orientation in _TURNED else (height, width)


def sized(
    image: Path, path: Path, declared: tuple[object, object] | None, draw: Callable[[tuple[int, int]], Drawn]
) -> Callable[[], Drawn]:
    """A drawing at the size of its image, refused if the annotation (in ``path``) says that it is for another size."""

    def drawn() -> Drawn:
        size = upright_size(image)
        if declared is not None and declared != size:
            height, width = declared
            cure = "Annotate the image that is in the folder, or put the annotated one there"
            if declared == size[::-1]:
                cure = "The sides are swapped: the image is probably turned by its EXIF orientation; save it without"
            raise SizeFaultError(
                f"is for {width}x{height} pixels but {image.name} has {size[1]}x{size[0]}", cure=cure, path=path
            )
        return draw(size)

    return drawn


def sentences(remarks: Mapping[str, int], images: Mapping[str, int]) -> list[str]:
    """What was noticed while drawing, one line a kind. ``images``: in how many images."""
    texts = {
        "overlap": (
            "objects of different classes overlap in 1 pixel ({i}); the later one wins",
            "objects of different classes overlap in {n} pixels ({i}); the later one wins",
        ),
        "boxes": (
            "1 object ({i}) is a rectangle and was filled; if it is a bounding box, outline the object",
            "{n} objects ({i}) are rectangles and were filled; if they are bounding boxes, outline the objects",
        ),
        "no area": (
            "1 point, line or the like ({i}) has no area and was left out",
            "{n} points, lines or the like ({i}) have no area and were left out",
        ),
        "no pixel": (
            "1 object ({i}) covers the centre of no pixel: smaller than one, or outside the image",
            "{n} objects ({i}) cover the centre of no pixel: smaller than one, or outside the image",
        ),
        "unchosen": (
            "1 object ({i}) is of a class that was not chosen: counted as background",
            "{n} objects ({i}) are of classes that were not chosen: counted as background",
        ),
    }
    return [
        (one if remarks[kind] == 1 else many).format(n=remarks[kind], i=f"in {counted(images[kind], 'image')}")
        for kind, (one, many) in texts.items()
        if remarks.get(kind)
    ]
