"""What is in a data set's folder: its fingerprint, the classes of every image and which pictures are copies of others.

Reading a thousand files takes seconds, and every run needs all of it. It is kept under a digest of the files' names,
sizes and times, so a folder that was touched is read again, and no path is written down.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distillfss.errors import DataError, DistillFSSError, UsageError
from distillfss.grouping import joined
from distillfss.io.annotations import detect_format, is_annotated
from distillfss.io.files import atomic_write
from distillfss.io.json_file import read_json
from distillfss.io.labelled import LabelledFolder
from distillfss.io.legend import MAX_META_BYTES, META
from distillfss.same_pictures import CRITERION, digest_of, same_pictures, small_picture

DECIDING = ("classes", "ignore_index", "split")
"""What in ``meta.json`` decides a result; a corrected licence text does not."""


@dataclass(frozen=True)
class Contents:
    """A data set as the benchmark sees it.

    Attributes
    ----------
    fingerprint
        Hex digest of the pictures, the masks and what ``meta.json`` says of them.
    classes
        The classes in the mask of every image whose mask can be read.
    official
        The split the data set comes with: ``train`` or ``test`` by name.
    copies
        Groups of images, sorted, that show the same picture, also mirrored or turned: what ``distillfss check`` would
        call twins, and the twins of twins.
    unreadable
        Images whose mask cannot be read, sorted: they are neither learnt from nor tested on.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    fingerprint: str
    classes: dict[str, list[int]]
    official: dict[str, str] | None
    copies: tuple[tuple[str, ...], ...] = ()
    unreadable: tuple[str, ...] = ()


def find_dataset(root: Path, name: str) -> Path:
    """The folder of a data set. Raises ``UsageError`` that names those that are there."""
    folder = root / name
    # a name, not a path: it is what rows and tables call the data set
    if folder.parent == root and is_annotated(folder):
        return folder
    there = sorted(path.name for path in root.glob("*") if is_annotated(path))
    cure = f"There are: {', '.join(there)}" if there else "'distillfss bench prepare' makes them"
    raise UsageError(f"there is no data set {name!r} in {root}", cure=cure)


def open_dataset(folder: Path) -> LabelledFolder:
    """Open a data set, whatever format its annotation has. Raises ``DataError``, also if it could be of several."""
    try:
        name, _ = detect_format(folder)
    except DataError as fault:
        cure = "A data set has one annotation: take the other out of the folder"
        raise DataError(fault.problem, cure=cure, path=folder) from None
    return LabelledFolder.open(folder, format=name)


def look_into(folder: Path, cache: Path) -> Contents:
    """The contents of a data set's folder, from the cache file if the folder has not changed since.

    Raises
    ------
    DataError
        If the folder is no data set.
    """
    data = open_dataset(folder)
    meta = _meta(folder)
    kept = _read_cache(cache)
    state = _state(data)
    if state not in kept:
        kept[state] = {
            "files": _digest_files(data),
            "classes": _classes(data),
            "class_names": list(data.class_names),
            "copies": copies_in(data),
        }
        atomic_write(cache, json.dumps(kept).encode())
    found = kept[state]
    deciding = json.dumps({key: meta[key] for key in DECIDING if key in meta}, sort_keys=True)
    return Contents(
        name=folder.name,
        title=str(meta.get("title", "")),
        class_names=tuple(found["class_names"]),
        fingerprint=hashlib.sha256(f"{found['files']} {deciding}".encode()).hexdigest(),
        classes=found["classes"],
        official=_official(meta, folder),
        copies=tuple(map(tuple, found["copies"])),
        unreadable=tuple(sorted(set(data.names) - set(found["classes"]))),
    )


def _meta(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / META, MAX_META_BYTES)
    except FileNotFoundError:
        return {}
    # another format may have a file of this name
    return found if isinstance(found, dict) else {}


def _official(meta: dict[str, Any], folder: Path) -> dict[str, str] | None:
    found = meta.get("split")
    if found is None or found == {}:
        return None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        cure = 'Write {"split": {"NAME": "train" or "test", ...}}, or leave it out'
        raise DataError("has a split that is no table of names", cure=cure, path=folder / META)
    return found


def _pair_files(data: LabelledFolder) -> list[tuple[str, Path]]:
    """Every image and annotation file with its name as seen from the folder, each once."""
    paths = [path for index in range(len(data)) for path in (data.image_path(index), data.mask_path(index))]
    return [(Path(os.path.relpath(path, data.root)).as_posix(), path) for path in dict.fromkeys(paths)]


def _all_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file in the folder: in some formats several annotate one image, or one says what the classes are."""
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if name[0] != ".")
        for path in (Path(place, name) for name in sorted(files) if name[0] != "."):
            if path.is_file():  # and no link to nowhere
                yield path.relative_to(folder).as_posix(), path


def _state(data: LabelledFolder) -> str:
    """Digest of what can be seen without reading the pictures, and of how copies are found."""
    digest = hashlib.sha256(f"{data.root.resolve()} {CRITERION} {data.format} {data.legend.names}".encode())
    for name, path in {**dict(_all_files(data.root)), **dict(_pair_files(data))}.items():
        status = path.stat()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _digest_files(data: LabelledFolder) -> str:
    """Digest of images and masks: of the files where each mask is one, else of the masks as drawn, with the classes."""
    digest = hashlib.sha256()
    if data.format == "index-png":
        for name, path in _pair_files(data):
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return digest.hexdigest()
    digest.update(f"{data.class_names}\n".encode())
    for index, name in enumerate(data.names):
        image = hashlib.sha256(data.image_path(index).read_bytes()).hexdigest()
        digest.update(f"{name} {image} {_drawn(data, index)}\n".encode())
    return digest.hexdigest()


def _drawn(data: LabelledFolder, index: int) -> str:
    """Digest of a mask, or what is wrong with it."""
    try:
        return digest_of(data.raw_mask(index))
    except DistillFSSError as fault:
        return type(fault).__name__


def _classes(data: LabelledFolder) -> dict[str, list[int]]:
    """Classes by image; an image whose mask is bad is left out, nothing can be learnt from it or tested on it."""
    found = {}
    for index, name in enumerate(data.names):
        try:
            found[name] = data.classes_in(index)
        except DistillFSSError:
            continue
    return found


def copies_in(data: LabelledFolder) -> list[list[str]]:
    """Groups of two or more images that show the same picture; an image that cannot be read is in none."""
    names, pictures, digests = [], [], []
    for index, name in enumerate(data.names):
        try:
            pixels = data.image(index)
        except DistillFSSError:
            continue
        names.append(name)
        pictures.append(small_picture(pixels))
        digests.append(digest_of(pixels))
    if not names:
        return []
    pairs = same_pictures(np.stack(pictures), digests)
    return joined((names[one], names[other]) for one, other in pairs)


def _read_cache(cache: Path) -> dict[str, Any]:
    try:
        kept = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
