"""What a file is, from its first bytes."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file
from rasterio.transform import from_origin

from distillfss.errors import DataError
from distillfss.formats.dispatch import special_handler
from distillfss.io.decode import read_image
from distillfss.io.files import list_images
from distillfss.io.kinds import VIDEO_SUFFIXES, Kind, kind_of, tiff_layout
from distillfss.io.special import special_size

PLACE = {"crs": "EPSG:32633", "transform": from_origin(500000, 5000000, 0.5, 0.5)}


def tiff(path: Path, **profile: object) -> Path:
    profile = {"driver": "GTiff", "width": 40, "height": 30, "count": 3, "dtype": "uint8", **profile}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.zeros((profile["count"], 30, 40), profile["dtype"]))
    return path


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        ({}, Kind.PICTURE),
        ({"count": 1, "dtype": "uint16"}, Kind.PICTURE),
        (PLACE, Kind.RASTER),
        ({**PLACE, "BIGTIFF": "YES"}, Kind.RASTER),
        ({"count": 5}, Kind.RASTER),
        ({"count": 4}, Kind.PICTURE),
        ({"count": 2}, Kind.PICTURE),  # which Pillow takes for grey, and passes over the second
        ({"count": 4, "dtype": "uint16"}, Kind.RASTER),
        ({"count": 4, "dtype": "uint16", "interleave": "band"}, Kind.RASTER),
        ({"count": 3, "dtype": "uint16"}, Kind.RASTER),
        ({"count": 3, "dtype": "uint16", "photometric": "RGB"}, Kind.PICTURE),
        ({"count": 2, "dtype": "uint16"}, Kind.RASTER),
        ({"count": 2, "dtype": "float32"}, Kind.RASTER),
        ({"count": 1, "nodata": 0}, Kind.RASTER),
    ],
)
def test_tiffs(tmp_path: Path, profile: dict[str, object], wanted: Kind) -> None:
    assert kind_of(tiff(tmp_path / "a.bin", **profile)) is wanted  # the content decides, not the name


def test_colours_that_are_called_grey_by_mistake_are_no_measurements(tmp_path: Path) -> None:
    """Bands beside grey are said to be extra; where that is missing, the file is damaged, and refused as before."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((30, 40, 3), np.uint16), photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[262].overwrite(1)
    assert kind_of(path) is Kind.PICTURE
    with pytest.raises(DataError, match="starts like a TIFF file but cannot be read"):
        read_image(path)


def test_pages_make_a_stack_but_overviews_and_masks_do_not(tmp_path: Path) -> None:
    pages = [Image.new("L", (9, 7), value) for value in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    assert kind_of(tmp_path / "stack.tif") is Kind.STACK
    with (tmp_path / "stack.tif").open("rb") as file:
        layout = tiff_layout(file)
    assert layout is not None
    assert (layout.width, layout.height, layout.bands, layout.bits, layout.pages) == (9, 7, 1, 8, 3)
    with rasterio.open(tiff(tmp_path / "plain.tif"), "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert kind_of(tmp_path / "plain.tif") is Kind.PICTURE


def test_dicom_with_and_without_suffix(tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("MR_small.dcm")))
    for name in ("IM0001", "1.2.840.7", "scan.dcm", "notes.txt"):
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "README").write_text("no image")
    assert [path.name for path in list_images(tmp_path)] == ["1.2.840.7", "IM0001", "scan.dcm"]
    assert kind_of(tmp_path / "notes.txt") is Kind.DICOM
    assert kind_of(tmp_path / "README") is Kind.PICTURE


def test_videos_are_listed_only_where_they_are_wanted(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.MOV", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in list_images(tmp_path)] == ["c.png"]
    assert [path.name for path in list_images(tmp_path, also=VIDEO_SUFFIXES)] == ["a.mp4", "b.MOV", "c.png"]
    assert kind_of(tmp_path / "b.MOV") is Kind.VIDEO


def test_whatever_cannot_be_read_is_left_to_the_picture_reader(tmp_path: Path) -> None:
    loop = struct.pack("<2sHIHI", b"II", 42, 8, 0, 8)  # a directory without entries that names itself as the next one
    (tmp_path / "loop.tif").write_bytes(loop)
    (tmp_path / "short.tif").write_bytes(b"II*\0\x08")
    (tmp_path / "empty").write_bytes(b"")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    for name in ("loop.tif", "short.tif", "empty", "pipe", "missing", "."):
        assert kind_of(tmp_path / name) is Kind.PICTURE
        assert special_handler(tmp_path / name) is None


def test_sizes_of_files_that_pillow_does_not_read(tmp_path: Path) -> None:
    assert special_size(tiff(tmp_path / "map.tif", **PLACE)) == (30, 40)
    assert special_size(tiff(tmp_path / "deep.tif", count=8, dtype="float32", BIGTIFF="YES")) == (30, 40)
    assert special_size(Path(get_testdata_file("JPEG2000.dcm"))) == (1024, 256)
    assert special_size(tiff(tmp_path / "picture.tif")) is None
    (tmp_path / "no.dcm").write_bytes(b"\0" * 200)
    with pytest.raises(DataError, match=r"no\.dcm: holds no image"):
        special_size(tmp_path / "no.dcm")
