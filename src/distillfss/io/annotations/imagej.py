"""ImageJ: ``STEM.roi`` or a zip of ROIs for every image; polygons, shapes with holes, ovals, rectangles (roifile).

A ROI has no class but a group (0 to 255). With groups, group g is the class ``group_g``, and ROIs without one are a
fault; without any, all ROIs are one class. ``meta.json`` or ``--classes`` name them in the order of the groups; given
names that are all among those they have already choose.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Area, Ellipse, Outline, box
from distillfss.io.annotations.base import Annotations, Pictures, assemble, files_with, is_file, parsing, read_bytes
from distillfss.io.annotations.drawing import NameTable, Thing, paint, sized
from distillfss.io.annotations.extra import needed
from distillfss.io.legend import foreground_names, read_legend, renamed
from distillfss.io.pairs import Drawn, Pair

ENDINGS = ("", "_rois", "-rois", "_roi", "-roi", "_roiset", "-roiset")
"""What the name of a file may hold beside that of its image, in any case."""
DAMAGED = (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, struct.error)
"""What reading a damaged zip file raises."""
MOST_ROIS = 100_000
SINGLE = "object"


def detect(folder: Path) -> bool:
    return bool(_files(folder))


def read(folder: Path, chosen: Sequence[str] | None) -> Annotations:
    pictures = Pictures(folder)
    faults: list[DataError] = []
    found: list[tuple[Path, Path]] = []
    groups: set[int] = set()
    for path in _files(folder):
        try:
            image = _image(pictures, path)
            groups |= {int(roi.group) for roi in _rois(path)}
        except DataError as fault:
            faults.append(fault)
        else:
            found.append((path, image))
    labels = {str(group): f"group_{group}" for group in sorted(groups) if group} or {"0": SINGLE}
    legend = read_legend(folder)
    names = None if chosen is None else foreground_names(chosen)
    some = names is not None and set(names) <= set(legend.names or labels.values())
    given = legend.names if some or names is None else names
    if given is not None:
        if len(given) < len(labels):
            raise DataError(
                f"{len(labels)} groups of ROIs but {len(given)} class names", cure="Name them all", path=folder
            )
        labels = dict(zip(labels, given, strict=False))
    table = NameTable(
        (names if some else given) or tuple(labels.values()), collected=given is None and names is None, others=some
    )
    merged: dict[Path, list[Path]] = {}
    for path, image in found:
        merged.setdefault(image, []).append(path)
    pairs = [
        Pair(image.stem, image, paths[0], sized(image, paths[0], None, partial(_draw, paths, labels, table)))
        for image, paths in merged.items()
    ]
    annotations = assemble("imagej", pictures, pairs, faults, table)
    if names is not None and not some:
        annotations.notices.extend(renamed(folder, legend.names or (), names))
    if table.collected and len(labels) > 1:
        annotations.notices.append(f"{folder}: the classes are the ROIs' groups; name them with --classes or meta.json")
    return annotations


def _files(folder: Path) -> list[Path]:
    """Files of ROIs, and damaged zip files whose name says that they were some."""
    found: list[Path] = []
    damaged: list[Path] = []
    for path in files_with(folder, ".roi", ".zip"):
        if not is_file(path):  # a pipe would wait for ever
            continue
        if path.suffix.lower() == ".zip":
            try:
                with zipfile.ZipFile(path) as archive:
                    names = [name for name in archive.namelist() if _is_entry(name)]
            except DAMAGED:
                damaged.append(path)
                continue
            if not names or not all(name.lower().endswith(".roi") for name in names):
                continue
        found.append(path)
    return sorted(found + (_with_image(folder, damaged) if damaged else []))


def _with_image(folder: Path, paths: Sequence[Path]) -> list[Path]:
    found = []
    with contextlib.suppress(DataError):
        pictures = Pictures(folder)
        for path in paths:
            with contextlib.suppress(DataError):
                _image(pictures, path)
                found.append(path)
    return found


def _is_entry(name: str) -> bool:
    """Whether this is a file in a zip, not a folder or what macOS puts beside it."""
    return not (name.endswith("/") or name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith("."))


def _image(pictures: Pictures, path: Path) -> Path:
    stem = path.stem
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if ending and stem.casefold().endswith(ending):
            try:
                return pictures.with_stem(stem[: -len(ending)], path)
            except DataError:
                continue
    if stem.casefold() == "roiset" and len(pictures.paths) == 1:
        return pictures.paths[0]
    return pictures.with_stem(stem, path)


def _rois(path: Path) -> Iterator[Any]:
    """The ROIs of a file; nothing is unpacked that claims to be larger than a file may be."""
    reader = needed("roifile", "ROIs").ImagejRoi
    for name, data in _entries(path):
        try:
            roi = reader.frombytes(data)
        except Exception as exc:  # fed with damaged bytes it raises nearly anything
            raise DataError(f"the ROI {name} cannot be read ({exc})", cure="Save it again", path=path) from exc
        yield roi


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    data = read_bytes(path)
    if path.suffix.lower() != ".zip":
        yield path.name, data
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MOST_ROIS or sum(info.file_size for info in infos) > 16 * len(data) + (64 << 20):
                raise DataError("unpacks to more than ROIs ever are", cure="Save the ROIs again", path=path)
            for info in (each for each in infos if _is_entry(each.filename)):
                with archive.open(info) as file:
                    yield info.filename, file.read(info.file_size)
    except DAMAGED as exc:
        raise DataError(f"is a damaged zip file ({exc})", cure="Save the ROIs again", path=path) from exc


def _draw(paths: Sequence[Path], labels: dict[str, str], table: NameTable, size: tuple[int, int]) -> Drawn:
    with parsing(paths[0]):
        rois = (roi for path in paths for roi in _rois(path))
        return paint((_thing(roi, labels, paths[0]) for roi in rois), size, table, paths[0])


def _thing(roi: Any, labels: dict[str, str], path: Path) -> Thing:
    label = labels.get(str(int(roi.group)))
    if label is None:
        raise DataError(
            f"the ROI {roi.name} is in no group while others are",
            cure="Give every ROI a group (More > Properties)",
            path=path,
        )
    if roi.position > 1 or roi.z_position > 1 or roi.t_position > 1:
        return Thing(label, None)  # of another slice: only the first is read
    return Thing(label, _area(roi), boxed=roi.roitype.name == "RECT" and not roi.composite)


def _area(roi: Any) -> Area | None:
    kind = roi.roitype.name
    if roi.subtype.name in ("TEXT", "IMAGE"):
        return None  # written or pasted onto the image; their rectangles are no objects
    if roi.composite:
        return Outline.of(_coordinates(roi), even_odd=True)
    left, top, right, bottom = roi.left, roi.top, roi.right, roi.bottom
    if roi.subpixelrect:
        left, top, right, bottom = roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
    if kind == "RECT":
        return box(left, top, right, bottom)
    if kind == "OVAL":
        return Ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2)
    if kind in ("POLYGON", "FREEHAND", "TRACED"):
        return Outline.of(_coordinates(roi)[:1])
    return None


def _coordinates(roi: Any) -> list[Any]:
    try:
        return list(roi.coordinates(multi=True))
    except Exception as exc:  # as in reading
        raise DataError(f"the ROI {roi.name} cannot be read ({exc})", cure="Save it again") from exc
