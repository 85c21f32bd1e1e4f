"""A small arena: folders of discs, methods of the user's own, rows of results made by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers import disc_pair, write_pair

FAKES = Path(__file__).parent / "fake_methods.py"


def make_arena(root: Path, datasets: Sequence[str] = ("discs",), count: int = 10) -> Path:
    """``root/data`` with data sets of discs, and the fake methods as the module ``mine`` in ``root``."""
    for start, name in enumerate(datasets):
        folder = root / "data" / name
        for number in range(count):
            write_pair(folder, f"disc{number:03d}", *disc_pair(1000 * start + number))
        meta = {"classes": ["background", "disc"], "title": f"Discs {start}"}
        (folder / "meta.json").write_text(json.dumps(meta))
    shutil.copy(FAKES, root / "mine.py")
    return root


def calls(root: Path, what: str = "begins") -> list[str]:
    """What the fake methods noted, without the first word and the process, in order."""
    return [line.removeprefix(f"{what} ").split(" pid ")[0] for line in _lines(root) if line.startswith(what)]


def processes(root: Path) -> list[int]:
    """Numbers of the processes in which fits began."""
    return [int(line.split(" pid ")[1]) for line in _lines(root) if line.startswith("begins")]


def _lines(root: Path) -> list[str]:
    path = root / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []


def rows_of(results: Path) -> list[dict[str, Any]]:
    """Every line of ``results.jsonl`` that is one."""
    found = []
    for line in (results / "results.jsonl").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def make_row(
    dataset: str = "discs",
    method: str = "bright",
    shots: int = 5,
    seed: int = 0,
    iou: float | None = 0.5,
    **more: Any,
) -> dict[str, Any]:
    """A row of results; ``iou=None`` is a cell that failed."""
    settings = {"seed": seed, "backbone": "efficientnet_lite0", "size": 384, "device": "auto", "effort": 1.0}
    row: dict[str, Any] = {
        "key": f"{dataset}-{method}-{shots}-{seed}-{more.get('support', 'random')}",
        "dataset": dataset,
        "fingerprint": "f" * 64,
        "method": method,
        "settings": settings | more.pop("settings", {}),
        "identity": {},
        "protocol": "locked",
        "support": "random",
        "shots": shots,
        "seed": seed,
        "unlabeled": 0,
        "support_names": [f"s{number}" for number in range(shots)],
        "unlabeled_names": [],
        "test_names": ["t0", "t1", "t2"],
        "versions": {"distillfss": "0.1.0", "torch": "2.13.0"},
        "versions_all": {"distillfss": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        "status": "done",
        "commit": "abcdef0123",
        "machine": "x86_64, 2 cores",
        "threads": 1,
        "peak_mb": 500,
        "peak_gpu_mb": 0,
        "masks": 0,
        "when": "2026-11-23T08:00:00+00:00",
    }
    if iou is None:
        row |= {"status": "failed", "error": {"kind": "ValueError", "message": "the method is broken"}}
    else:
        row["seconds"] = {"fit": 10.0 * (seed + 1), "predict": 1.0, "per_image": 0.02}
        row["result"] = {
            "foreground_iou_384": iou,
            "foreground_iou": iou + 0.01,
            "baseline": {"prediction": "every pixel disc", "foreground_iou_384": 0.1, "foreground_iou": 0.1},
            "skipped": [],
            "notices": [],
            "classes": {"disc": {"iou_384": iou, "iou": iou + 0.01}},
            "images": [{"image": name, "iou_384": iou, "iou": iou} for name in row["test_names"]],
        }
    return row | more
