"""Decoding: every pixel type and orientation, and every kind of bad file with its message."""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import as_nobody, exif, folder_for_everyone, png16, png_chunk, png_header, random_rgb, upright
from PIL import Image, ImageOps

from distillfss.errors import DataError
from distillfss.io import opening
from distillfss.io.decode import read_image, to_rgb8
from distillfss.io.pixels import stretch_to_8bit

RGB = random_rgb()


def saved(folder: Path, image: Image.Image | bytes, name: str, **options: object) -> Path:
    path = folder / name
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, **options)
    return path


def refused(path: Path | str) -> DataError:
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value


def attempt(path: Path) -> np.ndarray | DataError:
    try:
        return read_image(path).pixels
    except DataError as error:
        return error


# --- pixel types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "ppm"])
def test_lossless_rgb_is_read_unchanged_and_without_notice(tmp_path: Path, suffix: str) -> None:
    decoded = read_image(saved(tmp_path, Image.fromarray(RGB), f"a.{suffix}"))
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.writeable  # torch.from_numpy warns otherwise
    assert decoded.notices == ()


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RGB), "really_png.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(path).pixels, RGB)


def test_jpeg_equals_the_encoded_picture_up_to_compression(tmp_path: Path) -> None:
    smooth = np.dstack([np.add.outer(np.arange(24), np.arange(32)) * k for k in (1, 2, 3)]).astype(np.uint8)
    decoded = read_image(saved(tmp_path, Image.fromarray(smooth), "a.jpg", quality=100, subsampling=0))
    assert np.abs(decoded.pixels.astype(int) - smooth).max() <= 3


def test_grey_one_bit_and_palette_become_their_colours(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    bits = grey > 127
    palette = Image.fromarray((grey % 3).astype(np.uint8))
    palette.putpalette([10, 20, 30, 200, 100, 0, 5, 5, 255])
    cases = {
        "grey.png": (Image.fromarray(grey), np.dstack([grey] * 3)),
        "bits.png": (Image.fromarray(bits), np.dstack([bits * np.uint8(255)] * 3)),
        "bits.tif": (Image.fromarray(bits), np.dstack([bits * np.uint8(255)] * 3)),
        "palette.png": (palette, np.array([[10, 20, 30], [200, 100, 0], [5, 5, 255]], np.uint8)[grey % 3]),
        "palette.gif": (palette, np.array([[10, 20, 30], [200, 100, 0], [5, 5, 255]], np.uint8)[grey % 3]),
    }
    for name, (image, expected) in cases.items():
        decoded = read_image(saved(tmp_path, image, name))
        np.testing.assert_array_equal(decoded.pixels, expected, err_msg=name)
        assert decoded.notices == (), name


def test_opaque_alpha_is_dropped_without_a_word(tmp_path: Path) -> None:
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    decoded = read_image(saved(tmp_path, Image.fromarray(rgba), "a.png"))
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert decoded.notices == ()


def test_transparent_pixels_are_laid_over_white_and_named(tmp_path: Path) -> None:
    rgba = np.full((2, 2, 4), 100, np.uint8)
    rgba[..., 3] = [[0, 255], [128, 1]]
    path = saved(tmp_path, Image.fromarray(rgba), "cut out.png")
    decoded = read_image(path)
    # by hand: 100 a/255 + 255 (1 - a/255), rounded
    np.testing.assert_array_equal(decoded.pixels[..., 1], [[255, 100], [177, 254]])
    (notice,) = decoded.notices
    assert notice.startswith(f"{path}: 75 % of the pixels are transparent")
    assert "white" in notice
    assert "remove the alpha channel" in notice


def test_transparency_of_grey_palette_and_colour_key(tmp_path: Path) -> None:
    grey_alpha = Image.fromarray(np.array([[[7, 255], [7, 0]]], np.uint8), "LA")
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([7, 7, 7, 9, 9, 9])
    grey = Image.fromarray(np.array([[7, 9]], np.uint8))
    colour = Image.fromarray(np.array([[[7, 7, 7], [9, 9, 9]]], np.uint8))
    cases: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("la.png", grey_alpha, {}),
        ("la.tif", grey_alpha, {}),
        ("p.png", palette, {"transparency": 1}),
        ("l.png", grey, {"transparency": 9}),
        ("rgb.png", colour, {"transparency": (9, 9, 9)}),
    ]
    for name, image, options in cases:
        decoded = read_image(saved(tmp_path, image, name, **options))
        np.testing.assert_array_equal(decoded.pixels, [[[7, 7, 7], [255, 255, 255]]], err_msg=name)
        assert len(decoded.notices) == 1, name


