"""Masks: indices in, indices out, and every file that cannot be one."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pictures import exif, png16, png_chunk, png_header, random_rgb, two_classes, upright
from PIL import Image

from distillfss.errors import DataError, OutputError
from distillfss.io.masks import PALETTE, mask_from_array, read_mask, write_mask

MASK = two_classes(24, 32, 1, 2, 255)


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_mask(path)
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value


def saved(folder: Path, image: Image.Image | bytes, name: str, **options: object) -> Path:
    path = folder / name
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, **options)
    return path


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mask=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
def test_written_masks_read_back_the_same(tmp_path: Path, mask: np.ndarray) -> None:
    write_mask(tmp_path / "m.png", mask)
    read = read_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(read, mask)
    assert read.dtype == np.uint8
    assert read.flags.writeable


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_numbers_of_few_bits_are_indices_as_gdal_reads_them(tmp_path: Path, depth: int) -> None:
    stored = (np.arange(8 * 11).reshape(8, 11) % 2**depth).astype(np.uint8)
    bits = np.unpackbits(stored[..., None], axis=2)[..., 8 - depth :].reshape(8, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    body = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    picture = saved(tmp_path, png_header(11, 8, depth, 0) + body, "m.png")
    geotiff = tmp_path / "m.tif"
    options = {"driver": "GTiff", "width": 11, "height": 8, "count": 1, "dtype": "uint8", "nbits": depth}
    with rasterio.open(geotiff, "w", **options) as file:
        file.write(stored, 1)
    for path in (picture, geotiff):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), stored)
        np.testing.assert_array_equal(read_mask(path), stored)
        with Image.open(path) as image:
            np.testing.assert_array_equal(mask_from_array(image), stored)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_two_valued_masks_stay_8_bit_on_disk(tmp_path: Path, data: st.DataObject) -> None:
    value = data.draw(st.integers(1, 255))
    write_mask(tmp_path / "m.png", two_classes(24, 32, value))
    with Image.open(tmp_path / "m.png") as image:
        assert (image.format, image.mode, image.tile[0].args) == ("PNG", "P", "P")  # not P;1
        assert np.asarray(image.convert("RGB"))[5, 3].tolist() == PALETTE[value].tolist()


def test_palette_is_fixed() -> None:
    assert PALETTE.shape == (256, 3)
    assert PALETTE[0].tolist() == [0, 0, 0]
    assert PALETTE[1].tolist() == [230, 159, 0]  # orange of Okabe and Ito
    assert PALETTE[5].tolist() == [0, 114, 178]  # blue
    assert PALETTE[255].tolist() == [255, 255, 255]
    assert len(np.unique(PALETTE[:22], axis=0)) == 22  # background and more than the 20 classes a model can have


def test_write_mask_refuses_what_is_no_mask(tmp_path: Path) -> None:
    for bad in (np.zeros((3, 3)), np.zeros((3, 3, 3), np.uint8), np.full((3, 3), 256), np.zeros((0, 3), np.uint8)):
        with pytest.raises(DataError):
            write_mask(tmp_path / "m.png", bad)
    with pytest.raises(OutputError):
        write_mask(tmp_path / "missing" / "m.png", MASK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "pgm"])
def test_grey_values_are_the_indices(tmp_path: Path, suffix: str) -> None:
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Image.fromarray(MASK), f"m.{suffix}")), MASK)


def test_palette_indices_are_the_indices_whatever_the_colours(tmp_path: Path) -> None:
    image = Image.fromarray(MASK)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    np.testing.assert_array_equal(read_mask(saved(tmp_path, image, "m.png")), MASK)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, image, "t.png", transparency=0)), MASK)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "pbm"])
def test_one_bit_is_0_and_1(tmp_path: Path, suffix: str) -> None:
    bits = MASK > 0
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Image.fromarray(bits), f"m.{suffix}")), bits)


def test_equal_channels_count_as_grey(tmp_path: Path) -> None:
    opaque = np.full_like(MASK, 255)
    for name, channels in {"rgb": [MASK] * 3, "rgba": [MASK, MASK, MASK, opaque], "la": [MASK, opaque]}.items():
        path = saved(tmp_path, Image.fromarray(np.dstack(channels), {2: "LA"}.get(len(channels))), f"{name}.png")
        np.testing.assert_array_equal(read_mask(path), MASK, err_msg=name)
    deep = np.dstack([MASK] * 3).astype(np.uint16)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, png16(deep), "deep.png")), MASK)


def test_wide_integers_that_fit(tmp_path: Path) -> None:
    for dtype in (np.uint16, np.int32):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, MASK.astype(dtype))
        np.testing.assert_array_equal(read_mask(saved(tmp_path, buffer.getvalue(), "m.tif")), MASK)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, png16(MASK[..., None]), "m.png")), MASK)


def test_black_and_white_of_16_bits_is_that_of_8(tmp_path: Path) -> None:
    white = np.equal(MASK, MASK.max())
    deep = white * np.uint16(65535)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, png16(deep[..., None]), "m.png")), white * np.uint8(255))
    deep[0, 0] = 1
    assert "the value 65535" in refused(saved(tmp_path, png16(deep[..., None]), "n.png")).problem


def test_values_above_255_or_below_0_are_refused(tmp_path: Path) -> None:
    error = refused(saved(tmp_path, png16(np.array([[[0], [1], [300]]])), "instances.png"))
    assert "the value 300" in error.problem
    assert "class index" in error.cure
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.array([[0, -1]], np.int32))
    assert "negative value -1" in refused(saved(tmp_path, buffer.getvalue(), "m.tif")).problem


def test_colour_mask_is_refused(tmp_path: Path) -> None:
    for name in ("m.png", "m.tif", "m.bmp"):
        error = refused(saved(tmp_path, Image.fromarray(random_rgb()), name))
        assert "colour mask" in error.problem
        assert "class indices instead of colours" in error.cure
    deep = np.zeros((2, 2, 3), np.uint16)
    deep[0, 0, 0] = 1
    assert "colour mask" in refused(saved(tmp_path, png16(deep), "deep.png")).problem


def test_transparency_that_carries_the_mask_is_refused(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[1:3, 1:3, 3] = 255
    error = refused(saved(tmp_path, Image.fromarray(rgba), "m.png"))
    assert "transparent" in error.problem
    assert "8-bit grey PNG" in error.cure


def test_lossy_masks_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(MASK)
    for name, options in {"m.jpg": {}, "m.webp": {}, "m.tif": {"compression": "jpeg"}}.items():
        error = refused(saved(tmp_path, image, name, **options))
        assert "compression" in error.problem
        assert "PNG" in error.cure
    path = saved(tmp_path, image, "renamed.png", format="JPEG")
    assert "cannot be JPEG" in refused(path).problem


@pytest.mark.parametrize("nodata", [None, 0, 2, -9999, 255, float("nan")])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "int32", "float32"])
def test_masks_as_gis_programs_write_them(kind: str, nodata: float | None, tmp_path: Path) -> None:
    """Whole floats; declared "no data" is 255, unless it could be a class: 0 is background mostly."""
    if nodata is not None and not (kind == "float32" or (nodata == nodata and nodata >= np.iinfo(kind).min)):
        pytest.skip("such a file cannot hold it")
    values, wanted = MASK.astype(kind), MASK.copy()
    if nodata is not None:
        values[0, :2] = nodata
        wanted[0, :2] = nodata if nodata in (0, 2) else 255
    profile = {"driver": "GTiff", "count": 1, "height": MASK.shape[0], "width": MASK.shape[1], "dtype": kind}
    with rasterio.open(tmp_path / "m.tif", "w", **profile, nodata=nodata, interleave="pixel") as dataset:
        dataset.write(values, 1)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), wanted)


def test_16_bits_stored_band_by_band_are_refused_with_their_own_cure(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "count": 1, "height": MASK.shape[0], "width": MASK.shape[1], "dtype": "uint16"}
    with rasterio.open(tmp_path / "m.tif", "w", **profile, interleave="band") as dataset:
        dataset.write(MASK.astype(np.uint16), 1)
    found = refused(tmp_path / "m.tif")
    assert found.problem == "is a 16-bit TIFF stored band by band, which cannot be read"
    assert "INTERLEAVE=PIXEL" in found.cure


def test_signed_16_bits_whose_bytes_pillow_swaps_are_refused(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "count": 1, "height": MASK.shape[0], "width": MASK.shape[1], "dtype": "int16"}
    for name, options in {"plain.tif": {}, "packed.tif": {"compress": "deflate"}}.items():
        with rasterio.open(tmp_path / name, "w", **profile, **options, interleave="pixel", ENDIANNESS="BIG") as dataset:
            dataset.write(MASK.astype(np.int16), 1)
    np.testing.assert_array_equal(read_mask(tmp_path / "plain.tif"), MASK)
    assert "signed 16-bit values in big-endian order" in refused(tmp_path / "packed.tif").problem


@pytest.mark.parametrize("value", [1.5, float("inf"), 256.0, -1.0])
def test_floats_that_are_no_classes_are_refused(value: float, tmp_path: Path) -> None:
    values = MASK.astype(np.float32)
    values[1, 1] = value
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values)
    whole = {256.0: "the value 256", -1.0: "the negative value -1"}.get(
        value, "floating-point values that are not whole"
    )
    assert whole in refused(saved(tmp_path, buffer.getvalue(), "float.tif")).problem


def test_stack_and_rescaled_masks_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(MASK)
    assert "several pages" in refused(saved(tmp_path, image, "s.tif", save_all=True, append_images=[image])).problem
    assert "2 as its largest value" in refused(saved(tmp_path, b"P5 2 1 2\n\0\1", "m.pgm")).problem
    assert "CMYK" in refused(saved(tmp_path, Image.new("CMYK", (3, 3)), "ink.tif")).problem


def test_black_on_white_palette_is_too_unclear_to_guess(tmp_path: Path) -> None:
    image = Image.fromarray(two_classes(24, 32, 1))
    image.putpalette([255, 255, 255, 0, 0, 0])
    error = refused(saved(tmp_path, image, "m.png"))
    assert "unclear" in error.problem
    assert "0 for background" in error.cure


def test_masks_are_guarded_like_images(tmp_path: Path) -> None:
    bomb = png_header(60_000, 60_000, 8, 0) + png_chunk(b"IDAT", b"")
    assert "megapixels" in refused(saved(tmp_path, bomb, "bomb.png")).problem
    buffer = io.BytesIO()
    Image.fromarray(random_rgb()[..., 0]).save(buffer, "PNG")
    assert "truncated" in refused(saved(tmp_path, buffer.getvalue()[:-100], "cut.png")).problem
    assert "no such file" in refused(tmp_path / "missing.png").problem


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_masks_too(tmp_path: Path, orientation: int) -> None:
    for name in ("m.png", "m.tif"):
        path = saved(tmp_path, Image.fromarray(MASK), name, exif=exif(orientation))
        np.testing.assert_array_equal(read_mask(path), upright(MASK, orientation))


def test_masks_from_memory() -> None:
    for mask in (MASK, MASK.astype(np.int64), MASK.astype(">u2"), Image.fromarray(MASK)):
        out = mask_from_array(mask)
        np.testing.assert_array_equal(out, MASK)
        assert out.dtype == np.uint8
        assert not (isinstance(mask, np.ndarray) and np.shares_memory(out, mask))
    np.testing.assert_array_equal(mask_from_array(MASK > 0), (MASK > 0).astype(np.uint8))
    for bad, problem in (
        (MASK.astype(np.float32), "type float32"),
        (np.dstack([MASK] * 3), "shape 24x32x3"),
        (np.full((2, 2), -1), "negative value -1"),
        (np.full((2, 2), 256), "the value 256"),
        (np.zeros((0, 4), np.uint8), "shape 0x4"),
        ([[0, 1]], "type list"),
        (Image.fromarray(random_rgb()), "colour mask"),
    ):
        with pytest.raises(DataError) as caught:
            mask_from_array(bad)
        assert problem in caught.value.problem
        assert caught.value.cure
