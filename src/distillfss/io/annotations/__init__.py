"""Annotation formats: which there are, which one a folder is of, and reading it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distillfss.errors import DataError, UsageError
from distillfss.io.annotations import (
    binary_png,
    coco,
    colour_png,
    cvat,
    geojson,
    imagej,
    index_png,
    label_studio,
    labelme,
    supervisely,
    yolo,
)
from distillfss.io.annotations.base import Annotations, Format, damaged_json, is_dir
from distillfss.io.faults import raise_faults
from distillfss.io.files import pictures_in
from distillfss.io.legend import read_legend

__all__ = ["AUTO", "FORMATS", "Annotations", "Format", "detect_format", "is_annotated", "read_annotations"]

AUTO = "auto"

FORMATS: dict[str, Format] = {
    "index-png": Format("PNG masks with class indices", index_png.detect, index_png.read),
    "binary-png": Format("black-and-white PNG masks, one per class", binary_png.detect, binary_png.read),
    "colour-png": Format("colour PNG masks with a palette file", colour_png.detect, colour_png.read),
    "coco": Format("COCO JSON", coco.detect, coco.read),
    "labelme": Format("LabelMe JSON", labelme.detect, labelme.read),
    "cvat": Format("CVAT for images XML", cvat.detect, cvat.read),
    "yolo": Format("YOLO-seg", yolo.detect, yolo.read),
    "label-studio": Format("Label Studio JSON", label_studio.detect, label_studio.read),
    "supervisely": Format("Supervisely", supervisely.detect, supervisely.read),
    "imagej": Format("ImageJ ROIs", imagej.detect, imagej.read),
    "geojson": Format("GeoJSON in pixels, as QuPath writes it", geojson.detect, geojson.read),
}
"""By the name ``--format`` takes."""

_MASKS = ("colour-png", "binary-png", "index-png")
"""Mask pictures; of several that fit, the first is meant."""
_JSON = ("index-png", "coco", "labelme", "label-studio", "supervisely", "geojson")
"""Formats that are known by what is in a JSON file, and the one a folder counts as that fits none."""


def detect_format(folder: Path) -> tuple[str, str]:
    """(format, notice or nothing) of a folder. Mask pictures go before other annotation, which is then mentioned.

    A folder that fits no format counts as index PNG, whose reader says what is missing.

    Raises
    ------
    DataError
        It fits several formats.
    """
    if not is_dir(folder):
        return "index-png", ""
    masks = next((name for name in _MASKS if FORMATS[name].detect(folder)), None)
    others = [name for name, format in FORMATS.items() if name not in _MASKS and format.detect(folder)]
    if masks == "index-png" and others and not pictures_in(folder / "masks"):
        masks = None  # made to annotate into, by ``pick`` for one, and another tool was used
    if masks is not None:
        also = f"{folder}: read as {masks}; it holds {' and '.join(others)} as well (--format)" if others else ""
        return masks, also
    if len(others) > 1:
        raise DataError(
            f"could be {' or '.join(others)}",
            cure=f"Say which: --format {others[0]} or --format {others[1]}",
            path=folder,
        )
    return (others[0] if others else "index-png"), ""


def is_annotated(folder: Path) -> bool:
    """Whether this is a folder of annotated images, as far as can be told without reading them."""
    return is_dir(folder) and any(format.detect(folder) for format in FORMATS.values())


def read_annotations(folder: Path, chosen: Sequence[str] | None = None, format: str = AUTO) -> Annotations:
    """Read a folder in the named format, or in the one it is of.

    Parameters
    ----------
    folder
        Holds images and annotation.
    chosen
        Class names. They choose among those that ``meta.json`` or the objects' labels give. Where mask values have
        none, or others, they name the values 1, 2, ...; likewise groups of ImageJ's ROIs.
    format
        Key of ``FORMATS``, or ``auto``.

    Raises
    ------
    DataError
        Nothing there that can be read, or it could be several formats. Faults of single files are in the result.
    UsageError
        No such format.
    """
    if format not in (AUTO, *FORMATS):
        raise UsageError(f"there is no format {format!r}", cure=f"Choose one of {', '.join((AUTO, *FORMATS))}")
    name, notice = detect_format(folder) if format == AUTO else (format, "")
    if name in _JSON and is_dir(folder) and not FORMATS[name].detect(folder):
        raise_faults(damaged_json(folder))
    found = FORMATS[name].read(folder, chosen)
    # how GeoTIFF and DICOM are read is said in meta.json, whatever the annotation; a format may have its own meta.json
    with contextlib.suppress(DataError):
        reading = read_legend(folder)
        found = replace(found, legend=replace(found.legend, bands=reading.bands, value_range=reading.value_range))
    if notice:
        found.notices.append(notice)
    if found.legend.names == () and not found.faults:  # else the objects may be in what is at fault
        raise DataError("no object is drawn in the whole folder", cure="Annotate at least one image", path=folder)
    if not found.pairs and not found.faults:
        raise DataError("holds no annotated image", cure="Check the folder, or name its --format", path=folder)
    return found