def test_wholly_transparent_picture_is_refused(tmp_path: Path) -> None:
    rgba = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    error = refused(saved(tmp_path, Image.fromarray(rgba), "a.png"))
    assert "fully transparent" in error.problem
    assert "alpha channel" in error.cure


@pytest.mark.parametrize("suffix", ["tif", "jpg"])  # Pillow writes CMYK JPEG the way Adobe does, inverted
def test_cmyk_becomes_rgb_with_a_notice(tmp_path: Path, suffix: str) -> None:
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:, 0] = 255  # cyan
    path = saved(tmp_path, Image.fromarray(inks, "CMYK"), f"print.{suffix}")
    decoded = read_image(path)
    assert np.abs(decoded.pixels[:, :8].astype(int) - 255).max() <= 2
    assert np.abs(decoded.pixels[:, 24:].astype(int) - [0, 255, 255]).max() <= 2
    (notice,) = decoded.notices
    assert notice.startswith(f"{path}: CMYK")
    assert "save the picture as RGB" in notice


# --- 16 bits ---------------------------------------------------------------------------------------------------------


def deep_picture(channels: int) -> np.ndarray:
    """12 significant bits, as a camera gives them: the upper byte alone has 16 levels."""
    return np.random.default_rng(channels).integers(100, 4096, (40, 50, channels)).astype(np.uint16)


def grey_writers() -> dict[str, object]:
    return {
        "a.png": png16,
        "little.tif": lambda a: tiff(a[..., 0]),
        "big.tif": lambda a: tiff(a[..., 0], byteorder=">"),
        "packed.tif": lambda a: tiff(a[..., 0], compression="zlib", predictor=True),
        "signed.tif": lambda a: tiff(a[..., 0].astype(np.int16)),
        "negative.tif": lambda a: tiff(a[..., 0].astype(np.int16) - 1000),
        "wide.tif": lambda a: tiff(a[..., 0].astype(np.int32) + 10**6),
        "a.pgm": lambda a: b"P5 50 40 65535\n" + a.astype(">u2").tobytes(),
    }


