"""A folder with all kinds of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import BrightnessSegmenter, disc_pair
from PIL import Image
from pydicom.data import get_testdata_file
from special_files import write_map


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmenter: BrightnessSegmenter) -> Path:
    """A picture, a map, a slice and a stack, and ``segmenter`` as the model of every file."""
    monkeypatch.setattr("distillfss.cli.predict.load_model", lambda path, device, show: segmenter)
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(disc_pair(0)[0]).save(folder / "picture.png")
    write_map(folder / "map.tif", disc_pair(1)[0])
    (folder / "slice.dcm").write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    pages = [Image.fromarray(disc_pair(seed)[0]) for seed in (2, 3)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    return folder
