"""Damaged files of every format: decoded as another decoder does, or refused by name. Bounded; see scripts/fuzz.py."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judging import Wrong, judge, judge_mask
from mutations import MUTATIONS, edit_header, mask_seeds, move_bytes, seeds
from pictures import png_chunk, png_header, random_rgb
from PIL import Image

from distillfss.errors import DataError
from distillfss.io.decode import read_image
from distillfss.io.masks import read_mask
from distillfss.io.pixels import array_to_rgb8

SEEDS = seeds()
MASKS = mask_seeds()
IMAGES = "DISTILLFSS_PILLOW_IMAGES"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes taking turns would be several times slower; that a crash is survived is tested elsewhere."""
    monkeypatch.setenv("DISTILLFSS_ISOLATE", "0")


@pytest.mark.parametrize("name", SEEDS)
def test_undamaged_seeds_are_decoded(tmp_path: Path, name: str) -> None:
    compared = {"png", "ppm", "bmp", "tiff", "apng"}
    assert judge(tmp_path / "a", SEEDS[name]) != "refused"
    if name.split()[0] in compared:
        assert judge(tmp_path / "a", SEEDS[name]) == "same"


@pytest.mark.parametrize("name", MASKS)
def test_undamaged_masks_are_read(tmp_path: Path, name: str) -> None:
    assert judge_mask(tmp_path / "a", MASKS[name]) == "same"


@pytest.mark.parametrize(
    ("judged", "content"),
    [
        *(pytest.param(judge, content, id=name) for name, content in SEEDS.items()),
        *(pytest.param(judge_mask, content, id=f"mask, {name}") for name, content in MASKS.items()),
    ],
)
@settings(derandomize=True, max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3))
def test_damaged_files_are_decoded_right_or_refused(
    tmp_path: Path, judged: Callable[[Path, bytes], str], content: bytes, seed: int, steps: list
) -> None:
    random = Random(seed)
    for step in steps:
        content = step(random, content) or b"\0"
    judged(tmp_path / "damaged", content)


def test_a_packed_tiff_without_byte_counts_is_still_checked(tmp_path: Path) -> None:
    """libtiff then reads on to the end of the file, and does not mind a wrong check sum."""
    content, random = SEEDS["tiff zlib"], Random(73238)
    for step in (move_bytes, edit_header):
        content = step(random, content)
    assert judge(tmp_path / "damaged", content) == "refused"