def tiff(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    options.setdefault("photometric", "rgb" if array.ndim == 3 else "minisblack")
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", grey_writers())
def test_grey_16_bit_is_stretched_by_percentiles(tmp_path: Path, name: str) -> None:
    deep = deep_picture(1)
    path = saved(tmp_path, grey_writers()[name](deep), name)
    decoded = read_image(path)
    np.testing.assert_array_equal(decoded.pixels, np.repeat(stretch_to_8bit(deep), 3, axis=2))
    (notice,) = decoded.notices
    assert notice.startswith(f"{path}: 16-bit values ")
    assert "save it as 8 bit" in notice


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("a.png", png16),
        ("little.tif", tiff),
        ("big.tif", lambda a: tiff(a, byteorder=">")),
        ("packed.tif", lambda a: tiff(a, compression="zlib")),
        ("packed_big.tif", lambda a: tiff(a, compression="zlib", byteorder=">", predictor=True)),
        ("strips.tif", lambda a: tiff(a, rowsperstrip=7)),
        ("tiles.tif", lambda a: tiff(a, tile=(16, 16))),
    ],
)
def test_16_bit_colour_keeps_its_lower_byte(tmp_path: Path, name: str, encode: object) -> None:
    deep = deep_picture(3)
    decoded = read_image(saved(tmp_path, encode(deep), name))
    np.testing.assert_array_equal(decoded.pixels, stretch_to_8bit(deep))
    assert len(np.unique(decoded.pixels)) > 200  # Pillow's own conversion leaves 16 levels
    assert len(decoded.notices) == 1


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("opaque", [True, False])
def test_16_bit_with_alpha(tmp_path: Path, channels: int, opaque: bool) -> None:
    deep = deep_picture(channels)
    deep[..., -1] = 65535
    if not opaque:
        deep[:10, :, -1] = 0
        deep[:10, :, :-1] = 60000  # unseen, so it must not decide the scale
    decoded = read_image(saved(tmp_path, png16(deep), "a.png"))
    expected = stretch_to_8bit(deep[..., :-1], deep[..., -1] > 0)
    np.testing.assert_array_equal(decoded.pixels[10:], np.broadcast_to(expected, (40, 50, 3))[10:])
    if not opaque:
        assert (decoded.pixels[:10] == 255).all()
    assert len(decoded.notices) == (1 if opaque else 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_colour_key_is_compared_with_all_16_bits(tmp_path: Path, channels: int) -> None:
    deep = np.full((1, 3, channels), 0x0A01, np.uint16)
    deep[0, 1], deep[0, 2] = 0x0A02, 0x0B00  # the first differs from the key in the lower byte only
    key = png_chunk(b"tRNS", struct.pack(">H", 0x0A01) * channels)
    decoded = read_image(saved(tmp_path, png16(deep, key), "a.png"))
    np.testing.assert_array_equal(decoded.pixels[0, :, 0], [255, 0, 255])


def test_inverted_16_bit_tiff_is_turned_the_right_way_round(tmp_path: Path) -> None:
    deep = deep_picture(1)[..., 0]
    stored = saved(tmp_path, tiff(65535 - deep, photometric="miniswhite"), "white.tif")
    np.testing.assert_array_equal(read_image(stored).pixels[..., 0], stretch_to_8bit(deep))


def test_files_and_arrays_are_scaled_alike(tmp_path: Path) -> None:
    deep = deep_picture(3)
    pixels = read_image(saved(tmp_path, png16(deep), "a.png")).pixels
    np.testing.assert_array_equal(to_rgb8(deep), pixels)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(to_rgb8(image), pixels)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("float.tif", tiff(np.zeros((4, 5), np.float32)), "floating-point"),
        ("planes.tif", tiff(np.zeros((3, 4, 5), np.uint16), planarconfig="separate"), "separate colour planes"),
        ("signed8.tif", tiff(np.zeros((4, 5), np.int8)), "signed 8-bit"),
        ("span.tif", tiff(np.array([[0, 70000]], np.int32)), "wider span than 16 bits"),
        ("deep.ppm", b"P6 1 1 65535\n" + bytes(6), "16 bits per colour"),
        ("premultiplied.tif", tiff(np.zeros((4, 5, 4), np.uint16), extrasamples=["assocalpha"]), "premultiplied"),
        ("ink.tif", tiff(np.zeros((4, 5, 4), np.uint16), photometric="separated"), "16-bit CMYK"),
    ],
)
def test_what_pillow_would_misread_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    error = refused(saved(tmp_path, content, name))
    assert problem in error.problem
    assert "8- or 16-bit" in error.cure


def test_lab_colours_are_refused(tmp_path: Path) -> None:
    assert "LAB" in refused(saved(tmp_path, Image.new("LAB", (4, 4)), "lab.tif")).problem


