"""Methods with a knob turned, for ablations: ``distill@jitter=0`` is ``distill`` without jitter, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from distillfss.bench.methods.base import Method, MethodSettings
from distillfss.config import FitConfig
from distillfss.errors import UsageError

MARK = "@"
OWN = frozenset({field.name for field in fields(MethodSettings)} - {"init", "effort"})
"""Knobs that all methods of a run share."""


def base_of(name: str) -> str:
    """``distill`` of ``distill@jitter=0,map_weight=0``; a name without changes as it is.

    Of a report's label too: ``distill (size 256)`` of ``distill@jitter=0 (size 256)``.
    """
    return re.sub(f"{MARK}[^ ]*", "", name)


def changes_of(name: str) -> str:
    """``jitter=0, map_weight=0`` of ``distill@jitter=0,map_weight=0``."""
    return name.partition(MARK)[2].partition(" ")[0].replace(",", ", ")


def varied(found: Callable[..., Method], name: str) -> Callable[[MethodSettings], Method]:
    """The method of a name with changes, given the class of its base.

    Raises
    ------
    UsageError
        If the base has no knobs of a fit, a change is not ``knob=value`` with a knob and a value of ``FitConfig``, or a
        knob is turned twice.
    """
    if not hasattr(found, "knobs"):
        cure = "Turn those of distill, as in distill@jitter=0"
        raise UsageError(f"{base_of(name)} has no knobs to turn ({name})", cure=cure)
    changes: dict[str, Any] = {}
    for part in changes_of(name).split(","):
        knob, value = _change(name, part)
        if knob in changes:
            raise UsageError(f"{knob} is turned twice ({name})", cure="Turn it once; two methods are two names")
        changes[knob] = value

    def make(settings: MethodSettings) -> Method:
        method = found(settings, changes)
        method.name = name
        return method

    return make


def _change(name: str, text: str) -> tuple[str, Any]:
    """``("jitter", 0.0)`` of ``jitter=0``."""
    known = {field.name: field.default for field in fields(FitConfig) if field.name not in OWN}
    knob, _, value = (part.strip() for part in text.partition("="))
    if knob not in known:
        raise UsageError(f"there is no knob {knob!r} to turn ({name})", cure=f"Choose from {', '.join(known)}")
    return knob, _like(known[knob], value, f"{knob} is {value!r} ({name})")


def _like(default: Any, value: str, problem: str) -> Any:
    """The value in the type of the knob's default."""
    if isinstance(default, bool):
        if value not in ("yes", "no"):
            raise UsageError(problem, cure="Write yes or no")
        return value == "yes"
    try:
        return value if default is None else type(default)(value)
    except ValueError:
        raise UsageError(problem, cure=f"Write a number like the default, {default}") from None
