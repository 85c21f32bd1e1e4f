"""distillfss: from a handful of annotated images to a small, fast, support-free segmentation model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["FitConfig", "Segmenter", "SupportSet", "__version__", "evaluate", "extend", "fit"]

if TYPE_CHECKING:
    from distillfss.config import FitConfig
    from distillfss.evaluation import evaluate
    from distillfss.extending import extend
    from distillfss.fitting import fit
    from distillfss.segmenter import Segmenter
    from distillfss.support import SupportSet

# PyTorch's threads spin while they wait for each other. On a machine with anything else to do they take the processor
# from the very thread they wait for: a fit beside one busy process was 20 times slower. Spin briefly, then sleep.
# GNU's OpenMP library reads this once, when PyTorch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# torch takes a second to import; `distillfss --help` and a typo should not wait for it.
_HOMES = {
    "FitConfig": "distillfss.config",
    "Segmenter": "distillfss.segmenter",
    "SupportSet": "distillfss.support",
    "evaluate": "distillfss.evaluation",
    "extend": "distillfss.extending",
    "fit": "distillfss.fitting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'distillfss' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
