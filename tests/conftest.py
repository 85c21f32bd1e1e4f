"""Fixtures several tests share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from helpers import BrightnessSegmenter, cli_command, cli_environment, disc_pair, write_pair

# On few cores with several processes, as here, one thread each is fastest. Read when PyTorch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def hears_ctrl_c() -> Iterator[None]:
    """A process started by a script in the background ignores Ctrl-C, and so would those that tests start."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture
def segmenter() -> BrightnessSegmenter:
    return BrightnessSegmenter()


@pytest.fixture
def make_labelled(tmp_path: Path) -> Callable[..., Path]:
    """``make_labelled(name, count, classes=["disc"])`` writes a labelled folder of discs and returns it."""

    def make(name: str = "labelled", count: int = 3, classes: Sequence[str] | None = ("disc",), seed: int = 0) -> Path:
        folder = tmp_path / name
        for number in range(count):
            write_pair(folder, f"disc{number:03d}", *disc_pair(seed + number))
        if classes is not None:
            (folder / "meta.json").write_text(json.dumps({"classes": ["background", *classes]}))
        return folder

    return make


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a process in an empty folder; ``run_cli("doctor", "--json")``."""

    def run(*words: str | Path, cwd: Path = tmp_path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            cli_command(*words), capture_output=True, text=True, cwd=cwd, timeout=timeout, env=cli_environment()
        )

    return run
