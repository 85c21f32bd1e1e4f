"""Pictures with 16 bits in each of several channels, which Pillow by itself cuts to the upper 8.

Of a 12-bit camera's picture that would leave 16 grey levels. Pillow unpacks the raw mode "RGB;16B" (big-endian) by
taking the first of two bytes. Told that the very same bytes are little-endian, it takes the second, so decoding a file
twice yields both.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.io.opening import quiet

_DEEP = re.compile(r"(RGB|RGBA|RGBX|LA);16[BLN]")
_MISREAD = re.compile(r"(RGBa|CMYK);16[BLN]")


def raw_modes(image: Image.Image) -> list[str]:
    """Pillow's names for the pixel layouts in the file; empty once the image is decoded."""
    modes = []
    for tile in getattr(image, "tile", None) or []:
        args = (tile.args,) if isinstance(tile.args, str) else tile.args or ()
        modes += [arg for arg in args[:1] if isinstance(arg, str)]
    return modes


def lower_byte_twin(image: Image.Image) -> Image.Image | None:
    """The same file opened again and decoded to the lower byte of every channel; None if it has 8 bits per channel.

    Of grey with alpha ("LA;16B"), which has no little-endian form in Pillow, all four bytes of a pixel arrive as RGBA.
    """
    if not any(_DEEP.fullmatch(mode) for mode in raw_modes(image)):
        return None
    stream: Any = getattr(image, "fp", None)
    position = stream.tell()
    stream.seek(0)
    with quiet():
        twin: Any = Image.open(stream, formats=[image.format or ""])
    twin.seek(image.tell())
    twin.tile = [tile._replace(args=_other_byte(tile.args)) for tile in twin.tile]
    twin.load()
    stream.seek(position)
    return twin


def join_bytes(upper: Image.Image, lower: Image.Image, *, grey_alpha: bool) -> NDArray[np.uint16]:
    """Both halves → (H, W, 3) or, with alpha, (H, W, 4) uint16. A PNG's one transparent colour becomes alpha."""
    low = np.asarray(lower).astype(np.uint16)
    if grey_alpha:
        grey, alpha = (low[..., 0] << 8) | low[..., 1], (low[..., 2] << 8) | low[..., 3]
        return np.dstack([grey, grey, grey, alpha])
    joined = ((np.asarray(upper).astype(np.uint16) << 8) | low).astype(np.uint16)
    key = upper.info.get("transparency")
    if joined.shape[2] == 3 and isinstance(key, tuple):
        alpha = np.where((joined == np.array(key, np.uint16)).all(axis=2), 0, 0xFFFF).astype(np.uint16)
        return np.dstack([joined, alpha])
    return joined


def misread_layout(image: Image.Image) -> str | None:
    """Name of a layout that Pillow opens but decodes to wrong values without a word; None if all is well."""
    bits, sample_format, planar = (tiff_tag(image, tag, 1) for tag in (258, 339, 284))
    if image.format == "TIFF" and bits == 16 and planar == 2:
        several = tiff_tag(image, 277, 1) > 1
        return "a 16-bit TIFF with separate colour planes" if several else "a 16-bit TIFF stored band by band"
    if "I;16BS" in raw_modes(image) and any(
        tile.codec_name == "libtiff" for tile in getattr(image, "tile", None) or []
    ):
        return "a compressed TIFF of signed 16-bit values in big-endian order"
    if image.format == "TIFF" and bits == 8 and sample_format == 2:
        return "a TIFF of signed 8-bit values"
    if image.format == "PPM" and image.mode == "RGB" and ppm_maximum(image) > 255:
        return "a PPM of 16 bits per colour"
    if image.format == "BMP" and any(tile.codec_name == "bmp_rle" for tile in getattr(image, "tile", None) or []):
        return "a run-length encoded BMP (Pillow makes a picture of anything that follows)"
    for mode in raw_modes(image):
        if _MISREAD.fullmatch(mode):
            return "a TIFF of 16-bit CMYK" if mode.startswith("CMYK") else "a TIFF of 16-bit premultiplied alpha"
    return None


def white_is_zero(image: Image.Image) -> bool:
    """Whether this is a 16-bit TIFF stored inverted; Pillow inverts those of 8 bits only."""
    return image.mode.startswith("I;16") and tiff_tag(image, 262, 1) == 0


def ppm_maximum(image: Image.Image) -> int:
    """The largest value a PPM file declares, where Pillow rescales from it; 255 for all other files."""
    for tile in getattr(image, "tile", None) or []:
        if image.format == "PPM" and tile.codec_name in ("ppm", "ppm_plain") and isinstance(tile.args, tuple):
            return int(tile.args[1])
    return 255


def tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _other_byte(args: Any) -> Any:
    if isinstance(args, tuple):
        return (_other_byte(args[0]), *args[1:])
    if args == "LA;16B":
        return "RGBA"
    name, order = args.split(";16")
    big = order == "B" or (order == "N" and sys.byteorder == "big")
    return f"{name};16{'L' if big else 'B'}"
