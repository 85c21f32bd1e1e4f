"""Images without annotation: which ones, how large, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distillfss.errors import DataError
from distillfss.io.faults import SeveralFaultsError
from distillfss.preprocess import at_working_size
from distillfss.support import at_most
from distillfss.unlabeled import MOST, spread, working_images


def test_a_hundred_at_most_evenly_spread():
    assert MOST == 100
    assert spread(list(range(7))) == list(range(7))
    assert spread(list(range(250)))[:5] == [0, 2, 5, 7, 10]
    assert len(spread(list(range(250)))) == 100
    chosen = spread(list(range(10_050)))
    assert len(set(chosen)) == 100
    assert {b - a for a, b in pairwise(chosen)} == {100, 101}


def test_folders_and_arrays_give_the_same_at_working_size(tmp_path: Path):
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, shape, dtype=np.uint8) for shape in ((300, 200, 3), (40, 50, 3))]
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    from_arrays = working_images(images, 96)
    files = [tmp_path / "0.png", str(tmp_path / "1.png")]
    given = (tmp_path, str(tmp_path / "*.png"), files, [files[0], images[1]], [images[0], Image.open(files[1])])
    for found in (working_images(each, 96) for each in given):
        assert len(found) == 2
        for one, two, image in zip(found, from_arrays, images, strict=True):
            assert one.dtype == torch.uint8
            assert torch.equal(one, two)
            assert torch.equal(one.float(), at_working_size(image, 96))


def test_files_are_read_as_the_support_was(tmp_path: Path):
    rasterio = pytest.importorskip("rasterio")
    bands = np.random.default_rng(1).integers(0, 4000, (4, 64, 64), dtype=np.uint16)
    place = rasterio.transform.from_origin(500_000, 4_600_000, 10, 10)
    how = {"width": 64, "height": 64, "count": 4, "dtype": "uint16", "crs": "EPSG:32633", "transform": place}
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", **how) as file:
        file.write(bands)
    wanted = bands[[3, 2, 1]] / 4000 * 255
    for given in (tmp_path, [tmp_path / "scene.tif"]):
        (found,) = working_images(given, 64, {"bands": [4, 3, 2], "range": [0, 4000]})
        assert np.abs(found.numpy() - wanted).max() <= 1


def test_grey_arrays_become_rgb():
    grey = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    (image,) = working_images([grey], 64)
    assert image.shape[0] == 3
    assert torch.equal(image[0], image[2])


def test_files_of_a_folder_that_cannot_be_read_are_left_out_and_told(tmp_path: Path):
    good = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("b.png", "d.png"):
        Image.fromarray(good).save(tmp_path / name)
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "c.png").write_text("no picture")
    told: list[str] = []
    for given in (tmp_path, f"{tmp_path}/*.*"):
        found = working_images(given, 64, left_out=told.append)
        assert [image.numpy().tolist() for image in found] == [good.transpose(2, 0, 1).tolist()] * 2
    assert told[0] == told[1]
    assert told[0].startswith(f"2 of 4 images without annotation, such as {tmp_path / 'a.jpg'}: ")
    with pytest.raises(DataError, match=r"c\.png"):  # a sequence is as its maker wants it
        working_images([tmp_path / "b.png", tmp_path / "c.png"], 64)
    for name in ("b.png", "d.png"):
        (tmp_path / name).unlink()
    with pytest.raises(SeveralFaultsError) as caught:
        working_images(tmp_path, 64)
    assert [fault.path for fault in caught.value.faults] == [tmp_path / "a.jpg", tmp_path / "c.png"]


def test_refusals_name_what_is_wrong(tmp_path: Path):
    with pytest.raises(DataError, match="no images without annotation"):
        working_images([], 96)
    with pytest.raises(DataError, match=r"unlabeled\[1\]: "):
        working_images([np.zeros((9, 9, 3), np.uint8), np.zeros((9,), np.uint8)], 96)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    for given in (tmp_path, tmp_path / "bad.png", [tmp_path / "bad.png"]):
        with pytest.raises(DataError, match=r"bad\.png"):
            working_images(given, 96)
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        working_images([str(tmp_path / "none.png")], 96)


def test_what_the_support_shows_is_left_out(tmp_path: Path):
    """A folder of raw images mostly holds those that were annotated, too."""
    random = np.random.default_rng(3)
    images = [random.integers(0, 256, (40, 60, 3)).astype(np.uint8) for _ in range(5)]
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    told: list[str] = []
    found = working_images(tmp_path, 48, left_out=told.append, annotated=images[1:3])
    wanted = working_images([images[0], *images[3:]], 48)
    assert len(found) == 3
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert told == ["2 of 5 images without annotation, which the support shows with it"]
    assert len(working_images(images, 48, annotated=[images[0][:39]])) == 5
    with pytest.raises(DataError, match="all of the images without annotation are annotated in the support"):
        working_images(images[:2], 48, annotated=images)


def test_large_photographs_are_known_though_the_support_shrinks_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("distillfss.support.MAX_KEPT_PIXELS", 1000)
    large = np.random.default_rng(4).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    kept, _ = at_most(large, large[..., 0], 1000)
    assert kept.shape != large.shape
    other = np.zeros((9, 9, 3), np.uint8)
    assert len(working_images([large, other], 48, annotated=[kept])) == 1
