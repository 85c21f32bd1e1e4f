"""Class names: from ``meta.json``, from the user, or made up; and what 255 means where nobody said."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distillfss.errors import DataError
from distillfss.io.class_names import class_name
from distillfss.io.json_file import read_json
from distillfss.io.masks import IGNORE
from distillfss.io.special import bands_and_range

META = "meta.json"
MAX_META_BYTES = 16 * 2**20
MAX_CLASSES = 20
MAX_NAME = 100
"""Characters of a class name."""

_NAMES_CURE = 'Write {"classes": ["background", "first class", ...]}, where the position is the mask value'


@dataclass(frozen=True)
class Legend:
    """What a folder says about its masks.

    Attributes
    ----------
    names
        Foreground classes, mask value i + 1 is ``names[i]``; None if nobody named them.
    ignore_declared
        Whether 255 is declared to mean "ignore", so that it is never taken for foreground.
    chosen
        Whether they are some of those ``meta.json`` names: the masks hold others too, which count as background.
    bands, value_range
        Which bands of its GeoTIFFs make red, green and blue, and which values of its GeoTIFF and DICOM images become
        black and white; None for the usual ones. See ``io.geo`` and ``io.dicom``.
    """

    names: tuple[str, ...] | None = None
    ignore_declared: bool = False
    bands: tuple[int, ...] | None = None
    value_range: tuple[float, float] | None = None
    chosen: bool = False

    @property
    def settled(self) -> bool:
        """Whether 255 can only mean "ignore", whatever the masks hold: so it is declared, or classes are several."""
        return self.ignore_declared or self.chosen or (self.names is not None and len(self.names) != 1)

    def read_as(self, reading: Any) -> Legend:
        """With the bands and range of ``SupportSet.reading`` or a model's where the folder itself says nothing."""
        bands, value_range = bands_and_range(reading)
        return replace(self, bands=self.bands or bands, value_range=self.value_range or value_range)


def read_legend(folder: Path) -> Legend:
    """Read ``meta.json`` of a data folder; a folder without one has no names. Unknown keys are left alone.

    Raises
    ------
    DataError
        The file cannot be read or parsed, or its ``classes`` or ``ignore_index`` make no sense.
    """
    path = folder / META
    try:
        meta = read_json(path, MAX_META_BYTES)
    except FileNotFoundError:
        return Legend()
    if not isinstance(meta, dict):
        raise DataError("holds no JSON object", cure=_NAMES_CURE, path=path)
    ignore = meta.get("ignore_index")
    if ignore is not None and (isinstance(ignore, bool) or ignore != IGNORE):
        raise DataError(f"has the ignore_index {ignore!r}", cure="Only 255 can mean ignore: use it, or null", path=path)
    bands, value_range = _bands(meta.get("bands"), path), _value_range(meta.get("range"), path)
    names = meta.get("classes")
    if names is None:
        return Legend(None, ignore is not None, bands, value_range)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError("has classes that are no list of names", cure=_NAMES_CURE, path=path)
    if not names or not is_background(names[0]):
        raise DataError("has classes that do not begin with background", cure=_NAMES_CURE, path=path)
    return Legend(foreground_names(names, path), ignore is not None, bands, value_range)


def chosen_by(what: str) -> str:
    """For people: how ``bands`` or ``range`` are said, which readers of a file cannot know: of what it is a part."""
    return f'--{what} of predict, or "{what}" in {META} beside annotated images,'


def _bands(given: Any, path: Path) -> tuple[int, ...] | None:
    if given is None:
        return None
    numbers = isinstance(given, list) and all(type(band) is int and band >= 1 for band in given)
    if not numbers or len(given) not in (1, 3):
        raise DataError(
            f"has the bands {given!r}", cure='Name one band or three, from 1: {"bands": [4, 3, 2]}', path=path
        )
    return tuple(given)


def _value_range(given: Any, path: Path) -> tuple[float, float] | None:
    if given is None:
        return None
    numbers = isinstance(given, list) and len(given) == 2 and all(type(value) in (int, float) for value in given)
    if not numbers or not given[0] < given[1]:
        raise DataError(
            f"has the range {given!r}", cure='Give the values of black and white: {"range": [0, 3000]}', path=path
        )
    return float(given[0]), float(given[1])


def foreground_names(classes: Sequence[str], path: Path | None = None) -> tuple[str, ...]:
    """Check class names and drop a leading "background"; mask value i + 1 is the i-th name returned."""
    if isinstance(classes, str):
        raise DataError(f"the class names are one text, {classes!r}", cure="Pass a list of names", path=path)
    names = tuple(class_name(str(name)) for name in classes)
    if names and is_background(names[0]):
        names = names[1:]
    if not names:
        raise DataError("there is no class besides the background", cure="Name at least one class", path=path)
    for name in names:
        if not name or not name.isprintable():
            raise DataError(f"the class name {name!r} cannot be shown", cure="Give every class a name", path=path)
        if len(name) > MAX_NAME:
            problem = f"the class name {name[:30]!r}... has {len(name)} characters, the limit is {MAX_NAME}"
            raise DataError(problem, cure="Give the class a shorter name", path=path)
        if is_background(name):
            raise DataError("background is named at another place than the first", cure=_NAMES_CURE, path=path)
        if names.count(name) > 1:
            raise DataError(f"the class name {name!r} stands there twice", cure="Name every class once", path=path)
    return names


