"""Where and how fast: choice of device, and one setting of the C library that halves the time on a CPU."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import TYPE_CHECKING

from distillfss.errors import UsageError

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 1 << 30


def resolve_device(name: str) -> torch.device:
    """The device meant by ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises
    ------
    UsageError
        If it was asked for by name and is not there.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available.get(name, False):
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise UsageError(f"device {name!r} is not available here", cure=f"Use --device auto, or one of: {there}")
    return torch.device(name)


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep freed tensors' memory instead of handing it back and faulting it in again page by page.

    Feature maps are large and short-lived; without this, a third of a forward pass on the CPU is page faults. Affects
    the whole process, so only ``fit`` and the command line ask for it.

    Returns
    -------
    bool
        Whether the C library took the setting (glibc on Linux only).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES))
