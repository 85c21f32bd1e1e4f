"""Libraries that only annotation formats need, loaded when the first file needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from distillfss.errors import UsageError


def needed(module: str, what: str) -> Any:
    """Import a module of the extra ``annotations``. Raises ``UsageError`` with the cure if it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise UsageError(
            f"reading {what} needs {module.partition('.')[0]}",
            cure="Install it: pip install 'distillfss[annotations]'",
        ) from None
