"""Colour PNG: masks whose colours stand for classes, and a palette file that says for which.

The palette is ``palette.json`` ({"crack": [255, 0, 0], "hole": "#00ff00"}), CVAT's ``labelmap.txt`` or
``class_dict.csv`` (name,r,g,b). Black is background unless it is listed. Colours are compared exactly: one that is not
in the palette is a fault, for it would be a guess what it means.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.annotations.base import Annotations, is_dir, is_file, malformed, parsing, read_json, read_text
from distillfss.io.annotations.drawing import name_table
from distillfss.io.decode import load_upright
from distillfss.io.faults import FormatFaultError, LabelFaultError
from distillfss.io.legend import read_legend
from distillfss.io.masks import refuse_unsuited
from distillfss.io.opening import decoding, open_picture
from distillfss.io.pairs import Drawn, Pair, find_pairs
from distillfss.wording import counted

Colour = tuple[int, int, int]
PALETTES = ("palette.json", "labelmap.txt", "class_dict.csv")
LAYOUTS = (("images", "masks"), ("JPEGImages", "SegmentationClass"))
"""Ours, and that of CVAT's "Segmentation mask 1.1"."""
_CURES = {
    ".json": 'Write a name and red, green and blue for every class: {"crack": [255, 0, 0], "hole": "#00ff00"}',
    ".txt": "Write a line with a name and red, green and blue for every class, as CVAT does: crack:255,0,0::",
    ".csv": "Write the line name,r,g,b and then one for every class, with commas: crack,255,0,0",
}
"""How a palette file has to look, by its suffix."""
_HEX = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


def detect(folder: Path) -> bool:
    return _palette_file(folder) is not None and _layout(folder) is not None


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    layout, path = _layout(folder), _palette_file(folder)
    if layout is None or path is None:
        raise DataError(
            "is no folder of colour masks: it needs images/, masks/ and a palette",
            cure=f'Write the colours into {PALETTES[0]}: {{"crack": [255, 0, 0], ...}}',
            path=folder,
        )
    palette = read_palette(path)
    names = list(palette)
    table = name_table(folder, labels=names, declared=names, legend=read_legend(folder), chosen=chosen)
    colours = {(0, 0, 0): 0} | {colour: table.value(name, path) for name, colour in palette.items()}
    pairs, faults = find_pairs(folder, *layout)
    drawn = [Pair(pair.name, pair.image, pair.mask, partial(_draw, pair.mask, colours, palette)) for pair in pairs]
    return Annotations("colour-png", drawn, faults, table.legend)


def read_palette(path: Path) -> dict[str, Colour]:
    """Class names and their colours, in the file's order. Raises ``DataError``."""
    try:
        with parsing(path):
            found = _listed(path)
            if not found:
                raise malformed(path, "it names no colour")
    except FormatFaultError as fault:
        raise FormatFaultError(fault.problem, cure=_CURES[path.suffix], path=path) from fault
    if len(set(found.values())) < len(found):
        raise FormatFaultError("two classes have the same colour", cure="Give each a colour of its own", path=path)
    return found


def _listed(path: Path) -> dict[str, Colour]:
    if path.suffix == ".json":
        return {str(name): _colour(value, path) for name, value in read_json(path).items()}
    if path.suffix == ".txt":
        lines = [line.split(":") for line in read_text(path).splitlines() if line.strip() and line[0] != "#"]
        return {line[0].strip(): _colour(line[1].split(","), path) for line in lines}
    rows = [row for row in csv.reader(read_text(path).splitlines()) if row]
    short = next((row for row in rows if len(row) < 4), None)
    if short is not None:
        raise malformed(path, f"{','.join(short)[:80]!r} is no name with three values")
    return {row[0].strip(): _colour(row[1:4], path) for row in rows if row[1].strip().isdigit()}


def read_colours(path: Path) -> NDArray[np.uint8]:
    """A mask's colours (H, W, 3), upright. Raises ``DataError`` as ``read_mask`` does for lossy files and the like."""
    with open_picture(path) as image:
        refuse_unsuited(image, path)
        upright, _, _, _ = load_upright(image, path)
        with decoding(path):
            return np.asarray(upright.convert("RGB"))


def codes(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Colours (..., 3) → one number each."""
    wide = rgb.astype(np.int64)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _draw(path: Path, colours: Mapping[Colour, int], palette: Mapping[str, Colour]) -> Drawn:
    found = codes(read_colours(path))
    present, places, counts = np.unique(found, return_inverse=True, return_counts=True)
    values = {int(codes(np.array(colour, np.uint8))): value for colour, value in colours.items()}
    unknown = [(int(n), int(code)) for code, n in zip(present, counts, strict=True) if int(code) not in values]
    if unknown:
        _, code = max(unknown)
        colour = (code >> 16, code >> 8 & 255, code & 255)
        nearest = min(palette, key=lambda name: sum((a - b) ** 2 for a, b in zip(palette[name], colour, strict=True)))
        raise LabelFaultError(
            f"colours that are not in the palette: {len(unknown)}, in {counted(sum(n for n, _ in unknown), 'pixel')}, "
            f"most often {colour}, nearest to {nearest}",
            cure="Save the mask without smoothing and not as JPEG, or add the colour to the palette",
            path=path,
        )
    return Drawn(np.array([values[int(code)] for code in present], np.uint8)[places].reshape(found.shape))


def _colour(value: Any, path: Path) -> Colour:
    if isinstance(value, str):
        match = _HEX.fullmatch(value.strip())
        if match is None:
            raise malformed(path, f"{value!r} is no colour")
        return (int(match[1], 16), int(match[2], 16), int(match[3], 16))
    parts = [int(part) for part in value]
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        raise malformed(path, f"{value!r} is no colour")
    return parts[0], parts[1], parts[2]


def _palette_file(folder: Path) -> Path | None:
    return next((folder / name for name in PALETTES if is_file(folder / name)), None)


def _layout(folder: Path) -> tuple[str, str] | None:
    return next((both for both in LAYOUTS if all(is_dir(folder / name) for name in both)), None)
