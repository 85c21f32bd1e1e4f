"""Finding a release in what was unpacked."""

from __future__ import annotations

from pathlib import Path

import mini_releases
import pytest
from mini_releases import photo, save

from distillfss.bench.releases import RELEASES
from distillfss.bench.releases.base import distinct, locate
from distillfss.errors import DataError


def test_locate_names_what_the_nearest_folder_lacks(tmp_path: Path):
    (tmp_path / "a" / "b" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match="b: holds no masks"):
        locate(tmp_path, "images", "masks")
    (tmp_path / "a" / "b" / "masks").mkdir()
    assert locate(tmp_path, "images", "masks") == tmp_path / "a" / "b"
    for part in ("images", "masks"):
        (tmp_path / "a" / "c" / part).mkdir(parents=True)
    with pytest.raises(DataError, match=r"several folders with images and masks \(a/b, a/c\)"):
        locate(tmp_path, "images", "masks")


def test_a_file_is_not_a_release(tmp_path: Path):
    archive = tmp_path / "kvasir-seg.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DataError, match="Unpack the download and give its folder"):
        RELEASES["kvasir_seg"].look(archive)
    with pytest.raises(DataError, match="there is no such folder"):
        RELEASES["kvasir_seg"].look(tmp_path / "nowhere")


def test_copies_in_one_part_are_a_fault(tmp_path: Path):
    mini_releases.kvasir_seg(tmp_path)
    for folder in ("images", "masks"):
        save(tmp_path / "Kvasir-SEG" / folder / "cju0qkwl35piu0993l0dewei2.png", photo(0, 40, 48))
    with pytest.raises(DataError, match="the name cju0qkwl35piu0993l0dewei2 stands for two pictures"):
        RELEASES["kvasir_seg"].look(tmp_path)
    assert distinct([]) == []
