"""What is there already stays, and what may be out of date is told."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from distillfss.cli import main


@pytest.mark.parametrize("masks", ["native", "png"])
def test_masks_that_are_there_stay_when_something_else_is_asked_for(
    masks: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody may have corrected them."""
    words = ["predict", "model", str(folder), "--out", str(tmp_path / "out"), "--masks", masks, "--json"]
    assert main(words) == 0
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and ".distillfss" not in str(path)]
    assert len(files) >= 4
    for path in files:
        path.write_bytes(b"corrected")
    capsys.readouterr()
    assert main([*words, "--outputs", "mask,overlay,csv"]) in (0, 3)  # a map's overlay is drawn from its mask
    report = json.loads(capsys.readouterr().out)
    assert report["kept"]["mask"] >= 3
    assert "mask" not in {name for name, count in report["files"].items() if count}
    assert [path.read_bytes() for path in files] == [b"corrected"] * len(files)
    assert {"slice.jpg", "stack"} <= {path.name for path in (tmp_path / "out" / "overlays").iterdir()}


def test_images_newer_than_their_masks_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "model", str(folder), "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    assert "if they have changed" not in capsys.readouterr().out
    assert main(words) == 0
    assert "if they have changed" not in capsys.readouterr().out
    later = time.time_ns() + 10**10
    for name in ("map.tif", "slice.dcm"):
        os.utime(folder / name, ns=(later, later))
    assert main(words) == 0
    told = "map.tif, slice.dcm: newer than what was made of them and left alone; "
    assert told + "if they have changed, --overwrite makes it anew" in json.loads(capsys.readouterr().out)["notices"]
    assert main([*words, "--overwrite"]) == 0
    assert "if they have changed" not in capsys.readouterr().out
