"""Settings that come from Python code: plain values of the kind of their defaults, or refused by name."""

from __future__ import annotations

import math
import os
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from distillfss.errors import UsageError


def make_plain(settings: Any) -> None:
    """Give the fields of a frozen dataclass values that JSON, PyTorch and file formats all take.

    Numbers of NumPy become Python's and paths text: what is kept of settings would fail otherwise when all the work is
    done. The kind of a field is that of its default; None as a default stands for optional text.

    Raises
    ------
    UsageError
        Naming a field whose value is of another kind, or not finite.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.default is None and value is None:
            continue
        try:
            plain = _plain(field.default, value)
        except _OfAnotherKindError as wanted:
            raise UsageError(f"{field.name} is {value!r}", cure=f"Give {wanted}") from None
        object.__setattr__(settings, field.name, plain)


class _OfAnotherKindError(Exception):
    """Its text says what kind was wanted."""


def _plain(default: Any, value: Any) -> Any:
    if isinstance(default, bool):
        if value not in (True, False):
            raise _OfAnotherKindError("True or False")
        return bool(value)
    if isinstance(default, int):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise _OfAnotherKindError("a whole number")
        return int(value)
    if isinstance(default, float):
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise _OfAnotherKindError("a finite number")
        return float(value)
    if isinstance(default, str | None):
        text = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(text, str):
            raise _OfAnotherKindError("a text")
        return text
    return value
