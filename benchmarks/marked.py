"""Tables that a script keeps up to date inside a page: everything between two comments of its own."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def write(page: Path, name: str, text: str) -> None:
    """Put ``text`` between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``, added as the last lines if missing."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    if begin not in before or end not in before:
        before = f"{before.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    head, rest = before.split(begin, 1)
    _, tail = rest.split(end, 1)
    page.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(threads: int) -> str:
    """Processor, threads, versions and how busy the machine is."""
    model = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "torch"))
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, {threads} thread{'s' if threads > 1 else ''}, load {load:.1f}; {packages}"
