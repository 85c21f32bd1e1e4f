"""What the values of a picture mean: from any pixel type to 8-bit RGB, by the same rules for files and arrays.

Notes returned here say what was changed and, after a semicolon, how to avoid it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.errors import DataError

PERCENTILES = (0.1, 99.9)
BACKDROP = 255  # white: what picture viewers and browsers show behind transparent pixels


def stretch_to_8bit(values: NDArray[np.uint16], visible: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Map the 0.1 to 99.9 percentile of ``values`` linearly to 0...255, the rest is clipped.

    Why per picture: 16-bit files hold 10, 12, 14 or 16 significant bits and any exposure, none of which the file
    states, and a picture seen at prediction time comes alone. So every picture is its own yardstick, in training and in
    prediction alike. Why percentiles: one hot pixel must not turn the rest black. All channels share one scale, which
    keeps the colours.

    Parameters
    ----------
    values
        Any shape, uint16.
    visible
        Boolean of the shape ``values.shape[:2]``; only these pixels decide the scale (transparent ones do not).

    Returns
    -------
    uint8, the shape of ``values``; monotone in ``values``. Where the two percentiles coincide, minimum and maximum take
    their place; a constant picture has no contrast to stretch and keeps its share of the full range (65535 is 255).
    """
    counted = values if visible is None else values[visible]
    counts = np.bincount(counted.ravel(), minlength=1 << 16)
    cumulative = np.cumsum(counts)
    low, high = (int(np.searchsorted(cumulative, q / 100 * cumulative[-1])) for q in PERCENTILES)
    if low == high:
        present = np.flatnonzero(counts)
        low, high = int(present[0]), int(present[-1])
    if low == high:
        low, high = 0, (1 << 16) - 1
    table = np.clip((np.arange(1 << 16) - low) * (255.0 / (high - low)), 0, 255)
    return np.rint(table).astype(np.uint8)[values]


def composite(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay ``rgb`` (H, W, 3) with ``alpha`` (H, W) over the backdrop, rounding to the nearest value."""
    weight = alpha.astype(np.uint16)[..., None]
    return ((rgb * weight + BACKDROP * (255 - weight) + 127) // 255).astype(np.uint8)


def array_to_rgb8(array: NDArray[np.generic]) -> tuple[NDArray[np.uint8], list[str]]:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8 or uint16 → uint8 (H, W, 3) of its own memory, and notes.

    The fourth channel is alpha. Raises ``DataError`` (without a path) for every other shape or type.
    """
    _check_array(array)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    pixels = array if array.ndim == 3 else array[..., None]
    notes = []
    alpha = None
    if pixels.shape[2] == 4:
        alpha = _alpha_to_8bit(pixels[..., 3])
        pixels = pixels[..., :3]
        alpha = None if bool((alpha == 255).all()) else alpha
        if alpha is not None and not alpha.any():
            raise DataError(
                "every pixel is fully transparent, there is nothing to see", cure="Remove the alpha channel"
            )
    if pixels.dtype == np.uint16:
        low, high = int(pixels.min()), int(pixels.max())
        pixels = stretch_to_8bit(pixels.astype(np.uint16, copy=False), None if alpha is None else alpha > 0)
        notes.append(
            f"16-bit values {low} to {high} were stretched to 8 bit by this picture's own 0.1 and 99.9 percentiles; "
            "save it as 8 bit to choose the scale yourself"
        )
    rgb: NDArray[np.uint8] = np.empty((*pixels.shape[:2], 3), np.uint8)
    rgb[...] = pixels
    if alpha is not None:
        rgb = composite(rgb, alpha)
        share = 100 * float((alpha < 255).mean())
        notes.append(
            f"{share:.3g} % of the pixels are transparent and were laid over white; "
            "remove the alpha channel to choose what stands there"
        )
    return rgb, notes


def loaded_to_array(image: Image.Image) -> tuple[NDArray[np.generic], list[str]]:
    """A decoded Pillow image of any mode but float → an array for ``array_to_rgb8``, and notes.

    Palette, 1-bit, grey, YCbCr and CMYK become their colours; a transparent colour or palette entry becomes alpha.
    """
    mode = image.mode
    if mode.startswith("I"):
        grey = integers_to_16bit(np.asarray(image))
        key = image.info.get("transparency")
        if isinstance(key, int):
            alpha = np.where(grey == key, 0, 0xFFFF).astype(np.uint16)
            return np.dstack([grey, grey, grey, alpha]), []
        return grey, []
    if mode == "F":
        raise DataError(
            "holds floating-point values, whose range is unknown",
            cure="Scale the values yourself and save them as 8- or 16-bit integers",
        )
    if mode == "CMYK":
        return np.asarray(image.convert("RGB")), [
            "CMYK was converted to RGB without a colour profile; save the picture as RGB for exact colours"
        ]
    if mode not in {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "HSV"}:
        raise DataError(f"has the colour space {mode}, which is not supported", cure="Save it as RGB")
    if mode == "La":  # premultiplied; Pillow converts it to LA only
        image = image.convert("LA")
    if mode == "P" and (colours := len(image.getpalette() or ()) // 3) <= (highest := int(np.asarray(image).max())):
        raise DataError(
            f"a pixel has the colour number {highest}, but there are only {colours} colours in its palette",
            cure="Copy it again from its source; if it opens elsewhere, save it as RGB PNG",
        )
    wanted = "RGBA" if image.has_transparency_data else "RGB"
    return np.asarray(image if mode == wanted else image.convert(wanted)), []


def integers_to_16bit(values: NDArray[np.generic]) -> NDArray[np.uint16]:
    """Integers of any width whose span fits into 16 bits → uint16, shifted where some are negative or above 65535.

    A shift changes nothing for ``stretch_to_8bit``, which only looks at the values relative to one another.
    """
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= 0xFFFF:
        return values.astype(np.uint16)
    if high - low > 0xFFFF:
        raise DataError(
            f"holds integers from {low} to {high}, a wider span than 16 bits",
            cure="Scale the values yourself and save them as 8- or 16-bit integers",
        )
    return (values.astype(np.int64) - low).astype(np.uint16)


def _alpha_to_8bit(alpha: NDArray[np.generic]) -> NDArray[np.uint8]:
    if alpha.dtype == np.uint8:
        return alpha.astype(np.uint8, copy=False)
    return ((alpha.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_array(array: NDArray[np.generic]) -> None:
    shape = "x".join(map(str, array.shape))
    if array.dtype == np.bool_:
        raise DataError("a picture of type bool", cure="Convert it with array.astype(numpy.uint8) * 255")
    if np.issubdtype(array.dtype, np.floating):
        raise DataError(
            f"a picture of type {array.dtype}, whose range is unknown",
            cure="Convert values from 0 to 1 with (array * 255).round().astype(numpy.uint8)",
        )
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise DataError(
            f"a picture of type {array.dtype}",
            cure="Convert it with array.astype(numpy.uint8) if its values are 0 to 255, else to numpy.uint16",
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] > 4:
            cure = "Put the channels last with numpy.moveaxis(array, 0, -1)"
        elif array.ndim == 4:
            cure = "Pass the pictures one by one"
        else:
            cure = "Pass (height, width) grey, (height, width, 3) RGB or (height, width, 4) RGB with alpha"
        raise DataError(f"a picture of shape {shape or 'scalar'}", cure=cure)
    if array.size == 0:
        raise DataError(f"a picture without pixels (shape {shape})", cure="Leave it out")
