"""Arrays to 8-bit RGB: the 16-bit scale, and refusals that say how to convert."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from distillfss.errors import DataError
from distillfss.io.decode import to_rgb8
from distillfss.io.pixels import composite, stretch_to_8bit


@settings(deadline=None, max_examples=60)
@given(arrays(np.uint16, array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=12)))
def test_stretching_is_monotone_and_uses_the_full_range(values: np.ndarray) -> None:
    out = stretch_to_8bit(values)
    assert out.dtype == np.uint8
    assert out.shape == values.shape
    order = np.argsort(values, axis=None)
    assert (np.diff(out.ravel()[order].astype(int)) >= 0).all()
    if values.min() < values.max():  # fewer than 1,000 values: the percentiles are the extremes
        assert out.min() == 0
        assert out.max() == 255


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (257, 1), (32896, 128), (65535, 255)])
def test_constant_picture_keeps_its_share_of_the_range(value: int, expected: int) -> None:
    assert (stretch_to_8bit(np.full((3, 4), value, np.uint16)) == expected).all()


def test_stretching_by_hand() -> None:
    values = np.arange(1000, 1256, dtype=np.uint16)
    np.testing.assert_array_equal(stretch_to_8bit(values), np.arange(256))


def test_hot_and_dead_pixels_do_not_decide() -> None:
    values = np.tile(np.arange(1000, 1256, dtype=np.uint16), 40)  # 10,240 values
    values[0], values[-1] = 65535, 0
    out = stretch_to_8bit(values)
    np.testing.assert_array_equal(out[256:512], np.arange(256))
    assert (out[0], out[-1]) == (255, 0)


def test_a_few_bright_pixels_on_black_stay_visible() -> None:
    values = np.zeros((100, 100), np.uint16)
    values[50, 50] = 900  # less than 0.1 %: both percentiles are 0
    assert stretch_to_8bit(values)[50, 50] == 255


@settings(deadline=None, max_examples=30)
@given(arrays(np.uint8, (4, 5, 3)), arrays(np.uint8, (4, 5)))
def test_compositing_rounds_to_the_nearest(rgb: np.ndarray, alpha: np.ndarray) -> None:
    share = alpha[..., None] / 255
    exact = rgb * share + 255 * (1 - share)
    assert np.abs(composite(rgb, alpha) - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_8_bit_arrays_keep_their_values(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    out = to_rgb8(array)
    np.testing.assert_array_equal(out, np.broadcast_to(array.reshape(5, 7, -1), (5, 7, 3)))
    assert not np.shares_memory(out, array)
    assert out.flags.c_contiguous
    assert out.flags.writeable


def test_array_with_alpha() -> None:
    array = np.full((1, 2, 4), 100, np.uint8)
    array[..., 3] = [0, 255]
    np.testing.assert_array_equal(to_rgb8(array)[0, :, 0], [255, 100])
    deep = np.array([[[0, 0, 0, 65535], [500, 500, 500, 65535], [9999, 0, 9999, 0]]], np.uint16)
    np.testing.assert_array_equal(to_rgb8(deep)[0], [[0] * 3, [255] * 3, [255] * 3])


def test_byte_order_and_strides_do_not_matter() -> None:
    array = np.random.default_rng(0).integers(0, 65536, (6, 8, 3)).astype(np.uint16)
    np.testing.assert_array_equal(to_rgb8(array.astype(">u2")), to_rgb8(array))
    np.testing.assert_array_equal(to_rgb8(array[::-1, ::2]), to_rgb8(array[::-1, ::2].copy()))


@pytest.mark.parametrize(
    ("array", "problem", "cure"),
    [
        (np.zeros((4, 5), bool), "type bool", "astype(numpy.uint8) * 255"),
        (np.zeros((4, 5, 3), np.float32), "type float32", "(array * 255).round()"),
        (np.zeros((4, 5), np.int64), "type int64", "astype(numpy.uint8)"),
        (np.zeros((4, 5), complex), "type complex128", "astype(numpy.uint8)"),
        (np.zeros((3, 40, 50), np.uint8), "shape 3x40x50", "moveaxis(array, 0, -1)"),
        (np.zeros((2, 4, 5, 3), np.uint8), "shape 2x4x5x3", "one by one"),
        (np.zeros((4, 5, 2), np.uint8), "shape 4x5x2", "(height, width, 3)"),
        (np.zeros(7, np.uint8), "shape 7", "(height, width)"),
        (np.zeros((), np.uint8), "shape scalar", "(height, width)"),
        (np.zeros((0, 5), np.uint8), "without pixels", "Leave it out"),
        (np.zeros((4, 5, 4), np.uint8), "fully transparent", "alpha channel"),
        ([[1, 2]], "type list", "numpy.asarray"),
        ("a.png", "type str", "PIL.Image.open(path)"),
        (Image.new("F", (3, 3)), "floating-point", "8- or 16-bit"),
        (Image.new("RGB", (0, 3)), "without pixels", "Leave it out"),
    ],
)
def test_other_arrays_are_refused_with_the_conversion(array: object, problem: str, cure: str) -> None:
    with pytest.raises(DataError) as caught:
        to_rgb8(array)
    assert problem in caught.value.problem
    assert cure in caught.value.cure