@pytest.mark.parametrize("place", range(0, 90, 3))
def test_no_flipped_bit_in_the_pixels_of_a_png_passes(tmp_path: Path, place: int) -> None:
    content = bytearray(SEEDS["png rgb"])
    start = content.index(b"IDAT") + 4
    content[start + place] ^= 1 << (place % 8)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="wrong check sum in IDAT"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_png_whose_pixels_end_early_is_refused(tmp_path: Path, interlaced: int) -> None:
    """The stream is whole in itself; there are just fewer rows in it than the header says."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 50, 8, 0, 0, 0, interlaced))
    rows = bytes(9 * 20)
    content = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image).shape == (50, 8)  # what Pillow makes of it, without a word
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match="its pixels end early"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("interlaced", [False, True])
def test_black_last_rows_are_no_fault(tmp_path: Path, interlaced: bool) -> None:
    """Also where the picture is interlaced, of any size: the count of its bytes has to be right."""
    for width, height in ((1, 1), (3, 2), (5, 9), (8, 8), (17, 13)):
        pixels = random_rgb(height, width)[..., 0]
        pixels[-1] = 0
        if interlaced:
            content = _interlaced(pixels)
            (tmp_path / "a.png").write_bytes(content)
        else:
            Image.fromarray(pixels).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels[..., 0], pixels)


def _interlaced(grey: np.ndarray) -> bytes:
    """Seven passes, as the specification draws them."""
    passes = (grey[::8, ::8], grey[::8, 4::8], grey[4::8, ::4], grey[::4, 2::4], grey[2::4, ::2], grey[::2, 1::2])
    rows = b"".join(b"\0" + row.tobytes() for part in (*passes, grey[1::2]) if part.size for row in part)
    height, width = grey.shape
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "tag", "value", "problem"),
    [
        ("tiff", 257, 99, "pieces of the picture are missing"),  # more rows than the strips have
        ("tiff tiles", 257, 1, "pieces of the picture are left over"),
        ("tiff", 279, 0, "pieces of the picture are empty"),
        ("tiff", 273, 60000, "pieces of the picture lie in its header or behind its end"),
        ("tiff", 273, 4, "pieces of the picture lie in its header or behind its end"),
        ("tiff", 279, 300, "its pixels end early"),
    ],
)
def test_tiff_whose_pieces_do_not_cover_it(tmp_path: Path, name: str, tag: int, value: int, problem: str) -> None:
    content = bytearray(SEEDS[name])
    (directory,) = struct.unpack("<I", content[4:8])
    (entries,) = struct.unpack("<H", content[directory : directory + 2])
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        entry_tag, kind = struct.unpack("<HH", content[entry : entry + 4])
        if entry_tag == tag:
            content[entry + 8 : entry + 12] = struct.pack(
                "<I" if kind == 4 else "<HH", *([value] if kind == 4 else [value, 0])
            )
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("tag", "place", "values"),
    [
        (324, 2, struct.pack("<H", 6)),  # signed bytes for offsets: of each a piece elsewhere
        (325, 4, struct.pack("<I", 3)),  # three lengths of four tiles
        (278, 2, struct.pack("<HIHH", 3, 1, 0, 0)),  # no row in a strip
    ],
)
def test_tiff_that_does_not_say_where_its_pieces_are(tmp_path: Path, tag: int, place: int, values: bytes) -> None:
    """Changed in the entry of this tag, from this place on."""
    content = bytearray(SEEDS["tiff" if tag == 278 else "tiff tiles"])
    (directory,) = struct.unpack("<I", content[4:8])
    (entries,) = struct.unpack("<H", content[directory : directory + 2])
    places = range(directory + 2, directory + 2 + 12 * entries, 12)
    (entry,) = [entry for entry in places if struct.unpack("<H", content[entry : entry + 2]) == (tag,)]
    content[entry + place : entry + place + len(values)] = values
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match="it does not say where its pieces are"):
        read_image(tmp_path / "a.tif")


def test_an_animation_whose_first_frame_is_another_picture_is_refused(tmp_path: Path) -> None:
    """Pillow shows the first frame: a part of the picture, or what stands before it. The format allows neither."""
    sound = SEEDS["apng"]
    kinds = (b"IHDR", b"acTL", b"fcTL", b"IDAT")
    start = {kind: sound.index(kind) - 4 for kind in kinds}
    head, told, frame = (
        sound[: start[b"acTL"]],
        sound[start[b"acTL"] : start[b"fcTL"]],
        sound[start[b"fcTL"] : start[b"IDAT"]],
    )
    rest = sound[start[b"IDAT"] :]
    width, height = struct.unpack(">II", head[16:24])
    lower = png_chunk(b"fcTL", frame[8:16] + struct.pack(">I", height - 1) + frame[20:34])
    moved = png_chunk(b"fcTL", frame[8:12] + struct.pack(">IIII", width - 1, height, 1, 0) + frame[28:34])
    later = png_chunk(b"fdAT", bytes(4) + zlib.compress(bytes(height * (3 * width + 1))))
    for parts in (told + lower, told + moved, told + frame + frame, told + frame + later):
        (tmp_path / "a.png").write_bytes(head + parts + rest)
        with pytest.raises(DataError, match=r"of another frame before the first|cannot be read"):
            read_image(tmp_path / "a.png")
    for parts in (told + frame, told):  # the picture is the first frame, or none of them
        (tmp_path / "a.png").write_bytes(head + parts + rest)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, read_image_of(sound, tmp_path))


def read_image_of(content: bytes, folder: Path) -> np.ndarray:
    (folder / "sound.png").write_bytes(content)
    return read_image(folder / "sound.png").pixels


@pytest.mark.parametrize("place", range(5, 130, 9))
def test_no_flipped_bit_in_a_zlib_tiff_passes(tmp_path: Path, place: int) -> None:
    content = bytearray(SEEDS["tiff zlib"])
    content[len(content) - 135 + place] ^= 4
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match="truncated or damaged"):
        read_image(tmp_path / "a.tif")


def test_parts_at_a_wrong_place_are_refused(tmp_path: Path) -> None:
    data, end = png_chunk(b"IDAT", zlib.compress(bytes(range(4)))), png_chunk(b"IEND", b"")
    header, palette = png_header(3, 1, 8, 3), png_chunk(b"PLTE", bytes(12))
    for parts in (header + data + palette, header + palette + data + png_chunk(b"tEXt", b"a\0b") + data):
        (tmp_path / "a.png").write_bytes(parts + end)
        with pytest.raises(DataError, match="at a wrong place"):
            read_image(tmp_path / "a.png")


def test_a_colour_number_outside_the_palette_is_refused_but_is_a_fine_mask(tmp_path: Path) -> None:
    rows = zlib.compress(b"\0\0\1\5")
    content = png_header(3, 1, 8, 3) + png_chunk(b"PLTE", bytes(range(9))) + png_chunk(b"IDAT", rows)
    (tmp_path / "a.png").write_bytes(content + png_chunk(b"IEND", b""))
    with pytest.raises(DataError, match="colour number 5, but there are only 3"):
        read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), [[0, 1, 5]])


def test_run_length_encoded_bmp_is_refused(tmp_path: Path) -> None:
    palette, runs = bytes(1024), b"\x04\x01\0\0\x04\x02\0\1"
    offset = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(runs), 0, 0, 256, 0)
    content = b"BM" + struct.pack("<IHHI", offset + len(runs), 0, 0, offset) + header + palette + runs
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(DataError, match="run-length encoded BMP"):
        read_image(tmp_path / "a.bmp")


@pytest.mark.skipif(IMAGES not in os.environ, reason=f"{IMAGES} names no folder with Pillow's Tests/images")
def test_pillows_own_test_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fonts, other formats and malicious files among them: every one is decoded or refused by name, in its process."""
    monkeypatch.setenv("DISTILLFSS_ISOLATE", "1")
    outcomes: Counter[str] = Counter()
    wrong = []
    paths = sorted(path for path in Path(os.environ[IMAGES]).rglob("*") if path.is_file())
    for path in paths:
        try:
            outcome = _as_pillow(path)
        except Wrong as error:
            wrong.append(f"{path.name}: {error}")
        else:
            outcomes[outcome] += 1
        refusal, mask = _attempt(read_mask, path)
        assert refusal is not None or mask.dtype == np.uint8
    print(len(paths), dict(outcomes))
    assert not wrong
    assert len(paths) < 500 or outcomes["decoded"] > 600


def _attempt(read: Callable[[Path], Any], path: Path) -> tuple[DataError | None, Any]:
    try:
        return None, read(path)
    except DataError as error:
        if error.path != path or not error.cure or "crashed" in error.problem or "took more" in error.problem:
            raise Wrong(f"a refusal that does not say enough: {error}") from error
        return error, None


def _as_pillow(path: Path) -> str:
    refusal, decoded = _attempt(read_image, path)
    if refusal is not None:
        return "refused"
    notices = " ".join(decoded.notices)
    if any(word in notices for word in ("transparent", "16-bit", "CMYK", "turned upright")):
        return "decoded"  # where ours is meant to differ from Pillow's own conversion; see the other tests
    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("ignore")
        expected = np.asarray(image.convert("RGB"))
    if not np.array_equal(expected, decoded.pixels) and not np.array_equal(
        array_to_rgb8(np.asarray(image.convert("RGBA")))[0], decoded.pixels
    ):
        raise Wrong("another picture than Pillow's")
    return "decoded"
