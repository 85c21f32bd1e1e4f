"""Writes a release in our layout: ``images/*``, ``masks/*.png`` (8-bit class values) and ``meta.json``.

Every file appears whole or not at all. A run that was stopped leaves ``prepare.part``; the same call goes on from there
and passes over pairs that are done. ``meta.json`` is written last, so a folder that has it is complete.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.bench.releases.base import Entry, Found, LeftOut, Picture, Release
from distillfss.bench.releases.survey import Check, Progress, Survey, check, is_dataset, survey
from distillfss.errors import DataError, OutputError
from distillfss.io.decode import read_image
from distillfss.io.files import atomic_write, check_writable
from distillfss.io.legend import META
from distillfss.io.masks import IGNORE, write_mask
from distillfss.io.opening import decoding, open_picture
from distillfss.metrics import resize_mask

MARK = "prepare.part"
_ORIENTATION = 0x0112
_KEPT = {"JPEG": ".jpg", "PNG": ".png"}
"""Formats that are copied byte by byte when nothing has to be changed."""


@dataclass(frozen=True)
class Prepared:
    """A written data set: its figures, the checks, and how many pairs an earlier, stopped run had written."""

    survey: Survey
    checks: list[Check]
    resumed: int
    left_out: list[tuple[str, str]]


def prepare(
    release: Release,
    root: Path,
    out: Path,
    *,
    max_side: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Turn the downloaded release under ``root`` into the folder ``out``.

    Parameters
    ----------
    max_side
        Pictures with a longer side are shrunk to it with their masks; None keeps them as they are.
    overwrite
        Replace a data set that is there (images, masks and meta.json; nothing else is touched).

    Raises
    ------
    DataError
        The release lacks something or a file of it is bad.
    OutputError
        ``out`` is not empty, or cannot be written to.
    """
    found = release.look(root)
    if overwrite and _is_source(out, release, root):
        raise OutputError(
            "the release is read from this folder, which --overwrite would empty",
            cure="Choose another folder",
            path=out,
        )
    begun = {"release": release.name, "max_side": max_side}
    _open_folder(out, begun, overwrite)
    kept, resumed, left_out = {}, 0, list(found.left_out)
    for number, entry in enumerate(found.entries, start=1):
        if _done(out, entry.stem):
            resumed += 1
            kept[entry.stem] = entry.part
        else:
            try:
                _write(entry, out, max_side)
                kept[entry.stem] = entry.part
            except LeftOut as reason:
                left_out.append((entry.stem, str(reason)))
        if progress is not None:
            progress("writing pairs", number, len(found.entries))
    classes = found.classes or release.classes
    split = {stem: part for stem, part in kept.items() if part}
    draft = _meta(release, found, classes, split, left_out, max_side)
    return _finish(release, out, draft, resumed, left_out, progress)


def _finish(
    release: Release,
    out: Path,
    draft: dict[str, Any],
    resumed: int,
    left_out: list[tuple[str, str]],
    progress: Progress | None,
) -> Prepared:
    """Look through what was written, and write ``meta.json`` with the figures."""
    figures = survey(out, progress, draft)
    checks = check(figures, release)
    complete = draft | {
        "n": figures.pairs,
        "images_per_class": dict(figures.images_per_class),
        "mean_area_per_class": {name: round(area, 4) for name, area in figures.areas.items()},
        "sizes": dict(figures.sizes),
        "checks": {each.name: {"ok": each.ok, "detail": each.detail} for each in checks},
    }
    _write_json(out / META, complete)
    (out / MARK).unlink(missing_ok=True)
    return Prepared(figures, checks, resumed, left_out)


def _meta(
    release: Release,
    found: Found,
    classes: tuple[str, ...],
    split: Mapping[str, str],
    left_out: list[tuple[str, str]],
    max_side: int | None,
) -> dict[str, Any]:
    return {
        "name": release.name,
        "release": release.name,
        "title": release.title,
        "domain": release.domain,
        "classes": ["background", *classes],
        "licence": release.licence,
        "notes": release.notes,
        "source": release.where,
        "cite": release.cite,
        "max_side": max_side,
        "n_in_source": len(found.entries) + len(found.left_out),
        "ignore_index": IGNORE if release.ignore else None,
        "left_out": len(left_out),
        "left_out_examples": [f"{stem}: {reason}" for stem, reason in left_out[:10]],
    } | ({"split": dict(split)} if split else {})


