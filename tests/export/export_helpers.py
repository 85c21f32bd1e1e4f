"""What the tests of the export share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from helpers import cli_environment
from scenes import square_pair

WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("no torch here")

sys.meta_path.insert(0, NoTorch())
"""


def picture(height: int, width: int, seed: int = 7) -> np.ndarray:
    """Squares on noise, uint8 (H, W, 3)."""
    return square_pair(seed, (height, width), 3)[0]


def run_without_torch(code: str, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python code in a process that cannot import torch."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=cli_environment(),
        timeout=120,
    )
