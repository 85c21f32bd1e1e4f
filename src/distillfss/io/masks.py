"""Masks: pictures whose values are class indices, 0 for background and 255 for pixels to ignore."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.errors import DataError
from distillfss.io.decode import load_upright
from distillfss.io.deep import ppm_maximum
from distillfss.io.files import atomic_write
from distillfss.io.isolation import decode_apart
from distillfss.io.opening import decoding, identify
from distillfss.notices import Notice

IGNORE = 255
GDAL_NODATA = 42113

_AS_PNG = "Save the mask as 8-bit grey PNG with the class index as value: 0 background, 1, 2, ... classes, 255 ignore"
_LOSSY = "Save the mask as PNG from the tool it was drawn with; converting this file keeps its compression errors"

# Okabe and Ito's colours, told apart by people with any common colour blindness; then darker and paler variants.
_OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def _palette() -> NDArray[np.uint8]:
    base = np.array(_OKABE_ITO, np.float64)
    hues = np.concatenate([base, base * 0.55, base * 0.45 + 255 * 0.55])
    colours = np.resize(hues, (256, 3))
    colours = np.roll(colours, 1, axis=0)
    colours[0], colours[IGNORE] = 0, 255
    return np.rint(colours).astype(np.uint8)


PALETTE = _palette()
"""(256, 3) uint8 RGB: colour of every mask value. 0 is black, 255 white, 1...21 are distinct, then they repeat."""


def read_mask(path: str | Path) -> NDArray[np.uint8]:
    """Read a mask file as class indices, uint8 (H, W), upright.

    Grey values are taken as they are, a palette picture by its indices, 1-bit as 0 and 1; RGB with equal channels
    counts as grey, 16 bits and floats are fine while they are whole and none exceeds 255; of 2 and 4 bits the numbers
    that are stored count, not the grey they stand for; black and white of 16 bits (0 and 65535) is that of 8 (0 and
    255). What GIS programs declare as "no data" is 255, unless it could be a class. EXIF
    orientation is applied.

    Raises
    ------
    DataError
        Whatever ``read_image`` refuses, and: lossy files, colour masks, values above 255, negative or broken, several
        frames, transparency that carries information, and black-and-white palettes whose index 0 is white.
    """
    return decode_apart("mask", decode_mask, Path(path))[0]


def decode_mask(file: BinaryIO) -> tuple[NDArray[np.uint8], list[Notice]]:
    """An open file → class indices uint8 (H, W), by the rules of ``read_mask``, and no notes; in this very process."""
    image = identify(file, None)
    refuse_unsuited(image, None)
    nothing, step = _no_data(image), _grey_step(image)
    upright, _, deep, _ = load_upright(image, None)
    return (_indices(upright, None, nothing) // step if deep is None else _single_channel(deep, 0xFFFF, None)), []


def _grey_step(image: Image.Image) -> int:
    """What Pillow multiplies grey of 2 or 4 bits by, to make white 255; GDAL (NBITS) keeps indices there. Else 1."""
    pieces = getattr(image, "tile", ())
    layout = pieces[0].args if image.mode == "L" and pieces else ""
    stored = layout if isinstance(layout, str) else str(layout[0])
    return 85 if stored.startswith("L;2") else 17 if stored.startswith("L;4") else 1


def _no_data(image: Image.Image) -> float | None:
    """The value that a TIFF of GDAL's declares to mean "no data", if it cannot be a class; 0 mostly is background."""
    told = getattr(image, "tag_v2", {}).get(GDAL_NODATA)
    try:
        value = float(str(told).strip("\0 "))
    except ValueError:
        return None
    return None if value.is_integer() and 0 <= value < IGNORE else value


def mask_from_array(mask: NDArray[np.generic] | Image.Image) -> NDArray[np.uint8]:
    """A NumPy array (H, W) of integers or bool, or a Pillow image, → class indices, uint8, of its own memory.

    Raises ``DataError`` without a path.
    """
    if isinstance(mask, Image.Image):
        step = _grey_step(mask)
        with decoding(None):
            mask.load()
        return _indices(mask, None) // step
    if not isinstance(mask, np.ndarray):
        raise DataError(f"a mask of Python type {type(mask).__name__}", cure="Pass a NumPy array (numpy.asarray(mask))")
    if mask.ndim != 2 or mask.size == 0:
        raise DataError(
            f"a mask of shape {'x'.join(map(str, mask.shape)) or 'scalar'}",
            cure="Pass class indices of shape (height, width)",
        )
    if mask.dtype != np.bool_ and not np.issubdtype(mask.dtype, np.integer):
        raise DataError(f"a mask of type {mask.dtype}", cure="Convert class indices with mask.astype(numpy.uint8)")
    return _in_range(mask, None)