# --- EXIF orientation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "options"),
    [("jpg", {}), ("png", {}), ("webp", {"lossless": True}), ("tif", {}), ("tif", {"compression": "tiff_lzw"})],
)
def test_orientation_is_applied_once(tmp_path: Path, orientation: int, suffix: str, options: dict) -> None:
    image = Image.fromarray(RGB)
    plain = read_image(saved(tmp_path, image, f"plain.{suffix}", **options)).pixels
    path = saved(tmp_path, image, f"turned.{suffix}", exif=exif(orientation), **options)
    decoded = read_image(path)
    np.testing.assert_array_equal(decoded.pixels, upright(plain, orientation))
    with Image.open(path) as lazy:
        np.testing.assert_array_equal(to_rgb8(lazy), upright(plain, orientation))
        np.testing.assert_array_equal(to_rgb8(lazy), upright(plain, orientation))  # decoded by now
        np.testing.assert_array_equal(to_rgb8(ImageOps.exif_transpose(lazy)), upright(plain, orientation))
    if orientation == 1:
        assert decoded.notices == ()
    else:
        (notice,) = decoded.notices
        assert notice.startswith(f"{path}: turned upright as its EXIF orientation {orientation}")
        assert "mask" in notice


@pytest.mark.parametrize("orientation", [3, 5, 6])
def test_orientation_of_16_bit_colour(tmp_path: Path, orientation: int) -> None:
    deep = deep_picture(3)
    expected = upright(stretch_to_8bit(deep), orientation)
    tag = (0x0112, "H", 1, orientation, True)
    for name, content in {
        "a.tif": tiff(deep, extratags=[tag]),
        "b.tif": tiff(deep, extratags=[tag], compression="zlib"),
        "c.png": png16(deep, png_chunk(b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0"))),
    }.items():
        decoded = read_image(saved(tmp_path, content, name))
        np.testing.assert_array_equal(decoded.pixels, expected, err_msg=name)
        assert len(decoded.notices) == 2, name


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RGB), "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    np.testing.assert_array_equal(read_image(path).pixels, RGB)


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_first_frame_of_several_with_a_notice(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path, frames[0], f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    decoded = read_image(path)
    assert (decoded.pixels == [255, 0, 0]).all()
    (notice,) = decoded.notices
    assert notice.startswith(f"{path}: holds several pages or frames")


def test_preview_inside_a_camera_jpeg_is_no_second_frame(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), (10, 200, 30))
    path = saved(tmp_path, image, "phone.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))])
    decoded = read_image(path)
    assert decoded.notices == ()
    assert np.abs(decoded.pixels.astype(int) - [10, 200, 30]).max() <= 3


# --- bad files -------------------------------------------------------------------------------------------------------


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "LZW":
        Image.fromarray(RGB).save(buffer, "TIFF", compression="tiff_lzw")
    elif kind == "JPEG":
        Image.fromarray(np.kron(RGB, np.ones((4, 4, 1), np.uint8))).save(buffer, "JPEG")
    else:
        Image.fromarray(RGB).save(buffer, kind)
    return buffer.getvalue()


KINDS = ["JPEG", "PNG", "TIFF", "LZW", "BMP", "WEBP", "GIF", "PPM"]
WHOLE = {kind: encoded(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    whole = WHOLE[kind]
    error = refused(saved(tmp_path, whole[: max(4, int(share * len(whole)))], f"cut.{kind.lower()}"))
    assert "truncated" in error.problem or "is not a" in error.problem
    assert error.cure


def test_truncated_jpeg_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path, WHOLE["JPEG"][: len(WHOLE["JPEG"]) // 2], "cut.jpg")
    error = refused(path)
    assert "cut.jpg" in str(error)
    assert "truncated" in error.problem
    assert "Copy it again" in error.cure


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_anywhere_is_refused_or_harmless(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    whole = WHOLE[kind]
    cut = data.draw(st.integers(1, len(whole) - 1))
    intact = read_image(saved(tmp_path, whole, "whole")).pixels
    outcome = attempt(saved(tmp_path, whole[:cut], "cut"))
    if isinstance(outcome, DataError):
        assert outcome.path == tmp_path / "cut"
    else:
        np.testing.assert_array_equal(outcome, intact)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
    outcome = attempt(saved(tmp_path, bytes(content), "damaged"))
    if isinstance(outcome, DataError):
        assert outcome.path == tmp_path / "damaged"
        assert outcome.cure
    else:
        assert outcome.dtype == np.uint8
        assert outcome.shape[2] == 3


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (12_500, 12_500), (2**31 - 1, 1)])
def test_decompression_bomb_is_refused_from_its_header(tmp_path: Path, width: int, height: int) -> None:
    # There is no pixel data: had decoding begun, the message would be about a damaged file.
    error = refused(saved(tmp_path, png_header(width, height) + png_chunk(b"IDAT", b""), "bomb.png"))
    assert "more than the limit of 150 megapixels" in error.problem
    assert "tiles" in error.cure


def test_bomb_in_a_gif_frame_or_a_tiff(tmp_path: Path) -> None:
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, 9, 9, 0) + b"\2"
    assert "megapixels" in refused(saved(tmp_path, gif, "bomb.gif")).problem
    entries = [(256, 90_000), (257, 90_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 90_000), (279, 1)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    content = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    assert "megapixels" in refused(saved(tmp_path, content, "bomb.tif")).problem


def test_large_pictures_are_opened_without_pillows_warning(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("1", (12_000, 9_000)), "scan.png")  # 108 megapixels, Pillow warns from 89 on
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with opening.open_picture(path) as image:
            assert image.size == (12_000, 9_000)


def test_threads_cannot_leave_the_warnings_silenced() -> None:
    before, entered = list(warnings.filters), threading.Event()

    def enter() -> None:
        with opening.quiet():
            entered.set()

    with opening.quiet():
        other = threading.Thread(target=enter)
        other.start()
        assert not entered.wait(0.1)  # it would save the silenced filters as those to restore
    other.join()
    assert entered.is_set()
    assert list(warnings.filters) == before


def test_compressed_metadata_bomb_is_refused(tmp_path: Path) -> None:
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 * 2**20)))
    whole = WHOLE["PNG"]
    refused(saved(tmp_path, whole[:33] + text + whole[33:], "bomb.png"))


def test_too_large_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLFSS_MAX_FILE_MB", "0.0001")
    error = refused(saved(tmp_path, WHOLE["PNG"], "a.png"))
    assert "limit" in error.problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "is not a JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a JPEG, PNG"),
        (b"II*\0" + bytes(20), "starts like a TIFF"),
    ],
)
def test_no_picture(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in refused(saved(tmp_path, content, "a.png")).problem


def test_formats_outside_the_list_are_refused_though_pillow_reads_them(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RGB), "a.tga")
    error = refused(path)
    assert "is not a JPEG, PNG" in error.problem
    assert "Convert it" in error.cure


def test_missing_file_folder_pipe_and_strange_names(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing.png").problem
    assert "is a folder" in refused(tmp_path).problem
    os.mkfifo(tmp_path / "pipe.png")
    assert "ordinary file" in refused(tmp_path / "pipe.png").problem
    assert "cannot be opened" in refused("a\0b.png").problem
    saved(tmp_path, Image.fromarray(RGB), "file.png")
    assert "no such file" in refused(tmp_path / "file.png" / "x.png").problem


def test_file_without_read_permission() -> None:
    with folder_for_everyone() as folder:
        path = saved(folder, Image.fromarray(RGB), "secret.png")
        with as_nobody():
            path_read = read_image(path).pixels  # the folder itself is open
        np.testing.assert_array_equal(path_read, RGB)
        path.chmod(0)
        with as_nobody():
            error = refused(path)
        assert "permission denied" in error.problem
        assert "chmod" in error.cure
