"""Industrial defects of 20 kinds of products (ScienceDB), for few-shot segmentation.

Layout, from the paper's loader and its instructions, which download ``data.zip`` and ``data.json`` from scidb.cn::

    data.json       {"clsName": [20 names], "clsDic": {NAME: {"bad": ["data/....png", ...]}, ...}}
    data/....png    pictures, as named in data.json
    data/....bmp    their masks beside them under the same name; whatever is not 0 is defect

The names in ``data.json`` begin with ``data/``; the authors move the content of ``data`` beside ``data.json``. Both are
read. Every picture shows defects of one class. The paper trains and tests on folds of five classes, fold f holding
the classes f, f + 4, f + 8, ... of ``clsName``: ``industrial_fold0`` to ``industrial_fold3``. ``industrial`` holds all.

Not verified, for the release could not be seen: its title and DOI, licence, size, names of classes (one is hazelnut),
number of pictures, and whether stems repeat; folders of a path become a prefix.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.bench.releases.base import Entry, Found, Misplaced, Release, locate
from distillfss.bench.releases.decoding import grey
from distillfss.errors import DataError

TABLE = "data.json"
FOLDS = 4


def find(fold: int | None, root: Path) -> Found:
    base = locate(root, TABLE)
    names, bad = _table(base / TABLE)
    chosen = names if fold is None else names[fold::FOLDS]
    entries = []
    for value, name in enumerate(chosen, start=1):
        for listed in bad[name]:
            inside = PurePosixPath(listed.replace("\\", "/"))
            short = PurePosixPath(*inside.parts[1:]) if inside.parts[0] == "data" else inside
            image = _existing(base, inside, short)
            mask = image.with_suffix(".bmp")
            if not mask.is_file():
                raise Misplaced(f"its mask {mask.name} is missing", image)
            stem = "__".join(short.with_suffix("").parts)
            entries.append(
                Entry(stem if stem.startswith(name) else f"{name}__{stem}", partial(_read, image, mask, value))
            )
    return Found(entries, classes=tuple(chosen))


def _table(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Class names in their order, and the pictures of each."""
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", cure="Copy it again from the release", path=path) from None
    try:
        names = [str(name) for name in table["clsName"]]
        bad = {name: [str(image) for image in table["clsDic"][name]["bad"]] for name in names}
    except KeyError as error:
        raise Misplaced(f"lacks {error}", path) from None
    except TypeError:
        raise Misplaced("has another form than expected", path) from None
    listed = [PurePosixPath(image).parts for images in bad.values() for image in images]
    if not names or any(".." in parts or not parts for parts in listed):
        raise Misplaced("names no class, or pictures outside its folder", path)
    return names, bad


def _existing(base: Path, *names: PurePosixPath) -> Path:
    for name in names:
        if not name.is_absolute() and (base / name).is_file():
            return base / name
    raise Misplaced(f"names {names[0]}, which is missing", base / TABLE)


def _read(image: Path, mask: Path, value: int) -> tuple[Path, NDArray[np.uint8]]:
    return image, (grey(mask) > 0).astype(np.uint8) * np.uint8(value)


def _release(fold: int | None) -> Release:
    suffix = "" if fold is None else f"_fold{fold}"
    return Release(
        name=f"industrial{suffix}",
        title="Industrial defects, " + ("20 classes" if fold is None else f"the five classes of fold {fold}"),
        domain="industry, inspection",
        classes=(),
        licence="see its page on scidb.cn",
        where="scidb.cn, files 6396c900bae2f1393c118ada (data.zip) and 6396c900bae2f1393c118ad9 (data.json)",
        cite="see its page on scidb.cn",
        download="not stated",
        layout=f"{TABLE} with clsName and clsDic, and the pictures it names (.png) with masks beside them (.bmp)",
        notes="Every picture holds one class; class names as in data.json.",
        find=partial(find, fold),
    )


RELEASE = _release(None)
FOLD_RELEASES = tuple(_release(fold) for fold in range(FOLDS))
