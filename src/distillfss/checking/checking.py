"""``check``: a folder of annotated images in, every fault out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from distillfss.checking.duplicates import repeated
from distillfss.checking.findings import KINDS, Finding
from distillfss.checking.folder import inspect, unlearnable
from distillfss.checking.report import Report
from distillfss.io.annotations import AUTO
from distillfss.same_pictures import small_picture

CheckProgress = Callable[[str, int, int], None]
"""Told the phase, images done and images in all."""


def check(
    folder: str | Path,
    test: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    format: str = AUTO,
    size: int = 384,
    progress: CheckProgress | None = None,
) -> Report:
    """Look for every fault of a folder of annotated images.

    Parameters
    ----------
    folder
        Images with annotation in any format of ``io.annotations.FORMATS``.
    test
        Images to test on, annotated as well: looked through likewise, and for pictures that are in ``folder``.
    classes, format
        As for ``SupportSet.from_folder``.
    size
        Working resolution of the fit, in pixels.
    progress
        Told how far it is.

    Raises
    ------
    DataError
        A folder as such cannot be read. What is wrong with its files is in the report.
    """
    started = time.perf_counter()
    tell = progress if progress is not None else lambda phase, done, total: None
    support = inspect(Path(folder), classes, format, size, small_picture, lambda i, n: tell("looking", i, n))
    other = None
    if test is not None:
        other = inspect(Path(test), classes, format, size, small_picture, lambda i, n: tell("looking at tests", i, n))
        other.findings = [_left_alone(each, other.root) for each in other.findings]
    tell("comparing", 0, 0)
    support.findings += unlearnable(support)  # test images may show nothing
    found = [*support.findings, *([] if other is None else other.findings)]
    found += repeated(support.looks, [] if other is None else other.looks)
    order = list(KINDS)

    def place(finding: Finding) -> tuple[int, str, str]:
        return order.index(finding.kind), str(finding.file), finding.problem

    return Report(support, other, sorted(found, key=place), time.perf_counter() - started)


def _left_alone(finding: Finding, root: Path) -> Finding:
    """A finding among the test images, of which no repaired copy is written."""
    if not finding.fixable:
        return finding
    return replace(finding, fixable=False, cure=f"{finding.cure} (check {root} by itself)")
