"""A repaired copy of a folder: what can be put right is, what cannot be is left out, and both are told."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.checking.findings import ERROR, Finding
from distillfss.checking.folder import Inspection
from distillfss.checking.inspecting import Look, fitted, raw_mask
from distillfss.checking.report import Report
from distillfss.checking.shapes import cleaned
from distillfss.errors import DataError, OutputError
from distillfss.io.decode import read_image
from distillfss.io.files import atomic_write
from distillfss.io.legend import META
from distillfss.io.masks import IGNORE, write_mask
from distillfss.wording import counted

CHANGES = "changes.json"
UNDECIDED = "holds 255, of which nobody knows whether it is foreground or to be ignored"


@dataclass(eq=False)
class Fixed:
    """What became of a folder.

    Attributes
    ----------
    folder
        The new one, in the layout ``images/``, ``masks/``, ``meta.json``.
    written
        Pairs in it.
    changed
        What was done to which mask.
    left_out
        Image and why.
    """

    folder: Path
    written: int = 0
    changed: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "folder": str(self.folder),
            "written": self.written,
            "changed": [{"image": image, "change": change} for image, change in self.changed],
            "left_out": [{"image": image, "reason": reason} for image, reason in self.left_out],
        }


def fix(report: Report, out: Path) -> Fixed:
    """Write a repaired copy of the support folder into ``out``, which must be new or empty. Nothing else is touched.

    Raises
    ------
    OutputError
        It exists and is not empty, or cannot be written.
    DataError
        Nothing can be repaired, or what can be left nothing to learn from. Nothing is written.
    """
    folder, fixed = report.support, Fixed(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError("exists already and is not empty", cure="Name a new folder", path=out)
    one_colour = _one_colour(folder)
    kept, fixed.left_out = _sorted_out(report, one_colour)
    _refuse_useless(folder, kept, fixed.left_out)
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        (out / "masks").mkdir(exist_ok=True)
        for look in kept:
            _write(look, folder, fixed, one_colour)
        legend = folder.annotations.legend
        reading = {"bands": legend.bands, "range": legend.value_range}
        meta = {
            "classes": ["background", *folder.names],
            "ignore_index": IGNORE,
            **{key: list(value) for key, value in reading.items() if value is not None},
        }
        atomic_write(out / META, (json.dumps(meta, indent=2) + "\n").encode())
        atomic_write(out / CHANGES, (json.dumps(fixed.to_dict(), indent=2) + "\n").encode())
    except OSError as exc:
        raise OutputError(f"could not be written ({exc.strerror})", cure="Check the disk", path=out) from exc
    report.fixed = fixed
    return fixed


def _sorted_out(report: Report, one_colour: bool) -> tuple[list[Look], list[tuple[str, str]]]:
    """The pairs that a repaired copy can have, and what is left out and why."""
    folder, kept, left = report.support, [], []
    copies = {
        finding.image: finding for finding in report.findings if finding.kind == "near-duplicate" and finding.fixable
    }
    tests = frozenset() if report.test is None else frozenset(report.test.findings)
    by_image: dict[Path | None, list[Finding]] = {}
    for finding in report.findings:
        if finding not in tests:
            by_image.setdefault(finding.image, []).append(finding)
    for look in folder.looks:
        own = by_image.get(look.pair.image, [])
        blocking = [each for each in own if _blocks(each, one_colour)]
        if look.pair.image in copies:
            left.append((look.pair.name, copies[look.pair.image].problem))
        elif look.small is None or look.counts is None or blocking:
            left.append((look.pair.name, _reason(look, blocking)))
        elif folder.undecided and IGNORE in look.values:
            left.append((look.pair.name, UNDECIDED))
        else:
            kept.append(look)
    for finding in report.findings:
        alone = finding.image is None and finding.kind in ("unpaired", "annotation")
        if alone and finding.file.is_relative_to(folder.root):
            left.append((finding.file.name, finding.problem))
    return kept, left


def _refuse_useless(folder: Inspection, kept: list[Look], left: list[tuple[str, str]]) -> None:
    """A copy that is empty, or that a fit would refuse, is no repair."""
    missing = f", with {counted(len(left), 'file')} left out, such as {': '.join(left[0])}" if left else ""
    if not kept:
        cure = "Do what check says of every file; nothing was written"
        raise DataError(f"nothing in it could be repaired{missing}", cure=cure, path=folder.root)
    fault = folder.refused(kept)
    if fault is not None:
        problem = f"a repaired copy could not be fitted: {fault.problem}{missing}"
        raise DataError(problem, cure=f"{fault.cure}; nothing was written", path=folder.root)


def _one_colour(folder: Inspection) -> bool:
    """Whether all colour masks of the folder have the same single colour, so that it can only be the one class."""
    colours = frozenset().union(*(look.colours for look in folder.looks))
    return len(colours) == 1 and len(folder.names) == 1 and not folder.annotations.legend.chosen


def _blocks(finding: Finding, one_colour: bool) -> bool:
    """Whether the pair cannot be used because of this."""
    if finding.severity != ERROR or finding.fixable or finding.kind == "leak":
        return False
    return not (finding.kind == "colour-mask" and one_colour)


def _reason(look: Look, blocking: list[Finding]) -> str:
    found = blocking or [each for each in look.findings if each.severity == ERROR]
    return found[0].problem if found else "its mask cannot be read"


def _write(look: Look, folder: Inspection, fixed: Fixed, one_colour: bool) -> None:
    pair, out, legend = look.pair, fixed.folder, folder.annotations.legend
    try:
        pixels = read_image(pair.image, legend.bands, legend.value_range).pixels
        raw, _ = raw_mask(pair, folder.annotations)
        if raw.mask is None or look.header is None:
            raise DataError("its mask cannot be read", cure="")
    except DataError as gone:  # was readable a moment ago
        fixed.left_out.append((pair.name, gone.problem))
        return
    mask, _ = fitted(raw.mask, pixels, look.header, pair)
    changes = [_change(each) for each in look.findings if each.fixable and each.kind != "stray-pixels"]
    if raw.colours and one_colour:
        changes.append(f"the colour became the class {folder.names[0]}")
    clean = cleaned(mask)
    if (stray := int((clean != mask).sum())) > 0:
        mask = clean
        changes.append(f"{counted(stray, 'stray pixel')} taken away")
    if folder.binary:
        mask = _binary(mask)
        changes.append(f"255 became 1, the class {folder.names[0]}")
    suffix = pair.image.suffix.lower()
    shutil.copyfile(pair.image, out / "images" / f"{pair.name}{suffix}")
    write_mask(out / "masks" / f"{pair.name}.png", mask)
    fixed.written += 1
    fixed.changed += [(pair.name, change) for change in changes]


def _change(finding: Finding) -> str:
    done = {
        "size-mismatch": "the mask was brought to the size of its image, nearest pixel",
        "exif-turned": "the mask was turned as its image is",
        "smoothed-mask": "every pixel took the nearest class",
        "lossy-mask": "every pixel took the nearest class",
    }
    return f"{finding.problem}: {done[finding.kind]}"


def _binary(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where(mask == IGNORE, 1, mask).astype(np.uint8)