def encode_mask(mask: NDArray[np.generic]) -> bytes:
    """Class indices (H, W) as 8-bit PNG with ``PALETTE``."""
    picture = Image.fromarray(mask_from_array(mask))
    picture.putpalette(PALETTE.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=8)
    return buffer.getvalue()


def write_mask(path: str | Path, mask: NDArray[np.generic]) -> None:
    """Write class indices (H, W) as 8-bit PNG with ``PALETTE``, atomically; ``read_mask`` returns the same indices."""
    atomic_write(path, encode_mask(mask))


def refuse_unsuited(image: Image.Image, path: Path | None) -> None:
    """What the header alone shows."""
    compression = str(image.info.get("compression", ""))
    if image.format in ("JPEG", "MPO", "WEBP") or "jpeg" in compression or "webp" in compression:
        kind = "JPEG" if image.format == "MPO" else image.format
        raise DataError(f"a mask cannot be {kind}: its compression changes class indices", cure=_LOSSY, path=path)
    with decoding(path):
        frames = bool(getattr(image, "is_animated", False))
    if frames:
        raise DataError(
            "a mask with several pages or frames", cure="Save one mask with class indices per picture", path=path
        )
    if ppm_maximum(image) not in (255, 0xFFFF):
        raise DataError(
            f"a PGM mask with {ppm_maximum(image)} as its largest value, which Pillow would rescale",
            cure="Save it as 8-bit PNG",
            path=path,
        )


def _indices(image: Image.Image, path: Path | None, nothing: float | None = None) -> NDArray[np.uint8]:
    mode = image.mode
    if mode == "1":
        return np.array(image).astype(np.uint8)
    if mode == "P":
        _refuse_inverted_palette(image, path)
        return np.array(image)
    if mode == "L":
        return np.array(image)
    if mode.startswith("I"):
        values = np.asarray(image)
        return _in_range(values if nothing is None else np.where(values == nothing, IGNORE, values), path)
    if mode in ("RGB", "RGBA", "LA"):
        return _single_channel(np.asarray(image), 0xFF, path)
    if mode == "F":
        return _whole(np.asarray(image), nothing, path)
    raise DataError(f"a mask in the colour space {mode}", cure=_AS_PNG, path=path)


def _whole(values: NDArray[np.floating], nothing: float | None, path: Path | None) -> NDArray[np.uint8]:
    """Floats that are class indices, as QGIS writes them; what is no number is no data."""
    gaps = np.isnan(values)
    if nothing is not None:
        gaps |= values == np.float32(nothing)
    whole = np.where(gaps, IGNORE, values)
    if not np.isfinite(whole).all() or (whole != np.rint(whole)).any():
        raise DataError("a mask of floating-point values that are not whole", cure=_AS_PNG, path=path)
    return _in_range(whole, path)


def _single_channel(array: NDArray[np.generic], opaque: int, path: Path | None) -> NDArray[np.uint8]:
    """(H, W, C) with equal colour channels and opaque alpha → (H, W)."""
    colours = array[..., : {2: 1, 3: 3, 4: 3}[array.shape[2]]]
    if (colours != colours[..., :1]).any():
        raise DataError(
            "a colour mask: its channels differ, so colours stand for classes",
            cure="Save class indices instead of colours, as 8-bit grey or palette PNG (0 background, 1, 2, ...)",
            path=path,
        )
    if array.shape[2] in (2, 4) and (array[..., -1] != opaque).any():
        raise DataError("a mask with transparent pixels", cure=_AS_PNG, path=path)
    return _in_range(colours[..., 0], path)


def _in_range(values: NDArray[np.generic], path: Path | None) -> NDArray[np.uint8]:
    low, high = int(values.min()), int(values.max())
    if low < 0:
        raise DataError(f"a mask with the negative value {low}", cure="Use 255 for pixels to ignore", path=path)
    if high == 0xFFFF and np.isin(values, (0, 0xFFFF)).all():
        return np.where(values, IGNORE, 0).astype(np.uint8)
    if high > IGNORE:
        raise DataError(
            f"a mask with the value {high}; class indices end at 254, 255 means ignore",
            cure="If the values number single objects, set every object to its class index (1, 2, ...)",
            path=path,
        )
    return values.astype(np.uint8)


def _refuse_inverted_palette(image: Image.Image, path: Path | None) -> None:
    """A palette of white and black in this order: the index says background, the eye says object. Nobody can tell."""
    palette = image.getpalette() or []
    used = {index for _, index in image.getcolors(256) or []}
    if used and used <= {0, 1} and palette[:6] == [255, 255, 255, 0, 0, 0]:
        raise DataError(
            "a palette mask whose index 0 is white and 1 black, so it is unclear which of them is the object",
            cure="Save it as 8-bit grey PNG with 0 for background and 1 for the object",
            path=path,
        )
