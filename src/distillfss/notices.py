"""What there is to tell people beside a result: a sentence to read, and a kind for code to go by.

Code never looks for words in the sentence: those may change.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class NoticeKind(Enum):
    """What a notice is about, where code has to know."""

    OTHER = "other"
    FIRST_ONLY = "first-only"
    """Pages or frames of a file were not read, but for the first."""
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
