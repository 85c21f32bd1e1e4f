"""Folders and addresses that images come from and results go to."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest
from helpers import BrightnessSegmenter, disc_pair
from PIL import Image

from distillfss.errors import DataError, OutputError, UsageError
from distillfss.io.masks import read_mask
from distillfss.places import Address, Folder, Place, RemoteImage, as_file, find_images, open_place
from distillfss.predicting import predict_images

pytest.importorskip("pyarrow", reason="pip install 'distillfss[ray]'")


@pytest.fixture(params=["folder", "file://", "local://", "memory://"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    root = f"{request.param}/{uuid.uuid4()}" if request.param == "memory://" else f"{request.param}{tmp_path}/out"
    return open_place(str(tmp_path / "out") if request.param == "folder" else root)


def test_every_place_keeps_what_is_written(place: Place) -> None:
    place.make_folders(["", "a/b"])
    assert (place.names(""), place.names("nowhere")) == ([], [])
    place.write("a/b/x.txt", b"one")
    place.write("a/b/x.txt", b"two")
    place.write("y.txt", b"")
    assert (place.read("a/b/x.txt"), place.read("y.txt")) == (b"two", b"")
    assert (place.names("a/b"), place.names("")) == (["x.txt"], ["y.txt"])
    assert (place.exists("a/b/x.txt"), place.exists("a/b/z.txt"), place.exists("no/x.txt")) == (True, False, False)
    place.remove("y.txt")
    place.remove("y.txt")
    assert place.names("") == []


def test_kinds_of_places(tmp_path: Path) -> None:
    assert isinstance(open_place(tmp_path), Folder)
    assert isinstance(open_place(f"file://{tmp_path}/with%20space"), Folder)
    assert open_place(f"file://{tmp_path}/with%20space").path == tmp_path / "with space"  # type: ignore[attr-defined]
    assert isinstance(open_place("memory://bucket"), Address)
    with pytest.raises(UsageError, match="nonsense://x"):
        open_place("nonsense://x")


def test_images_at_an_address(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"bytes of " + name.encode())
    (tmp_path / "folder.png").mkdir()
    found = find_images(f"local://{tmp_path}")
    assert [str(image) for image in found] == [f"local://{tmp_path}/a.jpg", f"local://{tmp_path}/b.PNG"]
    with as_file(found[1]) as file:
        assert (file.name, file.read_bytes()) == ("b.PNG", b"bytes of b.PNG")
    assert not file.exists()
    assert find_images(f"local://{tmp_path}/a.jpg") == [RemoteImage(f"local://{tmp_path}", "a.jpg")]
    assert find_images([f"file://{tmp_path}/a.jpg"]) == [tmp_path / "a.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures there"):
        find_images(f"local://{tmp_path}/empty")
    with pytest.raises(DataError, match="cannot be listed"):
        find_images(f"local://{tmp_path}/nowhere")
    with pytest.raises(DataError, match="cannot be fetched"), as_file(RemoteImage(f"local://{tmp_path}", "no.png")):
        pass


def test_passwords_in_addresses_are_not_shown() -> None:
    image = RemoteImage("s3://key:secret@bucket/scans/?endpoint_override=x&token=secret", "a.jpg")
    assert str(image) == "s3://bucket/scans/a.jpg"
    with pytest.raises(UsageError) as caught:
        open_place("nonsense://me:secret@x?token=secret")
    assert "secret" not in str(caught.value)


def test_from_one_address_to_another(tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        Image.fromarray(disc_pair(number)[0]).save(images / f"im{number}.png")
    (images / "im8.png").write_bytes(b"no picture")
    out = f"local://{tmp_path}/out"
    summary = predict_images(segmenter, f"local://{images}", out, outputs=["mask", "csv"])
    assert (summary.written, summary.out, summary.files) == (3, out, {"mask": 3, "csv": 1})
    assert [(str(image), reason[:5]) for image, reason in summary.failed] == [(f"local://{images}/im8.png", "is no")]
    for number in range(3):
        np.testing.assert_array_equal(read_mask(tmp_path / "out" / f"im{number}.png"), disc_pair(number)[1])
    assert predict_images(segmenter, f"local://{images}", out, outputs=["mask", "csv"]).skipped_existing == 3
    with pytest.raises(UsageError, match="the images are in this folder"):
        predict_images(segmenter, f"local://{images}", f"local://{images}")


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = open_place(f"local://{tmp_path}/file")
    with pytest.raises(OutputError, match="cannot be read or written"):
        place.write("x", b"")
