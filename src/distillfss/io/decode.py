"""Decode pictures: the one place where a picture file becomes pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.errors import DataError
from distillfss.io.deep import join_bytes, lower_byte_twin, misread_layout, raw_modes, white_is_zero
from distillfss.io.isolation import decode_apart
from distillfss.io.opening import decoding, identify, quiet
from distillfss.io.pixels import array_to_rgb8, loaded_to_array
from distillfss.io.png import check_complete
from distillfss.io.special import special_reader
from distillfss.notices import Notice, NoticeKind, texts

_ORIENTATION = 0x0112
TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded picture: ``pixels`` uint8 (H, W, 3) RGB, and a remark per thing that had to be converted.

    ``valid`` (H, W) says where a map holds data; None: everywhere.
    """

    pixels: NDArray[np.uint8]
    remarks: tuple[Notice, ...]
    valid: NDArray[np.bool_] | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """The remarks as people read them, one line each."""
        return texts(self.remarks)


def read_image(
    path: str | Path, bands: Sequence[int] | None = None, value_range: tuple[float, float] | None = None
) -> DecodedImage:
    """Read a picture file as 8-bit RGB, upright.

    EXIF orientation is applied once; 16 bits per channel are stretched to 8 (``pixels.stretch_to_8bit``); palette,
    1-bit, grey and CMYK become RGB; transparent pixels are laid over white. Of several frames the first is read. Each
    of these conversions that can change what is seen gives a notice naming the file and the cure. The file is decoded
    in a process of its own (``isolation``), so one that crashes or occupies the decoder is an error like any other.
    GeoTIFF and DICOM files are read by ``io.geo`` and ``io.dicom``; only these heed ``bands`` and ``value_range``.

    Raises
    ------
    DataError
        Missing, unreadable, not an allowed format, too large, truncated, or with values whose range is unknown.
    """
    path = Path(path)
    special = special_reader(path)
    if special is not None:
        return DecodedImage(*special(path, bands, value_range))
    pixels, notes = decode_apart("image", decode_image, path)
    return DecodedImage(pixels, tuple(Notice(f"{path}: {note.text}", note.kind) for note in notes))


def decode_image(file: BinaryIO) -> tuple[NDArray[np.uint8], list[Notice]]:
    """An open file → pixels uint8 (H, W, 3) and notes, by the rules of ``read_image``, in this very process."""
    array, notes = picture_array(identify(file, None), None)
    pixels, more = array_to_rgb8(array)
    return pixels, notes + [Notice(note, NoticeKind.CONVERTED) for note in more]


def to_rgb8(picture: NDArray[np.generic] | Image.Image) -> NDArray[np.uint8]:
    """A NumPy array or Pillow image → uint8 (H, W, 3) RGB, by the rules of ``read_image``.

    Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) with alpha last, uint8 or uint16. The result never shares
    memory with the argument.
    """
    if isinstance(picture, Image.Image):
        if 0 in picture.size:
            raise DataError("a picture without pixels", cure="Leave it out")
        array, _ = picture_array(picture, None)
        return array_to_rgb8(array)[0]
    if not isinstance(picture, np.ndarray):
        raise DataError(
            f"a picture of Python type {type(picture).__name__}",
            cure="Pass a Pillow image (PIL.Image.open(path)) or a NumPy array (numpy.asarray(picture))",
        )
    return array_to_rgb8(picture)[0]


def picture_array(image: Image.Image, path: Path | None) -> tuple[NDArray[np.generic], list[Notice]]:
    """Decode an opened image, upright, into an array ``array_to_rgb8`` takes, and notes on what was done."""
    image, orientation, deep, notes = load_upright(image, path)
    if orientation != 1:
        turned = (
            f"turned upright as its EXIF orientation {orientation} says; if it has a mask, check that the mask was "
            "drawn on the upright picture, and save the picture without EXIF rotation to be sure"
        )
        notes.append(Notice(turned, NoticeKind.TURNED))
    if deep is not None:
        return deep, notes
    try:
        with decoding(path):
            array, more = loaded_to_array(image)
    except DataError as exc:
        raise DataError(exc.problem, cure=exc.cure, path=path) from exc
    return array, notes + [Notice(note, NoticeKind.CONVERTED) for note in more]


def load_upright(
    image: Image.Image, path: Path | None
) -> tuple[Image.Image, int, NDArray[np.uint16] | None, list[Notice]]:
    """Decode all pixels of an opened image and turn it as its EXIF orientation says.

    Returns
    -------
    image
        Decoded and upright.
    orientation
        1 if it was upright already, else the EXIF value from 2 to 8 that was applied.
    deep
        (H, W, 3 or 4) uint16, upright, where the file has 16 bits per channel and several channels: Pillow itself keeps
        only the upper 8 bits of those, which leaves a 12-bit camera's picture 16 grey levels.
    notes
        On frames that were not read.
    """
    with decoding(path):
        misread = misread_layout(image)
    if misread is not None:
        cure = "Save it as 8- or 16-bit PNG; a GeoTIFF also pixel by pixel (INTERLEAVE=PIXEL)"
        raise DataError(f"is {misread}, which cannot be read", cure=cure, path=path)
    grey_alpha = "LA;16B" in raw_modes(image)
    notes = []
    with decoding(path):
        if image.format != "MPO" and getattr(image, "is_animated", False):  # the second picture of MPO is a preview
            unread = "holds several pages or frames, only the first was read; split it to use the others"
            notes.append(Notice(unread, NoticeKind.FIRST_ONLY))
        # Pillow turns a TIFF while loading it and forgets the tag; all others it leaves to us, after loading, because
        # a PNG may hold its EXIF behind the pixels.
        tag = _orientation(image) if image.format == "TIFF" and raw_modes(image) else None
        lower = lower_byte_twin(image)
        stream, interlaced = getattr(image, "fp", None), bool(image.info.get("interlace"))
        image.load()
        if image.format == "PNG" and stream is not None and (interlaced or _ends_in_zeros(image)):
            check_complete(stream, path)
        orientation = tag or _orientation(image)
        if tag is None and orientation != 1:
            image = image.transpose(TURN[orientation])
            lower = lower and lower.transpose(TURN[orientation])
    if lower is not None:
        return image, orientation, join_bytes(image, lower, grey_alpha=grey_alpha), notes
    if white_is_zero(image):
        image = Image.fromarray(0xFFFF - np.asarray(image).astype(np.uint16))
    return image, orientation, None, notes


def _ends_in_zeros(image: Image.Image) -> bool:
    """Whether the last row is what it was before decoding, so that it may never have been reached."""
    width, height = image.size
    return image.crop((0, height - 1, width, height)).getbbox(alpha_only=False) is None


def _orientation(image: Image.Image) -> int:
    try:
        with quiet():
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata is no reason to refuse sound pixels; viewers show them unturned as well
        return 1
    return value if value in TURN else 1
