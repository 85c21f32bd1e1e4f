"""What a stranger's file says about itself: bounded, strict, printable; read without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillfss.io.json_file import strict_json

MAX_DESCRIPTION = 2**20
"""Characters of JSON in which a file of ours describes itself."""


def description(text: str) -> dict[str, Any]:
    """Strict JSON of bounded length: no NaN, no key twice. Raises ``ValueError``."""
    if len(text) > MAX_DESCRIPTION:
        raise ValueError(f"{len(text)} characters")
    found = strict_json(text)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def text_of(raw: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A short, printable text of a description. Raises ``ValueError`` or ``KeyError``."""
    value = raw[key] if default is None else raw.get(key, default)
    if not isinstance(value, str) or not value.isprintable() or len(value) > 500:
        raise ValueError(f"{key} is no printable text")
    return value


def printable(text: str) -> str:
    """What is shown of a stranger's text: one line, no control characters, not longer than a line or two."""
    folded = " ".join(text.split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in folded)
    return shown if len(shown) <= 150 else f"{shown[:150]}..."
