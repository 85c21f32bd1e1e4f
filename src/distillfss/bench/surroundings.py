"""What a measured figure was measured on, with and beside: versions, commit, machine, peak memory, other work."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from distillfss import __version__

PACKAGE = Path(__file__).resolve().parents[1]
STATUS = Path("/proc/self/status")
STAT = Path("/proc/stat")
BUSY = 0.5
"""Cores that other work takes, from which on we say that the machine was not quiet."""
LEAST_SECONDS = 1.0
"""The kernel counts in hundredths of a second: of less time nothing can be said."""


def deciding_versions() -> dict[str, str]:
    """The versions that decide a result, and so belong to the identity of a cell."""
    return {"distillfss": __version__, "torch": version("torch")}


def versions() -> dict[str, str]:
    """The same with what else is worth knowing."""
    return {**deciding_versions(), "numpy": version("numpy"), "python": platform.python_version()}


@functools.cache
def commit() -> str:
    """Commit of the checkout the package is in, with ``-dirty`` if files differ from it; empty if it is in none."""
    top = _git("rev-parse", "--show-toplevel")
    # an environment inside some other project's checkout must not pass for ours
    if not top or (Path(top) / "src" / "distillfss").resolve() != PACKAGE:
        return ""
    return _git("describe", "--always", "--dirty", "--match=", "--abbrev=10")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(PACKAGE), *words], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> str:
    """The kind of machine, without its name: ``x86_64, Intel(R) Xeon(R) CPU @ 2.20GHz, 2 cores``."""
    return ", ".join([platform.machine(), *_processor(), f"{os.cpu_count()} cores", *_gpu()])


def _processor() -> list[str]:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return []
    return [found[1].strip()] if found else []


def _gpu() -> list[str]:
    # no import for this alone: a process that never needed PyTorch used no GPU either
    torch = sys.modules.get("torch")
    return [torch.cuda.get_device_name()] if torch is not None and torch.cuda.is_available() else []


def peak_megabytes() -> int:
    """Most memory this process ever held, in MiB.

    On Linux from the kernel's own line: what ``getrusage`` says of a child begins at its parent's memory.
    """
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found[1]) // 1024
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 2**20 if sys.platform == "darwin" else peak // 1024


def peak_gpu_megabytes() -> int:
    """Most memory PyTorch's tensors held on the GPU, in MiB; 0 without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.max_memory_allocated()) // 2**20


class Beside:
    """Measures the other work on the machine, from when this is made.

    Not by the load average, in which the cell before and our own threads would count as well.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._before = seconds_of_others()

    def load(self) -> float | None:
        """Cores that other processes kept busy on average; None where nobody counts them, or after too short a time."""
        seconds = time.perf_counter() - self._started
        now = seconds_of_others()
        if now is None or self._before is None or seconds < LEAST_SECONDS:
            return None
        return round(max(0.0, (now - self._before) / seconds), 2)


def seconds_of_others() -> float | None:
    """Processor seconds that all but this process and its ended children took so far; None but on Linux."""
    try:
        words = STAT.read_text().partition("\n")[0].split()
        user, nice, system, _, _, *interrupts = map(int, words[1:9])
    except (OSError, ValueError):
        return None
    ticks = user + nice + system + sum(interrupts)
    if not ticks:  # a sandbox that counts nothing
        return None
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])
