"""Names of classes: when two are the same to the eye, and when they nearly are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_BETWEEN = re.compile(r"(?<=[^\W_])[\W_]+(?=[^\W_])")
"""What stands between two letters or digits."""


def class_name(text: str) -> str:
    """A name as it is kept and compared: macOS writes é as two characters and other systems as one."""
    return unicodedata.normalize("NFC", text).strip()


def alike(name: str, names: Iterable[str]) -> str | None:
    """Which of ``names`` differs from this one by no more than capitals and what stands between words."""
    return next((each for each in names if each != name and _plain(each) == _plain(name)), None)


def perhaps_one(names: Sequence[str]) -> list[tuple[str, str]]:
    """What to say of classes that may be meant as one: for each the problem and its cure."""
    pairs = ((alike(name, names[:place]), name) for place, name in enumerate(names))
    return [
        (
            f"{first} and {name} differ only in capitals or in what stands between words",
            "Name them alike if they are one class, or choose with --classes",
        )
        for first, name in pairs
        if first is not None
    ]


def _plain(text: str) -> str:
    # once more after folding, which may take a letter apart
    return unicodedata.normalize("NFC", _BETWEEN.sub("", text).casefold())
