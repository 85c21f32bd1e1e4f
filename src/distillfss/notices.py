"""What there is to tell people beside a result: a sentence to read, and a kind for code to go by.

Code never looks for words in the sentence: those may change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from distillfss.wording import counted

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class NoticeKind(Enum):
    """What a notice is about, where code has to know."""

    OTHER = "other"
    FIRST_ONLY = "first-only"
    """Pages or frames of a file were not read, but for the first."""
    CONVERTED = "converted"
    """Values of a picture were changed so that they are 8-bit RGB."""
    TURNED = "turned"
    """A picture was turned as its EXIF orientation says."""
    NEVER_FOUND = "never-found"
    """A class has no pixel in any mask; no news of an extension, whose model may know the class already."""


@dataclass(frozen=True)
class Notice:
    """One thing that was converted or assumed: ``text`` in one line, and its ``kind``."""

    text: str
    kind: NoticeKind = NoticeKind.OTHER


def as_notice(said: Notice | str) -> Notice:
    """A bare sentence as a notice of no particular kind."""
    return said if isinstance(said, Notice) else Notice(said)


def texts(notices: tuple[Notice, ...]) -> tuple[str, ...]:
    """What people read."""
    return tuple(notice.text for notice in notices)


def once_each(said: Sequence[str]) -> list[str]:
    """What is said of one file after the other, once: of the first, and how many more it holds of, with other numbers.

    Sentences about a file begin with its name and a colon; others stay as they are.
    """
    alike: dict[str, list[str]] = {}
    for text in said:
        file, colon, what = text.partition(": ")
        alike.setdefault(_NUMBER.sub("#", what) if colon and "." in file else text, []).append(text)
    return [_likewise(first, len(more)) for first, *more in alike.values()]


class Alike:
    """As ``once_each``, of any number of files, told one after the other: only the first of each kind is kept."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def add(self, file: str, what: str) -> None:
        """Something is said of a file."""
        key = _NUMBER.sub("#", what)
        first, count = self._found.get(key, (f"{file}: {what}", 0))
        self._found[key] = first, count + 1

    @property
    def lines(self) -> list[str]:
        """What people read, a line for each kind."""
        return [_likewise(first, count - 1) for first, count in self._found.values()]


def _likewise(first: str, more: int) -> str:
    return f"{first} (and {counted(more, 'more image')} likewise)" if more else first