def renamed(folder: Path, named: Sequence[str], names: Sequence[str]) -> list[str]:
    """What to say where given names take the place of those in ``meta.json``."""
    changed = [f"{old} is called {new}" for old, new in zip(named, names, strict=False) if old != new]
    return [f"{folder}: the names given go before those of {META}: {', '.join(changed)}"] if changed else []


def made_names(values: Iterable[int]) -> tuple[str, ...]:
    """``class_1``, ... up to the highest mask value that is a class; empty if there is none."""
    highest = max((value for value in values if value != IGNORE), default=0)
    return tuple(f"class_{value}" for value in range(1, highest + 1))


def is_binary(
    value_sets: Iterable[Iterable[int]], legend: Legend, places: Iterable[Path | None] = itertools.repeat(None)
) -> bool:
    """Whether 255 means the one class rather than "ignore".

    Black-and-white masks, 0 and 255, are the commonest of all. They are told from masks with ignored pixels by looking
    at all masks of a folder: 255 is foreground where no mask holds a class, at most one class is named, and
    ``meta.json`` does not declare 255 as ignored. Values without a name have no say: they are faults of their own.

    Raises
    ------
    DataError
        If some masks hold a class but more hold 255 and no class: taking 255 as "ignore" would drop most of the
        annotation in silence, taking it as the class would be as bold.
    """
    if legend.settled:
        return False
    highest = MAX_CLASSES if legend.names is None else len(legend.names)
    alone: list[Path | None] = []
    classed: list[Path | None] = []
    for values, place in zip(value_sets, places, strict=False):
        has_class, has_255 = any(0 < value <= highest for value in values), IGNORE in values
        if has_class:
            classed.append(place)
        elif has_255:
            alone.append(place)
    if not classed:
        return bool(alone)
    if len(alone) <= len(classed):
        return False
    other = classed[0] or "another mask"
    raise DataError(
        f"it holds 255 and no class, while {other} holds a class: is 255 foreground, or to be ignored",
        cure=f'Use 1 for the foreground in all masks, or declare "ignore_index": 255 in {META}',
        path=alone[0],
    )


def without_foreground(values: Iterable[int]) -> tuple[str, str]:
    """What to say of a mask that holds no class: the problem and its cure."""
    if IGNORE in values:
        problem = "holds no foreground, only 255 (not to be counted)"
        return problem, "If 255 is the class, as in black-and-white masks, use 1 in all masks; else annotate the image"
    return "holds no foreground", "Annotate the image if something is in it"


def unnamed_value(
    values: Iterable[int], names: Sequence[str], path: Path | None, *, made: bool = False
) -> DataError | None:
    """The fault of a mask that holds a value without a name; None if all have one. ``made``: nobody gave the names."""
    classes = sorted({int(value) for value in values} - {0, IGNORE})
    wrong = [value for value in classes if value > len(names)]
    if not wrong:
        return None
    listed = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
    plural = "s" if len(wrong) > 1 else ""
    if len(classes) > MAX_CLASSES:
        cure = (
            "So many values come from smoothing (save the mask without resampling) or number single objects "
            "(set every object to its class index)"
        )
    elif made:
        cure = f"Number the classes 1, 2, ... (at most {MAX_CLASSES}); 255 is for pixels to ignore"
    else:
        known = f"{len(names)} class{'es are' if len(names) != 1 else ' is'} named ({', '.join(names[:5])}"
        cure = f"{known}{', ...' if len(names) > 5 else ''}): correct the mask, or name the class in {META} or classes"
    return DataError(f"mask value{plural} {listed} without a class name", cure=cure, path=path)


def too_many(names: Sequence[str], path: Path | None) -> DataError | None:
    """The fault of more classes than a model can have; None if there are not."""
    if len(names) <= MAX_CLASSES:
        return None
    problem = f"{len(names)} classes are named, the limit is {MAX_CLASSES}"
    return DataError(problem, cure="Fit several models", path=path)


def nothing_marked(value_sets: Iterable[Iterable[int]], path: Path | None) -> DataError | None:
    """The fault of masks that hold no foreground, all together, once it is settled what 255 means; None if they do."""
    present = {value for values in value_sets for value in values}
    if present - {0, IGNORE}:
        return None
    hint = " (255 means ignore here)" if IGNORE in present else ""
    return DataError(
        f"no mask of the whole support set holds any foreground{hint}",
        cure="Annotate at least one image: background 0, first class 1",
        path=path,
    )


def is_background(name: str) -> bool:
    """Whether this is what annotation tools call the background."""
    return name.strip("_ ").casefold() == "background"
