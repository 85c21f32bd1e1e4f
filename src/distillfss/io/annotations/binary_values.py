"""Which value means "object" in black-and-white masks, and whether they are black and white at all.

A mask of class indices whose file name ends in ``_mask``, or that lies in a folder of its own, looks like a
black-and-white one of the class ``mask``. Its values tell: where they differ, in one mask or from one to the next, they
may be classes, and nobody may take them for one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.faults import BetweenFaultError, ValuesFaultError
from distillfss.io.legend import MAX_CLASSES
from distillfss.io.masks import IGNORE, read_mask

SHOWN = 5


@dataclass(frozen=True)
class Usual:
    """The value that most masks have, and the first of them."""

    value: int
    path: Path


@dataclass(frozen=True)
class ObjectValues:
    """The masks of a folder, to compare their values.

    Attributes
    ----------
    masks
        By stem of the image, then by class.
    named
        Whether somebody named the classes, so that folders or suffixes are known to be classes.
    """

    masks: Mapping[str, Mapping[str, Path]]
    named: bool

    def check(self, mask: NDArray[np.uint8], stem: str, name: str) -> None:
        """Refuse the mask of a class in an image if its values may be classes, or come from smoothing."""
        path = self.masks[stem][name]
        known_as = f"{path.parent.name}/{path.name}" if path.stem == stem else path.name
        cure = f"If the values are classes, name the masks after their images: masks/{stem}.png, not {known_as}"
        values = np.unique(mask).tolist()
        found = _object(values)
        if len(found) > 1:
            if any(MAX_CLASSES < value < IGNORE for value in found):
                raise BetweenFaultError(
                    f"holds {len(values)} values where black and white are expected",
                    cure="Save it without smoothing; a mask of several classes needs the name of its image",
                    path=path,
                )
            listed = ", ".join(map(str, values[:SHOWN])) + ", ..." * (len(values) > SHOWN)
            problem = f"holds the values {listed} where black and white are expected"
            raise ValuesFaultError(problem, cure=f"{cure}; else save it in black and white", path=path)
        for value in found:
            usual = self._of_class[name]
            if _same(value) != _same(usual.value):
                problem = f"the object is {usual.value} in {usual.path} but {value} here"
                raise ValuesFaultError(problem, cure=f"{cure}; else use 255 in all of them", path=path)
            common = self._of_all
            if common is not None and _same(value) <= MAX_CLASSES and _same(value) != _same(common.value):
                classes = ",".join(sorted({each for of_image in self.masks.values() for each in of_image}))
                problem = f"the object is {common.value} in {common.path} but {value} here"
                raise ValuesFaultError(
                    f"{problem}, and no image has two masks",
                    cure=f"{cure}; if {classes} are the classes, say so (--classes {classes})",
                    path=path,
                )

    @cached_property
    def _known(self) -> list[tuple[str, int, Path]]:
        """(class, value, file) of the masks that have one value; what is wrong with the others is told elsewhere."""
        known = []
        for of_image in self.masks.values():
            for name, path in of_image.items():
                with contextlib.suppress(DataError):
                    found = _object(np.unique(read_mask(path)).tolist())
                    if len(found) == 1:
                        known.append((name, found[0], path))
        return known

    @cached_property
    def _of_class(self) -> dict[str, Usual]:
        names = {name for name, _, _ in self._known}
        return {name: _usual([(value, path) for each, value, path in self._known if each == name]) for name in names}

    @cached_property
    def _of_all(self) -> Usual | None:
        """Of small values, where what was taken for classes may be something else: places, days, people."""
        if self.named or any(len(of_image) > 1 for of_image in self.masks.values()):
            return None
        small = [(value, path) for _, value, path in self._known if _same(value) <= MAX_CLASSES]
        return _usual(small) if small else None


def _object(values: list[int]) -> list[int]:
    return [value for value in values if value > 0]


def _same(value: int) -> int:
    """1 and 255 are two ways to write the same."""
    return 1 if value == IGNORE else value


def _usual(known: list[tuple[int, Path]]) -> Usual:
    ((most, _),) = Counter(_same(value) for value, _ in known).most_common(1)
    return next(Usual(value, path) for value, path in known if _same(value) == most)