def _is_source(out: Path, release: Release, root: Path) -> bool:
    """Whether the pictures under ``root`` may be those of ``out``: some releases have the layout that is written."""
    source, target = root.resolve(), out.resolve()
    if source.is_relative_to(target):
        return True
    if not target.is_relative_to(source):
        return False
    try:
        release.look(out)
    except DataError:
        return False
    return True


def _open_folder(out: Path, begun: Mapping[str, Any], overwrite: bool) -> None:
    """Make the folder, or go on in one that the same call left; refuse every other that holds something."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        present = sorted(path.name for path in out.iterdir())
    except OSError as error:
        raise OutputError(
            f"this folder cannot be made ({error.strerror})", cure="Choose another folder", path=out
        ) from None
    mark = _read_mark(out)
    if mark is not None and all(mark.get(key) == value for key, value in begun.items()) and not overwrite:
        return
    if present and not overwrite:
        other = f"; another preparation of {mark.get('release')} was stopped there" if mark else ""
        raise OutputError(f"is not empty{other}", cure="Choose another folder or add --overwrite", path=out)
    if present and mark is None and not (is_dataset(out) and (out / META).is_file()):
        raise OutputError(
            "holds something else than a data set, which --overwrite does not remove",
            cure="Choose another folder, or empty it yourself",
            path=out,
        )
    for name in ("images", "masks"):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / META).unlink(missing_ok=True)
    check_writable(out / MARK)
    _write_json(out / MARK, begun)
    for name in ("images", "masks"):
        (out / name).mkdir()


def _read_mark(out: Path) -> dict[str, Any] | None:
    try:
        mark = json.loads((out / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None


def _done(out: Path, stem: str) -> bool:
    """The mask is written after its image, so it alone tells."""
    return (out / "masks" / f"{stem}.png").is_file()


def _write(entry: Entry, out: Path, max_side: int | None) -> None:
    picture, mask = entry.read()
    data, suffix, mask = _fitted(picture, mask, max_side)
    atomic_write(out / "images" / f"{entry.stem}{suffix}", data)
    write_mask(out / "masks" / f"{entry.stem}.png", mask)


def _fitted(picture: Picture, mask: NDArray[np.uint8], max_side: int | None) -> tuple[bytes, str, NDArray[np.uint8]]:
    """The image file's content and suffix, and the mask, both of one size."""
    if isinstance(picture, Path):
        pixels, kind, turned = _stored(picture, mask)
    else:
        pixels, kind, turned = Image.fromarray(picture), "", False
    width, height = pixels.size
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = pixels.resize(size, Image.Resampling.BOX)
        mask = resize_mask(mask, (size[1], size[0]))
    elif isinstance(picture, Path) and kind in _KEPT and not turned:
        return picture.read_bytes(), _KEPT[kind], mask
    # what was a photograph stays one; everything else, and a photograph that is only turned, loses nothing
    lossy = kind == "JPEG" and scale < 1
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=95, subsampling=0) if lossy else pixels.save(buffer, "PNG")
    return buffer.getvalue(), ".jpg" if lossy else ".png", mask


def _stored(path: Path, mask: NDArray[np.uint8]) -> tuple[Image.Image, str, bool]:
    """Pixels as 8-bit RGB that lie like the mask; the file's format; whether EXIF says they lie otherwise.

    Masks of releases are drawn on the stored pixels, because their own loaders pass over EXIF. Only where the mask has
    the size of the upright picture and not of the stored one is the picture turned.
    """
    with open_picture(path) as image:
        kind, stored = image.format or "", image.size
        with decoding(path):
            image.load()
            orientation = image.getexif().get(_ORIENTATION, 1)
            raw = image.convert("RGB") if orientation != 1 else None
    size = mask.shape[1], mask.shape[0]
    if raw is not None and size == stored:
        return raw, kind, True
    upright = Image.fromarray(read_image(path).pixels)
    if upright.size != size:
        raise DataError(
            f"has {stored[0]}x{stored[1]} pixels but its mask {size[0]}x{size[1]}",
            cure="Copy both again from the release",
            path=path,
        )
    return upright, kind, raw is not None


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    atomic_write(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
