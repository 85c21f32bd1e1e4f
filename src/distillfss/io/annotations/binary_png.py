"""Binary PNG: a black-and-white mask per class, ``masks/CLASS/STEM.png`` or ``masks/STEM_CLASS.png``.

0 is background and any one other value the object, the same in all masks of a class (see ``binary_values``). A class
without a mask of an image is not in it; an image without any mask counts as not annotated. Where classes overlap the
later one wins, in the order of ``meta.json`` or by name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Bitmap
from distillfss.io.annotations.base import Annotations, Pictures, assemble, is_dir, settle
from distillfss.io.annotations.binary_values import ObjectValues
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized
from distillfss.io.class_names import class_name
from distillfss.io.faults import SizeFaultError
from distillfss.io.files import pictures_in
from distillfss.io.legend import foreground_names, read_legend
from distillfss.io.masks import read_mask
from distillfss.io.pairs import Drawn, Pair

SEPARATORS = "_-. "
NO_CLASSES = {"mask", "masks", "seg", "segmentation", "label", "labels", "gt", "annotation", "target"}
"""What masks are called by, rather than what they show."""


def detect(folder: Path) -> bool:
    if not (is_dir(folder / "images") and is_dir(folder / "masks")):
        return False
    try:
        stems = {_stem(path) for path in pictures_in(folder / "images")}
        inside = pictures_in(folder / "masks")
        if not inside:
            return bool(stems) and any(pictures_in(each) for each in _folders(folder / "masks"))
    except (DataError, OSError):
        return False
    return not any(_stem(path) in stems for path in inside) and any(_split(_stem(path), stems) for path in inside)


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    images = {_stem(path): path for path in pictures_in(folder / "images")}
    faults: list[DataError] = []
    masks: dict[str, dict[str, Path]] = {}
    for path, stem, name in _masks(folder / "masks", images):
        if stem not in images:
            cure = "Add the image, or remove the mask"
            faults.append(DataError("has no image of its name in images/", cure=cure, path=path))
        elif name in masks.setdefault(stem, {}):
            faults.append(DataError(f"is a second mask of {name}", cure="Remove one of them", path=path))
        else:
            masks[stem][name] = path
    masks = _called_by_their_class(masks, read_legend(folder).names if chosen is None else foreground_names(chosen))
    table = settle(folder, {name for of_image in masks.values() for name in of_image}, None, chosen)
    values = ObjectValues(masks, named=not table.collected)
    pairs = []
    for stem, of_image in masks.items():
        first = next(iter(of_image.values()))
        draw = sized(images[stem], first, None, partial(_draw, stem, values, table))
        pairs.append(Pair(stem, images[stem], first, draw))
    return assemble("binary-png", Pictures(folder / "images"), pairs, faults, table)


def _called_by_their_class(
    masks: dict[str, dict[str, Path]], names: Sequence[str] | None
) -> dict[str, dict[str, Path]]:
    """``a_mask.png`` is of the one class that is named; of none that is, its class is called ``mask``."""
    found = {name for of_image in masks.values() for name in of_image}
    if names is None or len(names) != 1 or len(found) != 1 or not {name.casefold() for name in found} <= NO_CLASSES:
        return masks
    return {stem: dict.fromkeys(names, *of_image.values()) for stem, of_image in masks.items()}


def _masks(folder: Path, images: Mapping[str, Path]) -> list[tuple[Path, str, str]]:
    """(file, stem of its image, class)."""
    inside = pictures_in(folder)
    if not inside:
        return [(path, _stem(path), class_name(each.name)) for each in _folders(folder) for path in pictures_in(each)]
    found = []
    for path in inside:
        stem, name = _split(_stem(path), images) or (_stem(path), "")
        found.append((path, stem, class_name(name)))
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def _split(stem: str, images: Mapping[str, Path] | set[str]) -> tuple[str, str] | None:
    """``a_b_crack`` → (``a_b``, ``crack``): the longest name of an image it begins with."""
    for end in range(len(stem) - 2, 0, -1):
        if stem[end] in SEPARATORS and stem[:end] in images:
            return stem[:end], stem[end + 1 :]
    return None


def _stem(path: Path) -> str:
    return unicodedata.normalize("NFC", path.stem)


def _draw(stem: str, values: ObjectValues, table: NameTable, size: tuple[int, int]) -> Drawn:
    masks = values.masks[stem]
    order = sorted(masks, key=lambda name: table.names.index(name) if name in table.names else -1)
    things = []
    for name in order:
        path = masks[name]
        mask = read_mask(path)
        if mask.shape != size:
            raise SizeFaultError(
                f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels but its image {size[1]}x{size[0]}",
                cure="Save the mask at the size of the image, without smoothing",
                path=path,
            )
        values.check(mask, stem, name)
        things.append(Thing(name, Bitmap(0, 0, mask > 0)))
    drawn = paint(things, size, table, next(iter(masks.values())))
    return Drawn(drawn.mask, {kind: count for kind, count in drawn.remarks.items() if kind != "no pixel"})
