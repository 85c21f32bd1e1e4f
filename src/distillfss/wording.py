"""Words for people."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """``1 image``, ``5 images``."""
    return f"{number} {what}{'s' * (number != 1)}"
