"""What ``check`` found, for people and machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillfss.checking.findings import ERROR, KINDS, SEVERITIES, Finding
from distillfss.io import pairs

if TYPE_CHECKING:
    from distillfss.checking.fixing import Fixed
    from distillfss.checking.folder import Inspection

SCHEMA = 1
"""Raised when a field of the JSON document changes its meaning or goes; new fields may come without."""


@dataclass(eq=False)
class Report:
    """Everything found in a folder, and in the folder of test images if one was given.

    Attributes
    ----------
    support, test
        The folders.
    findings
        Sorted by kind in the order of ``KINDS``, then by file.
    seconds
        How long it took.
    fixed
        What became of it where a repaired copy was written.
    """

    support: Inspection
    test: Inspection | None
    findings: list[Finding]
    seconds: float = 0.0
    fixed: Fixed | None = field(default=None)

    @property
    def ok(self) -> bool:
        """No errors; warnings and notes are fine."""
        return not any(finding.severity == ERROR for finding in self.findings)

    def by_kind(self) -> dict[str, list[Finding]]:
        """Kinds that were found, the worst first."""
        order = sorted(KINDS, key=lambda kind: SEVERITIES.index(KINDS[kind].severity))
        groups = {kind: [each for each in self.findings if each.kind == kind] for kind in order}
        return {kind: group for kind, group in groups.items() if group}

    def summary(self) -> dict[str, int]:
        """Findings by severity."""
        counts = Counter(finding.severity for finding in self.findings)
        return {severity: counts[severity] for severity in SEVERITIES}

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, see ``docs/check.md``."""
        return {
            "schema": SCHEMA,
            "ok": self.ok,
            "summary": self.summary(),
            "support": _folder(self.support),
            "test": None if self.test is None else _folder(self.test),
            "kinds": {
                kind: {
                    "severity": KINDS[kind].severity,
                    "title": KINDS[kind].title,
                    "count": len(group),
                    "fixable": sum(finding.fixable for finding in group),
                }
                for kind, group in self.by_kind().items()
            },
            "findings": [finding.to_dict() for group in self.by_kind().values() for finding in group],
            "fixed": None if self.fixed is None else self.fixed.to_dict(),
            "seconds": round(self.seconds, 2),
        }


def _folder(folder: Inspection) -> dict[str, Any]:
    return {
        "folder": str(folder.root),
        "format": folder.annotations.format,
        "images": len(folder.looks),
        "classes": folder.classes(),
        "notices": list(folder.annotations.notices),
    }


def where(finding: Finding, root: Path) -> str:
    """The file as people read it, and the image where the file is about many."""
    file = relative(finding.file, root)
    return file if finding.image is None else pairs.with_image(Path(file), finding.image)


def relative(path: Path, root: Path) -> str:
    """The path as people read it inside a folder."""
    return str(path.relative_to(root)) if path != root and path.is_relative_to(root) else str(path)
