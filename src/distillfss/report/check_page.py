"""The page of ``distillfss check --html``: every kind of fault, explained, with its files and some of them drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from distillfss.checking.findings import KINDS, Finding
from distillfss.checking.folder import Inspection
from distillfss.checking.inspecting import Look, fitted, raw_mask
from distillfss.checking.report import Report, where
from distillfss.errors import DataError
from distillfss.io.decode import read_image
from distillfss.io.legend import Legend
from distillfss.io.masks import IGNORE
from distillfss.report.overlay import class_colours, for_display, mask_for_display, overlay
from distillfss.report.page import Picture, duration, embed, render

PICTURES = 6
"""Of every kind."""
FILES = 200
"""Listed of every kind; the JSON document has all."""
LONGEST = 320
MARK = (255, 0, 160)
PLAIN = frozenset({"unlabelled", "converted", "mixed-depth", "colour-mask"})
"""Kinds that are about the image, or whose mask says nothing yet: shown without it."""


@dataclass(frozen=True)
class Shown:
    """Pictures of one finding, with what they show."""

    pictures: tuple[Picture, ...]
    caption: str


def check_page(report: Report) -> str:
    """One self-contained HTML page."""
    looks = {
        look.pair.image: (look, folder)
        for folder in (report.support, report.test)
        if folder is not None
        for look in folder.looks
    }
    root = report.support.root
    kinds = []
    for kind, group in report.by_kind().items():
        rows = [(where(each, root), f"{each.problem}. {each.cure}.") for each in group[:FILES]]
        kinds.append(
            {
                "name": kind,
                "severity": KINDS[kind].severity,
                "title": KINDS[kind].title,
                "meaning": KINDS[kind].meaning,
                "count": len(group),
                "fixable": sum(each.fixable for each in group),
                "rows": rows,
                "more": max(0, len(group) - FILES),
                "shown": _shown(group, looks, root),
            }
        )
    folders = [folder for folder in (report.support, report.test) if folder is not None]
    return render(
        "check.html",
        title=str(root),
        summary=report.summary(),
        folders=[_folder(folder) for folder in folders],
        kinds=kinds,
        fixed=report.fixed,
        seconds=duration(report.seconds),
        mark="#{:02x}{:02x}{:02x}".format(*MARK),
    )


def _folder(folder: Inspection) -> dict[str, Any]:
    colours = class_colours(len(folder.names))[1:]
    return {
        "root": str(folder.root),
        "format": folder.annotations.format,
        "images": len(folder.looks),
        "notices": folder.annotations.notices,
        "classes": [
            row | {"colour": "#{:02x}{:02x}{:02x}".format(*colour), "percent": f"{100 * row['share']:.3g}"}
            for row, colour in zip(folder.classes(), colours, strict=True)
        ],
    }


def _shown(group: list[Finding], looks: dict[Path, tuple[Look, Inspection]], root: Path) -> list[Shown]:
    """The first findings with something to see; those with pictures that cannot be read any more are passed over."""
    shown: list[Shown] = []
    for finding in group:
        if len(shown) >= PICTURES:
            break
        if finding.image is None:
            continue
        try:
            pictures = [_picture(finding.image, finding, looks)]
            if finding.other is not None:
                pictures.append(_picture(finding.other, finding, looks))
        except DataError:
            continue
        shown.append(Shown(tuple(pictures), f"{where(finding, root)}: {finding.problem}"))
    return shown


def _picture(path: Path, finding: Finding, looks: dict[Path, tuple[Look, Inspection]]) -> Picture:
    legend = looks[path][1].annotations.legend if path in looks else Legend()
    pixels = read_image(path, legend.bands, legend.value_range).pixels
    drawn = for_display(pixels, LONGEST)
    if path in looks and finding.kind not in PLAIN:
        mask = _mask(*looks[path], pixels, as_drawn=finding.kind == "exif-turned")
        if mask is not None:
            drawn = overlay(drawn, mask_for_display(mask, LONGEST))
    return embed(_marked(drawn, finding, pixels.shape), f"{path.name}: {finding.problem}")


def _mask(look: Look, folder: Inspection, pixels: np.ndarray, *, as_drawn: bool) -> np.ndarray | None:
    """The mask as it lies on the image, stretched where its size is wrong; a turned one as the fault has it."""
    raw, _ = raw_mask(look.pair, folder.annotations)
    if raw.mask is None:
        return None
    mask = raw.mask
    if look.header is not None and not as_drawn:
        mask, _ = fitted(mask, pixels, look.header, look.pair)
    if mask.shape != pixels.shape[:2]:
        size = (pixels.shape[1], pixels.shape[0])
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    if folder.binary:
        mask = np.where(mask == IGNORE, 1, mask).astype(np.uint8)
    return mask


def _marked(drawn: np.ndarray, finding: Finding, shape: tuple[int, ...]) -> np.ndarray:
    """Frames around where the fault is, wide enough to be seen."""
    if not finding.boxes:
        return drawn
    picture = Image.fromarray(drawn)
    pen = ImageDraw.Draw(picture)
    down, right = drawn.shape[0] / shape[0], drawn.shape[1] / shape[1]
    for top, left, bottom, end in finding.boxes:
        corners = left * right - 5, top * down - 5, end * right + 4, bottom * down + 4
        pen.rectangle(corners, outline=MARK, width=2)
    return np.asarray(picture)
