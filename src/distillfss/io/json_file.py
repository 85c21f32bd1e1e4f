"""Reading JSON files of strangers: bounded, strict, and with errors that name the file."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from distillfss.errors import DataError

MAX_BYTES = 256 * 2**20
"""Largest JSON file: annotations of some ten thousand images."""

_REPAIR = "Repair it, or remove it"


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """The content of a JSON file (UTF-8, with or without a byte order mark).

    Parameters
    ----------
    path
        The file.
    max_bytes
        Largest file that is read.

    Raises
    ------
    DataError
        It cannot be read, is no ordinary file, too large, nested too deeply, or no JSON. NaN and infinity are no JSON,
        and of a key that stands twice in an object nobody can say which is meant.
    FileNotFoundError
        There is none: that may be fine, so it is the caller's to say.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever, /dev/zero never ends
                raise DataError("is not an ordinary file", cure=_REPAIR, path=path)
            if status.st_size > max_bytes:
                problem = f"has {status.st_size / 2**20:.0f} MB, the limit for this JSON is {max_bytes / 2**20:.0f} MB"
                raise DataError(problem, cure="Split it, or check that it is the right file", path=path)
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise DataError(f"cannot be read ({reason})", cure="Allow reading it, or remove it", path=path) from exc
    try:
        return strict_json(content.decode("utf-8-sig"))
    except ValueError as exc:
        reason = " ".join(str(exc).split())[:200]
        raise DataError(f"is not valid JSON ({reason})", cure=_REPAIR, path=path) from exc


def strict_json(text: str) -> Any:
    """Parse JSON as ``read_json`` does. Raises ``ValueError``, also for what is nested too deeply."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:50]!r} stands there twice")
    return found
